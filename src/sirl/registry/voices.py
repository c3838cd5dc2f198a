"""Chat-template arguments and date of a run."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from sirl.config import ModelSettings
from sirl.errors import ConfigError

if TYPE_CHECKING:
    from sirl.models.template import Voice

__all__ = ["dated", "voice_of"]

Dated = TypeVar("Dated", bound=ModelSettings)


def dated(config: Dated, about: Mapping[str, Any]) -> Dated:
    """The settings with the date for chat templates: as set, else the resumed run's, else now.

    `about` is the `run.json` of the run that is resumed; empty for a new one.
    """
    date = config.template_date or about.get("template_date")
    date = date or datetime.now().isoformat(timespec="seconds")
    return config.model_copy(update={"template_date": date})


def voice_of(config: ModelSettings) -> "Voice":
    """The template arguments and date.

    Raises:
        ConfigError: The date is invalid.
    """
    from sirl.models.template import Voice

    try:
        clock = datetime.fromisoformat(config.template_date or datetime.now().isoformat())
    except ValueError as error:
        raise ConfigError(
            f"template_date {config.template_date!r} is not a date: write it as 2026-01-31"
        ) from error
    return Voice(config.template_arguments or {}, clock)

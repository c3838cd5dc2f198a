"""The run folder: format, provenance, resuming."""

from sirl.runs.disk import plain
from sirl.runs.folder import (
    Existing,
    Run,
    missing_steps,
    open_run,
    rows_by_step,
    settings_of,
)

__all__ = ["Existing", "Run", "missing_steps", "open_run", "plain", "rows_by_step", "settings_of"]

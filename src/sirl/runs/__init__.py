"""The run folder: who wrote it, what it holds, how it goes on."""

from sirl.runs.folder import (
    Existing,
    Run,
    missing_steps,
    open_run,
    plain,
    rows_by_step,
    settings_of,
)

__all__ = ["Existing", "Run", "missing_steps", "open_run", "plain", "rows_by_step", "settings_of"]

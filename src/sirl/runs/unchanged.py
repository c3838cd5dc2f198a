"""Whether the files of a run are as the run wrote them."""

from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from sirl.errors import RunError
from sirl.renamed import LOGS
from sirl.runs.disk import read
from sirl.runs.places import ABOUT, CONFIG, KEPT, NAMES, log_place
from sirl.runs.reader import RunReader

__all__ = ["FINAL", "check_unchanged", "hashes_of"]

OTHERS = (ABOUT, KEPT, *LOGS.values())
FINAL = tuple(n for n in NAMES if n.endswith((".json", ".jsonl")) and n not in OTHERS)
"""The documents and logs that do not change once a run has finished."""


def hashes_of(path: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of files of a run by name; empty for one that is not there or holds nothing."""
    found = {name: read(log_place(path, name)) for name in names}
    return {name: sha256(text).hexdigest() if text else "" for name, text in found.items()}


def check_unchanged(run: RunReader) -> None:
    """Check that the files of a run are those whose hashes its `run.json` keeps.

    These are the settings and, of a finished run, all documents and logs. Runs of versions that
    kept no hashes pass.

    Raises:
        RunError: One has changed since.
    """
    written = run.read(ABOUT).get("written", {})
    for name, now in hashes_of(run.path, (n for n in (CONFIG, *FINAL) if n in written)).items():
        if now != written[name]:
            raise RunError(
                f"{log_place(run.path, name)} is not as the run wrote it: restore the file, or "
                "give the command that wrote it again, with --overwrite"
            )

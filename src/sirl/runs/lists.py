"""Lists of prompts that a notebook gives, as files of the run folder.

What reads the run later finds them there. Their names hold a hash of their content, so that a
list never replaces another one, whatever becomes of the run that brings it.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from sirl.errors import RunError
from sirl.runs.disk import disk_errors, write_atomically
from sirl.runs.folder import Existing, check_free, clear_lists
from sirl.runs.places import CONFIG, LOCK, MARK, PROMPTS, lists_in
from sirl.runs.reader import RunReader

__all__ = ["lists_kept"]


@contextmanager
def lists_kept(out: Path, existing: Existing, lists: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The files of these lists by setting; those that no run has taken on go if the block fails.

    Args:
        out: Run folder, which need not exist.
        existing: What to do if it does.
        lists: JSON lines by the setting that they are given for.

    Raises:
        RunError: No run may be written to this folder.
    """
    places = {name: place_of(out, name, text) for name, text in lists.items()}
    new = [name for name, place in places.items() if not place.exists()]
    if new:
        check_free(out, existing)
    try:
        if new:
            write_lists(out, {places[name]: lists[name] for name in new})
        yield {name: str(place) for name, place in places.items()}
    except BaseException:
        with suppress(OSError, RunError):  # tidying up after an error, which is what is to be told
            discard(out, [places[name] for name in new])
        raise


def place_of(out: Path, name: str, text: str) -> Path:
    """Where a list is kept."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    # The name of the file is a part of the ids of prompts, which decide what is sampled.
    return out / PROMPTS / digest / f"{name}.jsonl"


def write_lists(out: Path, lists: Mapping[Path, str]) -> None:
    """Write lists into a folder that is marked as a run's."""
    with disk_errors(out):
        for place in lists:
            place.parent.mkdir(parents=True, exist_ok=True)
        if not (out / LOCK).exists():
            (out / LOCK).write_bytes(MARK)
    for place, text in lists.items():
        write_atomically(place, text, private=True)


def discard(out: Path, places: Collection[Path]) -> None:
    """Remove lists, unless the run in the folder was started with them; no empty folder stays."""
    taken = RunReader(out).settings().values() if (out / CONFIG).exists() else ()
    earlier = {*map(str, lists_in(out) or ())} - {*map(str, places)}
    clear_lists(out, kept={*earlier, *map(str, taken)})
    if out.is_dir() and {p.name for p in out.iterdir()} == {LOCK}:
        (out / LOCK).unlink()
        out.rmdir()

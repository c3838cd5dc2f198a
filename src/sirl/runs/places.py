"""Checks before writing: no verb overwrites what it reads, or the files of another run.

Every verb that writes calls these checks before it removes or replaces anything.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sirl.errors import RunError
from sirl.renamed import LOGS
from sirl.runs.disk import disk_errors, mapping_in, read

__all__ = [
    "ABOUT",
    "CONFIG",
    "KEPT",
    "LEFT",
    "LOCK",
    "MARK",
    "NAMES",
    "PROMPTS",
    "SUMMARY",
    "UNFINISHED",
    "check_output",
    "check_resumable",
    "in_this_folder",
    "is_left_over",
    "is_run_folder",
    "lists_in",
    "log_place",
    "names_with_content",
    "refuse_to_remove_inputs",
    "rename_logs",
]

CONFIG, ABOUT, SUMMARY, LOCK = "config.yaml", "run.json", "summary.json", ".lock"
KEPT = "kept.jsonl"
NAMES = (
    "report.html",
    SUMMARY,
    "rejected.jsonl",
    "records.jsonl",
    "unjudged.jsonl",
    "items.jsonl",
    "costs.jsonl",
    "verdicts.jsonl",
    "mini_evals.jsonl",
    "instinct.json",
    "instinct_answers.jsonl",
    "decisions.json",
    "own_answers.json",
    "own_refusals.json",
    "guard.json",
    "guard_scores.jsonl",
    "guard_searches.jsonl",
    "guard.md",
    KEPT,
    "sweep.md",
    "evaluations",
    *LOGS.values(),
    "metrics.jsonl",
    "tensorboard",
    "wandb",
    "checkpoints",
    ABOUT,
    CONFIG,
)
"""All that a run writes, in the order in which `--overwrite` removes it: a folder that a kill left
half removed is still known as a run."""
PROMPTS = "prompts"
"""Folder of the lists of prompts that a notebook has given."""
LIST = re.compile(r"[0-9a-f]{8}/\w+\.jsonl")
"""Name of such a list in that folder: a hash of the list, and the setting that it is given for."""
UNFINISHED = frozenset({LOCK, CONFIG, ABOUT, "rejected.jsonl", "costs.jsonl"})
"""What a run writes before it has a result."""
PREPARED = UNFINISHED | {
    *("mini_evals.jsonl", "instinct_answers.jsonl", "instinct.json"),
    *("decisions.json", "own_answers.json"),
}
"""What training writes before the first step."""
WRONG = ("ConfigError", "InputError", "TrainingError")
"""How a run ends that another input, or another setting, would mend."""
LEFT = frozenset({LOCK, "rejected.jsonl"})
"""What stays of a run that ended without a result and had set rows aside."""
MARK = b"sirl\n"
"""What the lock of a run folder holds."""


def is_run_folder(path: Path) -> bool:
    """Whether a run made this folder, even one that was killed before its first document."""
    lock, about = path / LOCK, path / ABOUT
    if lock.is_file() and lock.stat().st_size <= len(MARK) and read(lock) == MARK:
        return True
    if not about.is_file():
        return False
    try:
        return "sirl" in mapping_in(read(about), str(about))
    except RunError:
        return False


def lists_in(path: Path) -> list[Path] | None:
    """The lists of prompts in a run folder; None if there is anything else among them."""
    folder = path / PROMPTS
    found = [place for place in folder.rglob("*") if not place.is_dir()]
    ours = all(LIST.fullmatch(place.relative_to(folder).as_posix()) for place in found)
    return found if ours else None


def is_left_over(path: Path) -> bool:
    """Whether a folder has no result of a run: nothing, or what was made before a wrong input."""
    if not path.is_dir() or not is_run_folder(path):
        return False
    names = names_with_content(path)
    if names == LEFT or (names == {LOCK} and lists_in(path)):
        return True
    if ABOUT not in names or not names <= PREPARED:
        return False
    with suppress(RunError):  # a damaged document is no sign of anything
        ended = mapping_in(read(path / ABOUT), ABOUT).get("exit")
        return isinstance(ended, dict) and ended.get("how") in WRONG
    return False


def names_with_content(path: Path) -> set[str]:
    """What a folder holds besides lists of prompts and logs without a line."""
    logs = {name for name in NAMES if name.endswith(".jsonl")}
    names = {p.name for p in path.iterdir() if p.name not in logs or p.stat().st_size}
    return names if lists_in(path) is None else names - {PROMPTS}


def in_this_folder(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of the run in `path`, whose lists of prompts may have been moved with it."""
    before = Path(str(settings.get("out", "")), PROMPTS)

    def moved(value: Any) -> Any:  # noqa: ANN401 - any setting
        if not isinstance(value, str) or Path(value).parent.parent != before:
            return value
        return str(path / PROMPTS / Path(value).relative_to(before))

    return {name: moved(value) for name, value in settings.items()}


def log_place(run: Path, name: str) -> Path:
    """Where a log of a run lies; under its former name where an earlier version wrote it."""
    place = run / name
    former = run / LOGS.get(name, name)
    return former if former.exists() and not place.exists() else place


def rename_logs(run: Path) -> None:
    """Give logs that an earlier version wrote their present names."""
    for name in LOGS:
        if (former := log_place(run, name)) != run / name:
            former.replace(run / name)


def check_resumable(path: Path) -> None:
    """See that there is a run folder to go on with, or an empty one.

    Raises:
        RunError: There is none; a process that torchrun starts again may find none yet.
    """
    again = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    with disk_errors(path):
        if not path.exists() and not again:
            raise RunError(
                f"{path} does not exist, and there is nothing to resume: "
                f"{near(path)}leave --resume out to begin it"
            )
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file, not a run folder: give the folder of a run")
        if path.exists() and any(path.iterdir()) and not is_run_folder(path):
            raise RunError(
                f"{path} is not a run folder, and there is nothing to resume: give the folder of a "
                "run, or another --out without --resume"
            )


def near(path: Path) -> str:
    """A question that suggests the run with the most similar name in the same folder, or ''."""
    beside = path.parent
    names = [p.name for p in beside.iterdir() if is_run_folder(p)] if beside.is_dir() else []
    close = get_close_matches(path.name, names, n=1)
    return f"did you mean {beside / close[0]}? Else " if close else ""


def check_output(path: Path, *, overwrite: bool = False, reads: Iterable[Path] = ()) -> None:
    """See that a file can be written, before the work that it is to hold.

    Raises:
        RunError: It exists and is not to be overwritten, is read by the same command, is a run's
            own, has no folder, or cannot be written.
    """
    with disk_errors(path):
        if not path.parent.is_dir():
            raise RunError(f"cannot write {path}: there is no folder {path.parent}; make it first")
        if path.is_dir():
            raise RunError(f"cannot write {path}: it is a folder; give the name of a file")
        if run := run_that_writes(path):
            raise RunError(f"cannot write {path}: the run {run} writes it; give another --out")
        if any(same_place(path, place) for place in reads):
            raise RunError(f"cannot write {path}: it is read here; give another --out")
        if not overwrite and (path.exists() or path.is_symlink()):
            raise RunError(f"{path} exists: --overwrite replaces it, or give another --out")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise RunError(f"cannot write {path}: permission denied; give another name")


def run_that_writes(path: Path) -> Path | None:
    """The run folder that a file is a part of, as its runs write it; None where it is in none."""
    for place in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100 - links stay
        for folder in place.parents:
            own = place.relative_to(folder).parts[0] in (*NAMES, LOCK)
            if own and is_run_folder(folder):
                return folder
    return None


def same_place(one: Path, other: Path) -> bool:
    """Whether two paths are the same file or folder."""
    if os.path.exists(one) and os.path.exists(other):  # noqa: PTH110 - a name too long is no error
        return one.samefile(other)
    return one.resolve() == other.resolve()


def refuse_to_remove_inputs(out: Path, settings: Mapping[str, Any]) -> None:
    """Refuse to start a run over if its settings read files that would be removed.

    Raises:
        RunError: A setting names the run folder itself, or a file that the run has written there.
    """
    for name, place in places_in(settings):
        if name == "source" and same_place(place, out):
            raise RunError(
                f"{out} is the run that is read: give another --out, as it would be removed"
            )
        if os.path.exists(place) and is_removed_with(place, out):  # noqa: PTH110 - as above
            raise RunError(
                f"{name} {place} lies in {out}, and would be removed with the run there: "
                "give another --out"
            )


def places_in(settings: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """What settings may name on the disk: paths alone, joined by commas or `+`, or as KIND:PATH."""
    for name, value in settings.items():
        if name == "out" or not isinstance(value, str):
            continue
        words = {value, *re.split(r"[,+]", value)}
        words |= {word.partition(":")[2] for word in words}
        yield from ((name, Path(word.strip())) for word in sorted(words) if word.strip())


def is_removed_with(place: Path, out: Path) -> bool:
    """Whether a file or folder is one that `--overwrite` removes in a run folder."""
    inside, folder = place.resolve(), out.resolve()
    return folder in inside.parents and inside.relative_to(folder).parts[0] in NAMES

"""One evaluated model, read from a run folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sirl.analysis.doubts import doubts
from sirl.analysis.measured import called
from sirl.analysis.summary import by_refusal
from sirl.errors import InputError, did_you_mean
from sirl.evaluation.records import RECORDS, SearchResult, read_items, read_records
from sirl.evaluation.second_judges import read_second_verdicts, recorded
from sirl.evaluation.suite import ModelResults
from sirl.renamed import current_identity
from sirl.runs import RunReader
from sirl.runs.disk import damaged
from sirl.runs.unchanged import check_unchanged
from sirl.types import HARMLESS, Record

__all__ = [
    "EvaluatedModel",
    "check_whole",
    "counted",
    "figures_of",
    "finished",
    "judge_identities",
    "read_evaluated",
    "read_pair",
    "tried",
]

LONGEST = 300
"""Maximum number of characters to show of the error that ended a run."""


@dataclass(frozen=True)
class EvaluatedModel:
    """One evaluated model of a finished run."""

    path: Path
    model: str
    models: tuple[str, ...]
    """All models of the run, in order."""
    records: tuple[Record, ...]
    """Its judged answers, without tampered weights and probes of searches."""
    refusal_view: tuple[Record, ...]
    """The same answers with a refusal judge's verdicts, if there is such a judge."""
    items: tuple[SearchResult, ...]
    about: Mapping[str, Any]
    """`run.json`."""
    config: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Display name: the setting `model` for the target of an evaluation, else its role."""
        return called(self.model, self.config.get("model"))

    @property
    def name(self) -> str:
        """Name in messages, with the run folder."""
        return f"{self.title} of {self.path}"

    @property
    def searches(self) -> frozenset[str]:
        """Names of the attacks that are searches."""
        return frozenset(i.attack for i in self.items)

    @property
    def attacks(self) -> tuple[str, ...]:
        """Names of the attacks with at least one judged answer, sorted."""
        return tuple(sorted({r.attack for r in self.records if r.kind == "attack"}))


def read_evaluated(
    path: Path, model: str | None = None, *, any_judge: bool = False
) -> EvaluatedModel:
    """Read one model of a run folder, by default the last, without taking the lock.

    `any_judge` accepts runs whose judge failed its self-test or is in doubt.

    Raises:
        InputError: The folder is not a finished run, has no answers of that model, or its judge is
            not trusted.
        RunError: Its records are damaged.
    """
    run = RunReader(path)
    about = finished(run)
    if (faults := about.get("judge_faults")) and not any_judge:
        raise InputError(f"{path} does not count: {faults[0]}")
    check_whole(run)
    records, items = answers(run)
    models = tuple(dict.fromkeys(r.model for r in records if r.kind != "weights"))
    if not models:
        raise InputError(f"{path} holds no answers: give the folder of an evaluation")
    chosen = model or models[-1]
    if chosen not in models:
        raise InputError(f"{path} has no model {chosen!r}. {did_you_mean(chosen, models)}")
    mine = tuple(i for i in items if i.model == chosen)
    kinds = ("attack", "capability", *HARMLESS)
    own = [r for r in records if r.model == chosen and r.kind in kinds]
    answered = counted(own, mine)
    if not any_judge and (alarms := doubts(answered)):
        raise InputError(f"{path} does not count, {alarms[0].says}")
    refusal_view = by_refusal(ModelResults(answered, mine, {}, read_second_verdicts(run, answered)))
    return EvaluatedModel(
        path,
        chosen,
        models,
        tuple(answered),
        tuple(refusal_view),
        mine,
        about,
        run.settings(),
    )


def finished(run: RunReader) -> dict[str, Any]:
    """The content of `run.json` of a finished run.

    Raises:
        InputError: The folder is not a run, or the run has not finished.
        RunError: `run.json` is damaged.
    """
    path = run.path
    if not (path / "run.json").is_file():
        raise InputError(
            f"{path} is not a run folder: it has no run.json; give one that sirl wrote"
        )
    about = run.read("run.json")
    ended = about.get("exit") or {}
    how = ended.get("how", "not ended")
    if how != "finished":
        raise InputError(
            f"{path} has not finished ({unfinished(how, ended)}): finish it with --resume, or "
            "start it over with --overwrite, first"
        )
    return about


def unfinished(how: str, ended: Mapping[str, Any]) -> str:
    """The reason why a run has not finished, in words."""
    why = " ".join(str(ended.get("why") or "").split())[:LONGEST]
    known = {"not ended": "it is still running, or was killed", "stopped": "it was stopped"}
    return known.get(how) or (f"it ended in an error: {why}" if why else "it ended in an error")


def check_whole(run: RunReader) -> None:
    """Check that the files of a finished run are as the run wrote them.

    Of runs of versions that kept no hashes, only the numbers of lines in the logs are checked, if
    their summary has them.

    Raises:
        InputError: A log has lost or got lines since.
        RunError: A file has changed since, or is damaged.
    """
    check_unchanged(run)
    if RECORDS in run.read("run.json").get("written", {}):
        return  # its hash says more than the numbers of lines
    written, now = run.read("summary.json").get("recorded", {}), recorded(run)
    for name in (name for name in now if written.get(name, now[name]) != now[name]):
        there, before = sum(now[name].values()), sum(written[name].values())
        what = name.partition(".")[0]
        raise InputError(
            f"{run.path / name} has {there} of the {before} {what} that the run wrote: restore it, "
            "or evaluate again"
        )


def figures_of(path: Path) -> dict[str, Any]:
    """The figures of each model in the summary of a run.

    Raises:
        RunError: The summary is missing or damaged.
    """
    models: dict[str, Any] | None = RunReader(path).read("summary.json").get("models")
    if models is None:
        raise damaged(str(path / "summary.json"), "models")
    return models


def read_pair(
    paths: tuple[Path, Path], models: tuple[str | None, str | None], *, any_judge: bool = False
) -> tuple[EvaluatedModel, EvaluatedModel]:
    """Read two models, before and after; by default the first and last if it is the same run."""
    second = read_evaluated(paths[1], models[1], any_judge=any_judge)
    first = models[0]
    if first is None and paths[0].resolve() == paths[1].resolve():
        first = second.models[0]
    return read_evaluated(paths[0], first, any_judge=any_judge), second


def answers(run: RunReader) -> tuple[list[Record], list[SearchResult]]:
    """All records and items of a run.

    Raises:
        InputError: The format is that of another version, or records are missing.
    """
    records, items = read_records(run), read_items(run)
    known = {r.place for r in records}
    if any((item.model, key) not in known for item in items for key in item.records):
        raise InputError(
            f"{run.path} lacks records that its searches name: finish it with --resume"
        )
    return records, items


def counted(records: Sequence[Record], items: Sequence[SearchResult]) -> list[Record]:
    """The answers that count, without those of interrupted searches."""
    searches = {(i.model, i.attack) for i in items}
    ended = {(item.model, key) for item in items for key in item.records}
    return [
        r
        for r in records
        if r.kind not in ("attack", "probe")
        or (r.model, r.attack) not in searches
        or r.place in ended
    ]


def judge_identities(about: Mapping[str, Any]) -> dict[str, str]:
    """The identity of each judge of a run, by the judge's name; see `sirl.roles.identity_of`."""
    named = zip(about.get("judges") or (), about.get("judge_identities") or (), strict=False)
    return {name.rpartition(" (")[0]: current_identity(identity) for name, identity in named}


def tried(evaluated: EvaluatedModel, attack: str) -> dict[str, None]:
    """The behaviours that an attack was tried on, in order, including those without an answer."""
    asked = [r.behaviour_id for r in evaluated.records if r.kind == "attack" and r.attack == attack]
    ended = [i.behaviour_id for i in evaluated.items if i.attack == attack]
    return dict.fromkeys((*asked, *ended))

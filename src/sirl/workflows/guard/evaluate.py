"""The workflow of `sirl guard evaluate`: how well a calibrated guard detects new attacks."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sirl import registry
from sirl.analysis.detection import detection
from sirl.analysis.end_to_end import end_to_end
from sirl.config import GuardEvaluateConfig
from sirl.errors import ConfigError, InputError
from sirl.evaluation.asked import Query
from sirl.prompts import Rejected
from sirl.reports.guard import guard_table
from sirl.roles import Console, Search
from sirl.runs import Existing, Run, open_run
from sirl.runs.disk import write_atomically
from sirl.runs.kept import Kept
from sirl.runs.places import KEPT
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import set_aside
from sirl.workflows.frame import Frame
from sirl.workflows.guard.calibrate import GUARD, binding_of
from sirl.workflows.guard.folder import guard_document

if TYPE_CHECKING:
    from sirl.analysis.detection import ScoredAnswer
    from sirl.evaluation.suite import Suite
    from sirl.guard.calibration import Calibration
    from sirl.guard.scoring import Asked, Guard
    from sirl.workflows.guard.answers import EvaluationJob
    from sirl.workflows.guard.watch import AlarmRule

__all__ = [
    "SCORES",
    "evaluate_guard",
    "figures_of",
    "finished",
    "judged_by",
    "read_guard",
    "remembering",
]

SCORES = "guard_scores.jsonl"
TABLE = "guard.md"
RARE = 0.001
"""A second false-alarm rate, where the calibration has enough answers for it."""
TIMED = 5
"""Ordinary prompts on which the overhead is timed."""


def evaluate_guard(
    config: GuardEvaluateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate a guard into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    if registry.is_remote(config.model):
        raise ConfigError(
            f"sirl guard reads hidden states, and {config.model} is not a local model: give one"
        )
    with Frame("guard evaluate", resumable=False) as frame:
        registry.require_models("sirl guard evaluate")
        guard = read_guard(config.guard, config.model)
        setup = registry.evaluation_setup(config)
        searches = registry.guard_searches(config)
        settings, out = config.model_dump(), Path(config.out)
        run = frame.hold(open_run(out, settings, existing, resumable=False))
        with console.bar() as progress:
            config = registry.dated(config, {})
            subject = registry.subject(config)
            other = binding_of(subject.about, config.new_tokens, config.dtype, guard.fitted.watch)
            guard.calibration.binding.refuse_other(other, config.guard)
            guard.check_model(subject.target.chat, str(Path(config.guard) / GUARD))
            # Only what another model was not fitted on would be asked, so its binding comes first.
            setup = registry.guarded_setup(setup, config, guard.disguises, guard.known)
            console.warn(setup.notes)
            registry.greet(registry.models_behind(setup.suite.judges))
            provenance = frame.begin(run, config, keeps=(KEPT,))
            suite = remembering(setup.suite, frame.kept(run, console))
            provenance.note(model=subject.about, prompts=setup.sets, readings=subject.notes)
            faults = judged_by(suite, config, provenance)
            console.warn(faults)
            from sirl.workflows.guard.answers import EvaluationJob

            work = EvaluationJob(config, suite, subject.target, guard, progress)
            figures = reported(work, searches, setup.rejected, run, console)
            return finished(frame, run, {**figures, "judge_faults": faults})


def remembering(suite: "Suite", kept: Kept) -> "Suite":
    """The suite with judges that pay for no verdict twice."""
    return replace(suite, judges=[registry.remembering(judge, kept) for judge in suite.judges])


def judged_by(suite: "Suite", config: GuardEvaluateConfig, provenance: Provenance) -> list[str]:
    """Record the guard and the judges; sentences about judges that fail on known answers."""
    provenance.files([str(Path(config.guard) / GUARD), config.refusals])
    faults = registry.judge_faults(suite.judges, config.model)
    provenance.judges(suite.judges, faults)
    return faults


def finished(frame: Frame, run: Run, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write the summary and its tables."""
    summary = frame.finish(run, figures)
    write_atomically(run.path / TABLE, "\n".join(guard_table(summary)) + "\n")
    return summary


def reported(
    work: "EvaluationJob",
    searches: Sequence[Search],
    rejected: Sequence[Rejected],
    run: Run,
    console: Console,
) -> dict[str, Any]:
    """The figures of all answers, and of the searches if there are any."""
    from sirl.workflows.guard.answers import readable
    from sirl.workflows.guard.searches import search_figures

    queries, unasked = readable(work)
    console.warn(set_aside(run, [*rejected, *unasked], strict=work.config.strict))
    summary = scored_figures(work, queries, run)
    if searches:
        summary["searches"] = search_figures(work, searches, run)
    return summary


def read_guard(folder: str, model: str) -> "Guard":
    """The guard of a model in a folder that `sirl guard calibrate` wrote.

    Raises:
        InputError: There is none.
    """
    from sirl.guard.scoring import Guard

    where, document = Path(folder) / GUARD, guard_document(folder, model)
    if "kind" in document:
        raise InputError(
            f"{where} is the guard of an endpoint: evaluate it with --model URL#MODEL, serve it "
            "with sirl guard serve --upstream URL, or calibrate one for a local model"
        )
    return Guard.revived(document, str(where))


def scored_figures(work: "EvaluationJob", queries: Sequence[Query], run: Run) -> dict[str, Any]:
    """Ask, judge and score; write the scores of every answer."""
    from sirl.workflows.guard.answers import asked
    from sirl.workflows.guard.watch import AlarmRule, watch

    watched, answers = watch(work, list(asked(work, queries)))
    run.keep(SCORES, [asdict(a) for a in watched])
    fitted = work.guard.fitted
    return figures_of(watched, AlarmRule(fitted.watch, work.guard.calibration)) | {
        "overhead": overhead(work, answers)
    }


def figures_of(answers: "Sequence[ScoredAnswer]", alarms: "AlarmRule") -> dict[str, Any]:
    """The figures of watched answers."""
    calibration = alarms.calibration
    few = too_few(calibration, RARE)
    thresholds = {
        str(a): {n: calibration.threshold(n, a) for n in calibration.detectors}
        for a in dict.fromkeys([calibration.alpha, *([] if few else [RARE])])
    }
    return {
        **detection(answers, thresholds, str(calibration.alpha)),
        **end_to_end(answers),
        "sentence": f"Threshold: {calibration.sentence()}.",
        "unsupported": few,
        "every": alarms.watch.every,
    }


def too_few(calibration: "Calibration", alpha: float) -> str:
    """Why a calibration cannot support a false-alarm rate; empty if it can."""
    from sirl.guard.calibration import needed

    group, n = min(calibration.sizes.items(), key=lambda item: item[1])
    if n >= (fewest := needed(alpha)):
        return ""
    return (
        f"A false-alarm rate of {alpha:.1%} is not reported: it needs at least {fewest} answers in "
        f"each group of the calibration, and {group} has {n}."
    )


def overhead(work: "EvaluationJob", answers: "Sequence[Asked]") -> Mapping[str, float]:
    """Time of checks while streaming, compared with decoding, one answer at a time."""
    from sirl.guard.timing import timed

    work.progress("timing", 0, 1)
    reader = work.guard.fitted.reader(work.target.chat)
    prompts = [a.completion.prompt_ids for a in answers[:TIMED]]
    found = timed(reader, prompts, work.config.new_tokens, work.guard.fitted.watch.every)
    work.progress("timing", 1, 1)
    return cast(Mapping[str, float], asdict(found))

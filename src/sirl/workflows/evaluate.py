"""The workflow of `sirl evaluate` and `sirl probe`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sirl import registry
from sirl.analysis.calibration import JudgeCalibration, corrected
from sirl.analysis.contamination import contamination
from sirl.analysis.measured import measured
from sirl.analysis.summary import summarise
from sirl.config import EvaluationSettings, ProbeConfig
from sirl.errors import InputError
from sirl.evaluation.second_judges import recorded
from sirl.evaluation.suite import Suite, askable
from sirl.evaluation.suite import evaluate as asked_everything
from sirl.models.folder import is_hardened
from sirl.prompts import files_of
from sirl.roles import Console, Progress
from sirl.runs import Existing, open_run
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import rows_set_aside, set_aside
from sirl.types import Record, Sampling
from sirl.workflows.asking import asked_prompts
from sirl.workflows.console import interruptible, nothing_to_resume
from sirl.workflows.first_tokens import refusal_mass
from sirl.workflows.frame import Frame
from sirl.workflows.own_refusals import own_refusals
from sirl.workflows.report import write_report

__all__ = ["evaluate"]


def evaluate(
    config: EvaluationSettings, verb: str, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate one model into a run folder and return the summary.

    Raises:
        SirlError: The user can correct it; recorded answers are kept.
        Stopped: Ctrl-C; finished parts are kept.
    """
    with Frame(verb) as frame:
        if not registry.is_remote(config.model):
            registry.require_models(f"sirl {verb}")
        setup = registry.evaluation_setup(config)
        run = frame.hold(open_run(Path(config.out), config.model_dump(), existing))
        console.warn([*nothing_to_resume(run, existing), *setup.notes])
        one_by_one = any(map(answers_singly, (config.model, config.judge, config.attacker)))
        with console.working(at_once=one_by_one) as work:
            progress = interruptible(*work)
            config = registry.dated(config, run.read("run.json") if run.resumed else {})
            subject = registry.subject(config)
            console.warn(subject.notes)
            auxiliary = attacker_and_judges(setup.suite)
            registry.greet(auxiliary, subject.target.engine(Sampling()))
            provenance = frame.begin(run, config)
            faults = noted(provenance, config, setup, subject, console)
            try:
                models = {"target": ask(config, setup, subject, provenance, progress, console)}
            finally:
                provenance.dialects(registry.dialects(subject, auxiliary))
            about, settings = provenance.document, config.model_dump()
            what = measured(about, settings, models, rows_set_aside(run))
            figures = {"judge_faults": faults, "measured": what, "models": models}
            summary = frame.finish(run, {**figures, "recorded": recorded(run)})
            write_report(run.path, summary, about)
            return summary


def attacker_and_judges(suite: Suite) -> list[object]:
    """The attacker and the models behind the judges."""
    return [suite.attacker, *registry.models_behind(suite.judges)]


def answers_singly(model: str) -> bool:
    """Whether a model, or one of several judges, is an endpoint or a function."""
    return "://" in model or "python:" in model


def noted(
    provenance: Provenance,
    config: EvaluationSettings,
    setup: registry.EvaluationSetup,
    subject: registry.Subject,
    console: Console,
) -> list[str]:
    """Record model, prompts, files and judges in `run.json`; return the faults of the judges."""
    provenance.note(model=subject.about, prompts=setup.sets, readings=subject.notes)
    provenance.files(
        [
            config.sheet,
            config.templates,
            config.transcripts,
            config.targets,
            config.calibration,
            config.refusals,
            *registry.benchmark_files(config),
            *map(str, files_of(config.trained_on)),
        ]
    )
    if protection := registry.code_protection(config):
        provenance.code_sandbox(protection.sentence)
        console.warn(protection.warnings)
    faults = registry.judge_faults(setup.suite.judges, config.model)
    console.warn(faults)
    provenance.judges(setup.suite.judges, faults)
    return faults


def ask(  # noqa: PLR0913 - one caller, and each is a part of the run
    config: EvaluationSettings,
    setup: registry.EvaluationSetup,
    subject: registry.Subject,
    provenance: Provenance,
    progress: Progress,
    console: Console,
) -> dict[str, Any]:
    """Set aside unreadable prompts, evaluate the others, return the figures."""
    suite, run = setup.suite, provenance.run
    asked, unasked = askable(suite, subject.target)
    console.warn(set_aside(run, [*setup.rejected, *unasked], strict=config.strict))
    if unasked and not asked:
        raise InputError(f"{config.model} cannot read any prompt: {unasked[0].reason}")
    provenance.used(asked_prompts(suite, asked, subject.target).values(), unasked)
    evaluation = asked_everything(suite, asked, subject.target, run, progress)
    console.warn(f"{name} was not tried: {why}" for name, why in evaluation.skipped.items())
    hardened = is_hardened(config.model)
    figures = summarise(evaluation, suite.unseen, new_tokens=config.new_tokens, hardened=hardened)
    if subject.target.chat:
        figures["refusal_mass"] = refusal_mass(evaluation, subject.target, progress)
    learned = registry.dialects(subject, attacker_and_judges(suite))
    console.warn(doubts(config, figures, evaluation.records, learned))
    if setup.calibration:
        console.warn(flattered(setup.calibration))
        figures["corrected"] = corrected(evaluation.records, setup.calibration)
    if isinstance(config, ProbeConfig) and suite.lookalikes and subject.target.chat:
        figures["own_refusals"] = own_refusals(suite, subject.target, run, progress)
    if setup.trained_on:
        figures["contamination"] = contamination(setup.trained_on, suite.behaviours)
        console.warn(learned_from(figures["contamination"]))
    return figures


def learned_from(found: Mapping[str, Any]) -> list[str]:
    """A warning if behaviours occur in the training prompts."""
    if not found["near_or_exact"]:
        return []
    return [
        "behaviours that are in --trained-on, word for word or nearly so: "
        f"{found['near_or_exact']} of {found['behaviours']}; their defence says little about new "
        "requests"
    ]


def flattered(calibration: JudgeCalibration) -> list[str]:
    """A warning if the judge was calibrated on answers that it was fitted on."""
    if not calibration.fitted_on:
        return []
    return [
        f"the judge of {calibration.source} was fitted on {calibration.fitted_on} of its "
        f"{calibration.overall.n} answers: rates corrected by it are not a measurement"
    ]


def doubts(
    config: EvaluationSettings,
    figures: Mapping[str, Any],
    records: Sequence[Record],
    dialects: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[str]:
    """Warnings: missing answers and verdicts, endpoint dialects, unknown token counts."""
    said = [figures[part]["sentence"] for part in ("no_answer", "unfinished") if part in figures]
    for identity, learned in dialects.items():
        left_out, renamed = (", ".join(learned[part]) for part in ("left_out", "renamed"))
        if left_out:
            said.append(f"{identity} does not accept {left_out}: left out of requests")
        if renamed:
            said.append(f"{identity} has other parameter names: {renamed}")
        if ends := ", ".join(learned.get("unknown_ends", ())):
            said.append(
                f"{identity} ended answers for unknown reasons ({ends}): they count as complete"
            )
    uncounted = sum(not r.tokens and bool(r.completion) for r in records)
    if config.max_tokens and uncounted:
        said.append(
            f"{uncounted} of {len(records)} answers came without a usable token count: max_tokens "
            "counts them as 0"
        )
    return said

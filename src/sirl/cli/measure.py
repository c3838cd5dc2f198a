"""What `sirl evaluate` and `sirl probe` share: one model, questions, records, summary, page."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sirl import build
from sirl.analysis.measured import measured
from sirl.cli.page import write_report
from sirl.cli.provenance import Provenance
from sirl.cli.rejects import rows_set_aside, set_aside
from sirl.cli.show import StopSwitch, interruptible, live, nothing_to_resume, warn
from sirl.config import EvaluateConfig
from sirl.errors import InputError, SirlError
from sirl.roles import Progress
from sirl.runs import Existing, Run, open_run, plain
from sirl.types import Record, Sampling

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite

__all__ = ["measure"]


def measure(config: EvaluateConfig, verb: str, existing: Existing) -> dict[str, Any]:
    """Ask one model everything in a run folder; the summary.

    Raises:
        SirlError: Something the user can mend; what was recorded is kept.
        Stopped: Ctrl-C; the parts that were finished are kept.
    """
    started = time.perf_counter()
    if not build.is_remote(config.model):
        build.require_models(f"sirl {verb}")
    questions = build.evaluation_suite(config)
    run = open_run(Path(config.out), config.model_dump(), existing)
    warn([*nothing_to_resume(run, existing), *questions.notes])
    stop = StopSwitch(at_once=any(map(elsewhere, (config.model, config.judge, config.attacker))))
    try:
        with stop.listening(), live() as shown:
            progress = interruptible(shown, stop)
            config = build.dated(config, run.read("run.json") if run.resumed else {})
            subject = build.subject(config)
            warn(subject.notes)
            speakers = spoken_to(questions.suite)
            build.greet(speakers, subject.target.engine(Sampling()))
            run.begin()
            with Provenance(run, verb, config) as provenance:
                faults = noted(provenance, config, questions, subject)
                try:
                    figures = ask(config, questions, run, subject, progress)
                finally:
                    provenance.dialects(build.dialects(subject, speakers))
                seconds = round(time.perf_counter() - started, 1)
                models = {"target": figures}
                what = measured(
                    provenance.document, config.model_dump(), models, rows_set_aside(run)
                )
                summary: dict[str, Any] = plain(
                    {"seconds": seconds, "judge_faults": faults, "measured": what, "models": models}
                )
                run.write("summary.json", summary)
                write_report(run, summary, provenance.document, questions.suite.unseen)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


def spoken_to(suite: "Suite") -> list[object]:
    """The models beside the target: the attacker and those that judge."""
    return [suite.attacker, *build.speakers_of(suite.judges)]


def elsewhere(model: str) -> bool:
    """Whether a model, or one of the judges, is asked one by one: an endpoint or a function."""
    return "://" in model or "python:" in model


def noted(
    provenance: Provenance,
    config: EvaluateConfig,
    questions: build.Questions,
    subject: build.Subject,
) -> list[str]:
    """Write down what is asked of what, and by whom it is judged; what is wrong with the judges."""
    provenance.note(model=subject.about, prompts=questions.sets, readings=subject.notes)
    provenance.files(
        [
            config.sheet,
            config.templates,
            config.transcripts,
            config.targets,
            config.trained_on,
            config.calibration,
            config.refusals,
            *build.benchmark_files(config),
        ]
    )
    if protection := build.code_protection(config):
        provenance.code_sandbox(protection.sentence)
        warn(protection.warnings)
    faults = build.judge_faults(questions.suite.judges, config.model)
    warn(faults)
    provenance.judges(questions.suite.judges, faults)
    return faults


def ask(
    config: EvaluateConfig,
    questions: build.Questions,
    run: Run,
    subject: build.Subject,
    progress: Progress,
) -> dict[str, Any]:
    """Set aside what cannot be asked, then evaluate."""
    from sirl.evaluation.calibration import corrected
    from sirl.evaluation.contamination import contamination
    from sirl.evaluation.suite import askable, evaluate
    from sirl.evaluation.summary import summarise

    suite = questions.suite
    asked, unasked = askable(suite, subject.target)
    set_aside(run, [*questions.rejected, *unasked], strict=config.strict)
    if unasked and not asked:
        raise InputError(
            f"nothing is left to ask {config.model}: {unasked[0].reason}; lower new_tokens, or "
            "capability_tokens for tasks"
        )
    evaluation = evaluate(suite, asked, subject.target, run, progress)
    for attack, reason in evaluation.skipped.items():
        typer.echo(f"sirl: {attack} was not tried: {reason}", err=True)
    figures = summarise(evaluation, suite.unseen, new_tokens=config.new_tokens)
    learned = build.dialects(subject, spoken_to(suite))
    warn(doubts(config, figures, evaluation.records, learned))
    if questions.calibration:
        figures["corrected"] = corrected(evaluation.records, questions.calibration)
    if questions.trained_on:
        figures["contamination"] = contamination(questions.trained_on, suite.behaviours)
    return figures


def doubts(
    config: EvaluateConfig,
    figures: Mapping[str, Any],
    records: Sequence[Record],
    dialects: Mapping[str, Mapping[str, Sequence[str]]],
) -> list[str]:
    """What to know of the figures: requests without an answer, dialects, tokens untold."""
    said = [figures["no_answer"]["sentence"]] if "no_answer" in figures else []
    for identity, learned in dialects.items():
        left_out, renamed = (", ".join(learned[part]) for part in ("left_out", "renamed"))
        if left_out:
            said.append(f"{identity} takes no {left_out}: left out of every request")
        if renamed:
            said.append(f"{identity} has other names: {renamed}")
    untold = sum(not r.tokens and bool(r.completion) for r in records)
    if config.max_tokens and untold:
        said.append(
            f"{untold} of {len(records)} answers came without a usable count of tokens: "
            "max_tokens counts them as none"
        )
    return said

"""What `sirl evaluate` and `sirl probe` share: one model, questions, records, summary, page."""

import time
from pathlib import Path
from typing import Any

import typer

from sirl import build
from sirl.cli.page import write_report
from sirl.cli.provenance import Provenance
from sirl.cli.rejects import set_aside
from sirl.cli.show import StopSwitch, live, nothing_to_resume, warn
from sirl.config import EvaluateConfig
from sirl.errors import InputError, SirlError
from sirl.roles import Progress
from sirl.runs import Existing, Run, open_run, plain

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
    warn(nothing_to_resume(run, existing))
    stop = StopSwitch()
    try:
        with stop.listening(), live(stop) as progress:
            config = build.dated(config, run.read("run.json") if run.resumed else {})
            subject = build.subject(config)
            notes = subject.target.chat.manner.notes if subject.target.chat else ()
            warn(notes)
            run.begin()
            with Provenance(run, verb, config) as provenance:
                provenance.note(model=subject.about, prompts=questions.sets, readings=notes)
                provenance.files(
                    [
                        config.sheet,
                        config.templates,
                        config.transcripts,
                        config.targets,
                        config.trained_on,
                        config.calibration,
                        *build.benchmark_files(config),
                    ]
                )
                faults = build.judge_faults(questions.suite.judges, config.model)
                warn(faults)
                provenance.judges(questions.suite.judges, faults)
                figures = ask(config, questions, run, subject, progress)
                seconds = round(time.perf_counter() - started, 1)
                summary: dict[str, Any] = plain(
                    {"seconds": seconds, "judge_faults": faults, "models": {"target": figures}}
                )
                run.write("summary.json", summary)
                write_report(run, summary, provenance.document, questions.suite.unseen)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


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
    figures = summarise(evaluation, suite.unseen)
    if questions.calibration:
        figures["corrected"] = corrected(evaluation.records, questions.calibration)
    if questions.trained_on:
        figures["contamination"] = contamination(questions.trained_on, suite.behaviours)
    return figures

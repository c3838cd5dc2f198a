"""What `sirl evaluate` and `sirl probe` share: one model, questions, records, summary, page."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import build
from sirl.cli.page import write_report
from sirl.cli.provenance import Provenance
from sirl.cli.rejects import set_aside
from sirl.cli.show import StopSwitch, live
from sirl.config import EvaluateConfig
from sirl.errors import SirlError
from sirl.prompts import Rejected
from sirl.runs import Existing, Run, open_run, plain
from sirl.types import Progress

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite
    from sirl.models.loading import ChatModel

__all__ = ["measure"]


def measure(config: EvaluateConfig, verb: str, existing: Existing) -> dict[str, Any]:
    """Ask one model everything in a run folder; the summary.

    Raises:
        SirlError: Something the user can mend; what was recorded is kept.
        Stopped: Ctrl-C; the parts that were finished are kept.
    """
    started = time.perf_counter()
    build.require_models(f"sirl {verb}")
    suite, sets = build.evaluation_suite(config)
    run = open_run(Path(config.out), config.model_dump(), existing)
    stop = StopSwitch()
    try:
        with stop.listening(), live(stop) as progress:
            chat = build.chat_model(config)
            run.begin()
            with Provenance(run, verb, config) as provenance:
                from sirl.models.loading import fingerprint

                provenance.note(model=fingerprint(chat), prompts=sets)
                rejected = [row for s in sets for row in s.rejected]
                figures = ask(config, suite, run, (chat, rejected), progress)
                seconds = round(time.perf_counter() - started, 1)
                summary: dict[str, Any] = plain({"seconds": seconds, "models": {"target": figures}})
                run.write("summary.json", summary)
                write_report(run, summary, provenance.document, suite.unseen)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


def ask(
    config: EvaluateConfig,
    suite: "Suite",
    run: Run,
    given: tuple["ChatModel", list[Rejected]],
    progress: Progress,
) -> dict[str, Any]:
    """Set aside what cannot be asked, then evaluate."""
    from sirl.evaluation.suite import askable, evaluate, summarise

    chat, rejected = given
    target = build.target("target", chat, config)
    chunks, unasked = askable(suite, target)
    set_aside(run, [*rejected, *unasked], strict=config.strict)
    records = evaluate(chunks, suite.judge, target, run, progress=progress)
    return summarise(records, suite.unseen)

"""The workflow of `sirl train` and `sirl demo`: evaluate, train, evaluate, report."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.analysis.measured import measured
from sirl.config import TrainingSettings
from sirl.errors import ConfigError, InputError
from sirl.prompts import Rejected
from sirl.roles import Console
from sirl.runs import Existing, Run, open_run
from sirl.runs.provenance import begun_by, launch
from sirl.runs.rejects import rows_set_aside
from sirl.workflows.console import interruptible, nothing_to_resume
from sirl.workflows.frame import Frame
from sirl.workflows.learning import Models, finished, learn, newest_checkpoint
from sirl.workflows.report import write_report
from sirl.workflows.session import Session, among

if TYPE_CHECKING:
    from sirl.evaluation.suite import ModelResults
    from sirl.evaluation.target import Target
    from sirl.models.chat import ChatModel
    from sirl.training.parallel import Ranks

__all__ = ["train"]


def train(
    config: TrainingSettings,
    verb: str,
    existing: Existing,
    console: Console,
    *,
    beside: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Evaluate, train and evaluate again in a run folder; its summary.

    `beside` holds further models to evaluate between the base and the hardened one: name to folder.

    Raises:
        SirlError: Something the user can mend; nothing is lost.
        Stopped: Ctrl-C; the step is saved.
    """
    with Frame(verb) as frame:
        check_environment(config, verb)
        extra = registry.observers(config)
        setup = registry.training_setup(config)
        ranks = registry.ranks(config)
        run = frame.hold(run_of(config, existing, ranks))
        if ranks.main:
            console.warn([*nothing_to_resume(run, existing), *setup.notes])
        with quiet_unless(ranks.main), console.working(ranks.any) as working:
            config = dated_alike(config, run, ranks)
            start = registry.policy(config, None)
            console.warn(start.manner.notes)
            setup = fitting(setup, registry.in_process("base", start, config), config.batch)
            provenance = frame.begin(run, config)
            session = Session(config, setup, run, provenance, console, working, ranks, extra)
            summary = written(session, frame, run_stages(session, start, beside))
    ranks.close()
    return summary


def check_environment(config: TrainingSettings, verb: str) -> None:
    """Name what is missing before the run folder is touched."""
    registry.require_models(f"sirl {verb}")
    registry.require_sampler(config)
    registry.require_collaborators(config)
    registry.trackers(config)


def written(session: Session, frame: Frame, figures: dict[str, Any]) -> dict[str, Any]:
    """Write summary and page; return the summary."""
    run, about = session.run, session.provenance.document
    settings = session.config.model_dump()
    what = measured(about, settings, figures["models"], rows_set_aside(run))
    summary = frame.finish(run, {"measured": what, **figures})
    if session.ranks.main:
        write_report(run.path, summary, about)
    return summary


def run_of(config: TrainingSettings, existing: Existing, ranks: "Ranks") -> Run:
    """The run folder, written to by one process; what torchrun starts again is resumed."""
    folder = Path(config.out)
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) and begun_by(folder) in (
        None,
        launch(),
    ):
        existing = "resume"
    if ranks.size == 1:
        return open_run(folder, config.model_dump(), existing)
    from sirl.training.parallel import SharedRun

    return SharedRun.opened(folder, ranks, lambda: open_run(folder, config.model_dump(), existing))


def dated_alike(config: TrainingSettings, run: Run, ranks: "Ranks") -> TrainingSettings:
    """The settings with the run's date, the same in all processes."""
    own = registry.dated(config, run.read("run.json") if run.resumed else {}).template_date or ""
    return config.model_copy(update={"template_date": ranks.broadcast(own.encode()).decode()})


@contextmanager
def quiet_unless(main: bool) -> Iterator[None]:
    """Only rank 0 reports."""
    if main:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def run_stages(session: Session, start: "ChatModel", beside: Mapping[str, str]) -> dict[str, Any]:
    """Evaluate, train, evaluate again; the figures of all models."""
    from sirl.analysis.summary import summarise
    from sirl.evaluation.second_judges import recorded
    from sirl.evaluation.suite import evaluate, forget
    from sirl.training.checkpoints import read
    from sirl.workflows.asking import announced, asked_sentence
    from sirl.workflows.mini_eval import steps_to_choose_from

    config, run, ranks = session.config, session.run, session.ranks
    progress = interruptible(*session.working)
    checkpoint = newest_checkpoint(session)
    note_inputs(session, start)

    def evaluated(name: str, chat: "ChatModel") -> "ModelResults":
        target = among(registry.in_process(name, chat, config), ranks)
        return evaluate(suite, asked, target, run, progress)

    suite, base = session.setup.suite, among(registry.in_process("base", start, config), ranks)
    session.provenance.judges(suite.judges, registry.judge_faults(suite.judges, config.model))
    asked, parts = announced(config, session.setup, base, session.provenance, session.console)
    found = {"base": evaluate(suite, asked, base, run, progress)}
    for name, folder in beside.items():
        model = config.model_copy(update={"model": folder})
        found[name] = evaluated(name, registry.policy(model, None))
    # Records of the hardened model may belong to another checkpoint unless training had finished.
    if run.resumed and not finished(checkpoint, config.steps):
        forget(run, "hardened")
    # A resumed policy differs from the model that it started from, which stays the reference.
    chat = registry.policy(config, checkpoint) if checkpoint else start
    learned = learn(session, Models(chat, start, checkpoint))
    # With shards no process holds the whole of what it trained.
    if config.shard or learned.chosen != learned.last:
        chat = registry.policy(config, read(learned.chosen))
    forget_other_step(run, learned.chosen_step)
    found["hardened"] = evaluated("hardened", chat)
    figures = {
        name: summarise(each, suite.unseen, new_tokens=config.new_tokens, hardened=name != "base")
        for name, each in found.items()
    }
    return {
        "models": {name: m for name, m in figures.items() if m},
        "recorded": recorded(run),
        "checkpoint": str(learned.chosen),
        "chosen_step": learned.chosen_step,
        "last_step": learned.last_step,
        **learned.figures,
        "asked": asked_sentence(parts, config, found["base"].records),
        "mini_evaluations": steps_to_choose_from(run, config.model),
    }


def forget_other_step(run: Run, chosen_step: int) -> None:
    """Drop records of the hardened model if an older version had recommended another step."""
    from sirl.evaluation.suite import forget

    if run.read("summary.json").get("chosen_step", chosen_step) != chosen_step:
        forget(run, "hardened")


def note_inputs(session: Session, start: "ChatModel") -> None:
    """Record model and prompts in `run.json`."""
    from sirl.models.loading import fingerprint

    session.provenance.note(
        model=fingerprint(start),
        prompts=session.setup.sets,
        readings=start.manner.notes,
        held_out=session.setup.held_out,
    )
    session.provenance.files([session.config.refusals])


def at_fault(row: Rejected) -> str:
    """A row that was set aside, by its place and its fault."""
    return f"{row.file}{f':{row.line}' if row.line else ''}: {row.reason}"


def fitting(setup: registry.TrainingSetup, target: "Target", batch: int) -> registry.TrainingSetup:
    """The setup with the training prompts that leave room for an answer; others are rejected.

    Raises:
        InputError: None does.
        ConfigError: Too few do to fill a batch.
    """
    given = {p.id: p for p in (*setup.prompts, *setup.asked)}
    faults = {id: fault for id, p in given.items() if (fault := target.read(p).fault)}
    kept = tuple(p for p in setup.prompts if p.id not in faults)
    rejected = [Rejected(given[id].source, 0, f"{id}: {why}") for id, why in faults.items()]
    if not kept:
        raise InputError(f"no prompt is usable: {rejected[0].reason}")
    if len(kept) < batch:
        aside = [*setup.rejected, *rejected]
        lost = f"{len(aside)} were rejected, the first is {at_fault(aside[0])}; " if aside else ""
        raise ConfigError(
            f"a batch of {batch} exceeds the {len(kept)} usable prompts: {lost}lower it"
        )
    asked = tuple(p for p in setup.asked if p.id not in faults)
    general = tuple(p for p in setup.general if not target.read(p).fault)
    rejected = [*setup.rejected, *rejected]
    return replace(setup, prompts=kept, asked=asked, general=general, rejected=tuple(rejected))

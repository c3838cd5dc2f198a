"""The workflow of `sirl train` and `sirl demo`: evaluate, train, evaluate, report."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.analysis.measured import measured
from sirl.config import TrainingSettings
from sirl.errors import ConfigError, InputError, SirlError
from sirl.prompts import Rejected
from sirl.roles import Console, Observer, Work
from sirl.runs import Existing, Run, open_run, plain
from sirl.runs.provenance import Provenance, begun_by, launch
from sirl.runs.rejects import rows_set_aside
from sirl.types import Prompt
from sirl.workflows.console import interruptible, nothing_to_resume
from sirl.workflows.report import write_report

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.models.chat import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.parallel import Parallelism, Ranks
    from sirl.training.update import PolicyLearner

__all__ = ["train"]


@dataclass(frozen=True)
class Session:
    """A training run in progress: what its parts share."""

    config: TrainingSettings
    setup: registry.TrainingSetup
    run: Run
    provenance: Provenance
    console: Console
    working: Work
    ranks: "Ranks"
    observers: Mapping[str, Observer]
    """Those that the user adds."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Say what a user should know, once for all processes."""
        if self.ranks.main:
            self.console.warn(sentences)


def train(
    config: TrainingSettings, verb: str, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate, train and evaluate again in a run folder; its summary.

    Raises:
        SirlError: Something the user can mend; nothing is lost.
        Stopped: Ctrl-C; the step is saved.
    """
    started = time.perf_counter()
    registry.require_models(f"sirl {verb}")
    # What is missing is named, and input is checked, before the folder is touched.
    registry.require_sampler(config)
    registry.require_collaborators(config)
    registry.trackers(config)
    extra = registry.observers(config)
    setup = registry.training_setup(config)
    ranks = registry.ranks(config)
    run = opened(config, existing, ranks)
    if ranks.main:
        console.warn([*nothing_to_resume(run, existing), *setup.notes])
    try:
        with quiet_unless(ranks.main), console.working(ranks.any) as working:
            config = dated_alike(config, run, ranks)
            start = registry.policy(config, None)
            console.warn(start.manner.notes)
            prompts, rejected = fitting(
                setup, registry.in_process("base", start, config), config.batch
            )
            run.begin()
            setup = replace(setup, prompts=prompts, rejected=(*setup.rejected, *rejected))
            with Provenance(
                run, verb, seed=config.seed, template_date=config.template_date
            ) as provenance:
                session = Session(config, setup, run, provenance, console, working, ranks, extra)
                figures = walk(session, start)
                seconds = round(time.perf_counter() - started, 1)
                what = measured(
                    provenance.document, config.model_dump(), figures["models"], rows_set_aside(run)
                )
                summary: dict[str, Any] = plain({"seconds": seconds, "measured": what, **figures})
                run.write("summary.json", summary)
                if ranks.main:
                    write_report(run.path, summary, provenance.document, setup.suite.unseen)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


def opened(config: TrainingSettings, existing: Existing, ranks: "Ranks") -> Run:
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


def among(target: "Target", ranks: "Ranks", parallel: "Parallelism | None" = None) -> "Target":
    """A target whose answers are sampled by all processes."""
    if ranks.size == 1:
        return target
    from sirl.training.parallel import SharedEngine

    return replace(target, engine=lambda s: SharedEngine(target.engine(s), ranks, parallel))


def walk(session: Session, start: "ChatModel") -> dict[str, Any]:
    """Measure, train, measure again; the figures of both models."""
    from sirl.analysis.summary import summarise
    from sirl.evaluation.second_judges import recorded
    from sirl.evaluation.suite import evaluate, forget
    from sirl.models.loading import fingerprint
    from sirl.workflows.asking import announced, asked_sentence
    from sirl.workflows.mini_eval import steps_to_choose_from

    config, run, ranks = session.config, session.run, session.ranks
    progress = interruptible(*session.working)
    checkpoint = newest_checkpoint(session)
    provenance = session.provenance
    provenance.note(
        model=fingerprint(start),
        prompts=session.setup.sets,
        readings=start.manner.notes,
        held_out=session.setup.held_out,
    )
    provenance.files([config.refusals])
    suite, base = session.setup.suite, among(registry.in_process("base", start, config), ranks)
    provenance.judges(suite.judges, registry.judge_faults(suite.judges, config.model))
    asked, parts = announced(config, session.setup, base, provenance, session.console)
    before = evaluate(suite, asked, base, run, progress)
    # Records of the hardened model may belong to another checkpoint unless training had finished.
    if run.resumed and (checkpoint is None or checkpoint.step < config.steps):
        forget(run, "hardened")
    # A resumed policy differs from the model that it started from, which stays the reference.
    chat = registry.policy(config, checkpoint) if checkpoint else start
    models = (chat, start if checkpoint else None, checkpoint)
    last = learn(session, models)
    if config.shard:  # no process holds the whole of what it trained
        chat = registry.policy(config, newest_checkpoint(session))
    hardened = among(registry.in_process("hardened", chat, config), ranks)
    after = evaluate(suite, asked, hardened, run, progress)
    figures = {
        name: summarise(found, suite.unseen, new_tokens=config.new_tokens, hardened=found is after)
        for name, found in (("base", before), ("hardened", after))
    }
    return {
        "models": {name: m for name, m in figures.items() if m},
        "recorded": recorded(run),
        "checkpoint": str(last),
        "last_step": config.steps,
        "asked": asked_sentence(parts, config.new_tokens),
        "mini_evaluations": steps_to_choose_from(run, config.model),
    }


def newest_checkpoint(session: Session) -> "Checkpoint | None":
    """The checkpoint to go on from, if any; a damaged one is passed over with a sentence.

    One process looks, so that all find the same.

    Raises:
        ConfigError: The run has taken more steps than are asked for.
    """
    from sirl.training.checkpoints import newest, read

    run, steps, ranks = session.run, session.config.steps, session.ranks
    found = ""
    if ranks.main:
        checkpoint, passed_over = newest(run.path / "checkpoints")
        session.warn(passed_over)
        found = checkpoint.path.name if checkpoint else ""
    if not (name := ranks.broadcast(found.encode()).decode()):
        return None
    checkpoint = read(run.path / "checkpoints" / name)
    if checkpoint.step > steps:
        raise ConfigError(
            f"{run.path} has run {checkpoint.step} steps, more than {steps}: "
            "raise --steps, or start over with --overwrite"
        )
    return checkpoint


def learn(
    session: Session, models: tuple["ChatModel", "ChatModel | None", "Checkpoint | None"]
) -> Path:
    """Train from where the run stands to its last step; the last checkpoint."""
    from sirl.training.batches import prompt_batches
    from sirl.training.checkpoints import restore_optimizer
    from sirl.training.observers.checkpoints import states_in
    from sirl.training.parallel import SharedEngine
    from sirl.training.rl import train as run_steps

    chat, start, checkpoint = models
    config, ranks = session.config, session.ranks
    learner = registry.learner(config, chat, start, ranks)
    taken = checkpoint.step if checkpoint else 0
    if checkpoint:
        restore_optimizer(learner, checkpoint)
        learner.token_budget = checkpoint.state.get("token_budget", learner.token_budget)
    engine = registry.sampler(config, chat)
    watching = observers(session, learner, checkpoint)
    kept = states_in(checkpoint.state) if checkpoint else {}
    try:
        for name, observer in watching.items():
            observer.on_start(taken, kept.get(name, {}))
        run_steps(
            prompt_batches(
                session.setup.prompts, config.batch, config.seed, range(taken, config.steps)
            ),
            engine if ranks.size == 1 else SharedEngine(engine, ranks, learner.parallel),
            registry.reward_named(config.reward),
            learner,
            tuple(watching.values()),
            registry.example_sources(config, chat),
            group=config.group,
        )
    finally:
        for observer in watching.values():
            observer.close()
    return session.run.path / "checkpoints" / f"step-{config.steps:06d}"


def observers(
    session: Session, learner: "PolicyLearner", checkpoint: "Checkpoint | None"
) -> dict[str, Observer]:
    """What watches this run, by name, in the order in which each step is shown.

    Mini-evaluations stand first, as what comes later may stop training; checkpoints stand last.
    """
    from sirl.training.observers.checkpoints import SaveCheckpoints
    from sirl.training.observers.log import MetricsLog, ProgressBar
    from sirl.training.observers.stop import StopOnRequest, StopWhenBroken
    from sirl.training.observers.trackers import Trackers
    from sirl.workflows.mini_eval import MiniEvaluations

    config, run, ranks = session.config, session.run, session.ranks

    def measured(taken: int) -> "Target":
        target = registry.in_process("mini_eval", learner.chat, config, weights=f"step {taken}")
        return among(target, ranks, learner.parallel)

    found: dict[str, Observer] = {}
    checkpoints = SaveCheckpoints(
        run.path / "checkpoints",
        learner,
        config.steps,
        config.checkpoint_every,
        lambda: {name: state for name, o in found.items() if (state := o.state())},
    )
    checkpoints.saved = checkpoint.path if checkpoint else None
    found |= {
        "mini-evaluations": MiniEvaluations(
            session.setup.mini_eval, measured, run, config.eval_every, config.steps, session.warn
        ),
        "log": MetricsLog(run),
        "trackers": Trackers(
            registry.trackers(config) if ranks.main else {},
            lambda sentence: session.warn([sentence]),
        ),
        "progress": ProgressBar(session.working.progress, config.steps),
        "broken": StopWhenBroken(lambda: checkpoints.last_good),
        "stop": StopOnRequest(session.working.stop, config.steps),
        **session.observers,
        "checkpoints": checkpoints,
    }
    return found


def at_fault(row: Rejected) -> str:
    """A row that was set aside, by its place and its fault."""
    return f"{row.file}{f':{row.line}' if row.line else ''}: {row.reason}"


def fitting(
    setup: registry.TrainingSetup, target: "Target", batch: int
) -> tuple[tuple[Prompt, ...], list[Rejected]]:
    """The training prompts that leave room for an answer, and the others by name.

    Raises:
        InputError: None does.
        ConfigError: Too few do to fill a batch.
    """
    faults = {p.id: fault for p in setup.prompts if (fault := target.read(p).fault)}
    kept = tuple(p for p in setup.prompts if p.id not in faults)
    rejected = [
        Rejected(p.source, 0, f"{p.id}: {faults[p.id]}") for p in setup.prompts if p.id in faults
    ]
    if not kept:
        raise InputError(f"no prompt is usable: {rejected[0].reason}; lower new_tokens")
    if len(kept) < batch:
        aside = [*setup.rejected, *rejected]
        lost = f"{len(aside)} were set aside, the first as {at_fault(aside[0])}; " if aside else ""
        raise ConfigError(
            f"a batch of {batch} exceeds the {len(kept)} usable prompts: {lost}lower it"
        )
    return kept, rejected

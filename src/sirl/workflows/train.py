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
from sirl.config import TrainConfig
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
    """The objects that the parts of a training run share."""

    config: TrainConfig
    work: registry.Work
    run: Run
    provenance: Provenance
    console: Console
    working: Work
    ranks: "Ranks"
    observers: Mapping[str, Observer]
    """Observers that the user adds, by name."""

    def warn(self, sentences: Iterable[str]) -> None:
        """Print warnings on rank 0 only."""
        if self.ranks.main:
            self.console.warn(sentences)


def train(config: TrainConfig, verb: str, existing: Existing, console: Console) -> dict[str, Any]:
    """Evaluate, train and evaluate again in a run folder; return the summary.

    Raises:
        SirlError: The user can correct it; nothing is lost.
        Stopped: Ctrl-C; the step is saved.
    """
    started = time.perf_counter()
    registry.require_models(f"sirl {verb}")
    # Check packages and input before the folder is touched.
    registry.require_sampler(config)
    registry.require_collaborators(config)
    registry.trackers(config)
    extra = registry.observers(config)
    work = registry.work(config)
    ranks = registry.ranks(config)
    run = opened(config, existing, ranks)
    if ranks.main:
        console.warn([*nothing_to_resume(run, existing), *work.notes])
    try:
        with quiet_unless(ranks.main), console.working(ranks.any) as working:
            config = with_shared_date(config, run, ranks)
            start = registry.policy(config, None)
            console.warn(start.manner.notes)
            prompts, rejected = fitting(
                work, registry.in_process("base", start, config), config.batch
            )
            run.begin()
            work = replace(work, prompts=prompts, rejected=(*work.rejected, *rejected))
            with Provenance(
                run, verb, seed=config.seed, template_date=config.template_date
            ) as provenance:
                session = Session(config, work, run, provenance, console, working, ranks, extra)
                figures = run_stages(session, start)
                seconds = round(time.perf_counter() - started, 1)
                what = measured(
                    provenance.document, config.model_dump(), figures["models"], rows_set_aside(run)
                )
                summary: dict[str, Any] = plain({"seconds": seconds, "measured": what, **figures})
                run.write("summary.json", summary)
                if ranks.main:
                    write_report(run.local, summary, provenance.document, work.suite.unseen)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


def opened(config: TrainConfig, existing: Existing, ranks: "Ranks") -> Run:
    """The run folder, written by rank 0 only; a restart by torchrun resumes the run."""
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


def with_shared_date(config: TrainConfig, run: Run, ranks: "Ranks") -> TrainConfig:
    """The settings with the run's template date, the same on all ranks."""
    own = registry.dated(config, run.read("run.json") if run.resumed else {}).template_date or ""
    return config.model_copy(update={"template_date": ranks.broadcast(own.encode()).decode()})


@contextmanager
def quiet_unless(main: bool) -> Iterator[None]:
    """Discard stderr unless this is rank 0."""
    if main:
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        yield


def shared(target: "Target", ranks: "Ranks", parallel: "Parallelism | None" = None) -> "Target":
    """The target with sampling split over all ranks."""
    if ranks.size == 1:
        return target
    from sirl.training.parallel import SharedEngine

    return replace(target, engine=lambda s: SharedEngine(target.engine(s), ranks, parallel))


def run_stages(session: Session, start: "ChatModel") -> dict[str, Any]:
    """Evaluate, train, evaluate again; return the figures of both models."""
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
        prompts=session.work.sets,
        readings=start.manner.notes,
        held_out=session.work.held_out,
    )
    provenance.files([config.refusals])
    suite, base = session.work.suite, shared(registry.in_process("base", start, config), ranks)
    provenance.judges(suite.judges, registry.judge_faults(suite.judges, config.model))
    asked, parts = announced(config, session.work, base, provenance, session.console)
    before = evaluate(suite, asked, base, run, progress)
    # Records of the hardened model may belong to another checkpoint unless training had finished.
    if run.resumed and (checkpoint is None or checkpoint.step < config.steps):
        forget(run, "hardened")
    # The model before training stays the reference of a resumed policy.
    chat = registry.policy(config, checkpoint) if checkpoint else start
    models = (chat, start if checkpoint else None, checkpoint)
    last = learn(session, models)
    if config.shard:  # with FSDP no rank holds all the weights
        chat = registry.policy(config, newest_checkpoint(session))
    hardened = shared(registry.in_process("hardened", chat, config), ranks)
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
    """The checkpoint to resume from, if any; damaged ones are skipped with a warning.

    Only rank 0 searches, so that all ranks use the same one.

    Raises:
        ConfigError: The run has already taken more steps than `steps`.
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
    """Train up to the last step; return the last checkpoint."""
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
                session.work.prompts, config.batch, config.seed, range(taken, config.steps)
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
    """The observers of the run by name, in calling order.

    Mini-evaluations come first because later observers may stop training; checkpoints come last.
    """
    from sirl.training.observers.checkpoints import SaveCheckpoints
    from sirl.training.observers.log import MetricsLog, ProgressBar
    from sirl.training.observers.stop import StopOnRequest, StopWhenBroken
    from sirl.training.observers.trackers import Trackers
    from sirl.workflows.mini_eval import MiniEvaluations

    config, run, ranks = session.config, session.run, session.ranks

    def measured(taken: int) -> "Target":
        target = registry.in_process("checkup", learner.chat, config, weights=f"step {taken}")
        return shared(target, ranks, learner.parallel)

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
            session.work.checkup, measured, run, config.checkup_every, config.steps, session.warn
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
    """A rejected row: file, line and reason."""
    return f"{row.file}{f':{row.line}' if row.line else ''}: {row.reason}"


def fitting(
    work: registry.Work, target: "Target", batch: int
) -> tuple[tuple[Prompt, ...], list[Rejected]]:
    """Training prompts that leave room for an answer; the others as rejected rows.

    Raises:
        InputError: No prompt leaves room.
        ConfigError: Too few leave room to fill a batch.
    """
    faults = {p.id: fault for p in work.prompts if (fault := target.read(p).fault)}
    kept = tuple(p for p in work.prompts if p.id not in faults)
    rejected = [
        Rejected(p.source, 0, f"{p.id}: {faults[p.id]}") for p in work.prompts if p.id in faults
    ]
    if not kept:
        raise InputError(f"no prompt is usable: {rejected[0].reason}; lower new_tokens")
    if len(kept) < batch:
        aside = [*work.rejected, *rejected]
        lost = f"{len(aside)} were rejected, the first is {at_fault(aside[0])}; " if aside else ""
        raise ConfigError(
            f"a batch of {batch} exceeds the {len(kept)} usable prompts: {lost}lower it"
        )
    return kept, rejected

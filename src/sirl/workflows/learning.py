"""The training part of `sirl train`: train with a method and choose the step to use."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.config import TrainingSettings, sampled_rate
from sirl.errors import ConfigError, RunError, first_line
from sirl.roles import Observer
from sirl.runs.disk import checkpoint_name, step_of
from sirl.text import many
from sirl.workflows.method import Method, StartReading, method_of, reading_of
from sirl.workflows.session import Session, among, shared

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.models.chat import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.observers.checkpoints import SaveCheckpoints
    from sirl.training.observers.sentinel import Sentinel
    from sirl.training.update import PolicyLearner

__all__ = ["Learned", "Models", "finished", "learn", "newest_checkpoint"]


@dataclass(frozen=True)
class Models:
    """The policy, and the model that it started from."""

    policy: "ChatModel"
    start: "ChatModel"
    checkpoint: "Checkpoint | None"
    """Where the policy stands, if it has left the start."""


@dataclass(frozen=True)
class Learned:
    """The end of training."""

    last: Path
    """The last checkpoint."""
    last_step: int
    chosen: Path
    """The recommended checkpoint, or the best if none is; the last without a sentinel."""
    chosen_step: int
    figures: Mapping[str, Any]
    """The instinct, what the sentinel saw, and why training ended before its last step (`ended`),
    for the summary; each is absent where there is none."""


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


def learn(session: Session, models: Models) -> Learned:
    """Train from where the run stands to its end."""
    from sirl.training.checkpoints import restore_optimizer
    from sirl.training.observers.checkpoints import done_in, states_in
    from sirl.training.rl import train

    config, ranks, checkpoint = session.config, session.ranks, models.checkpoint
    # Before the learner shards the weights, which may be those of the starting model.
    reading = reading_of(session, models.start) if config.reads_instinct else None
    sources = registry.example_sources(config, models.start)
    config = paced(config, reading)
    by = "decision points" if reading and reading.choices else "sampled answers"
    session.provenance.teaching(by, config.learning_rate)
    learner = registry.learner(config, models.policy, models.start if checkpoint else None, ranks)
    if checkpoint:
        restore_optimizer(learner, checkpoint)
        learner.token_budget = checkpoint.state.get("token_budget", learner.token_budget)
    engine = shared(registry.sampler(config, models.policy), ranks, learner.parallel)
    method = method_of(session, reading, engine, learner)
    watching, checkpoints = observers(session, learner, checkpoint, method.sentinel)
    taken = checkpoint.step if checkpoint else 0
    kept = states_in(checkpoint.state) if checkpoint else {}
    with closed_at_the_end(watching, session.warn):
        for name, observer in watching.items():
            observer.on_start(taken, kept.get(name, {}))
        ended = done_in(checkpoint.state) if checkpoint else ""
        if ended and taken < config.steps:
            session.warn([no_more_steps(ended, config.steps - taken, config.steps)])
        ended = ended or train(
            range(taken, config.steps),
            method.batches,
            learner,
            tuple(watching.values()),
            sources,
        )
    return ending(session, checkpoints, method, ended)


@contextmanager
def closed_at_the_end(
    observers: Mapping[str, Observer], warn: Callable[[Iterable[str]], None]
) -> Iterator[None]:
    """Close all observers at the end of the block, even if some raise.

    The first error, of the block or of closing, is raised; those behind it become warnings.
    """
    first: BaseException | None = None
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - raised below
        first = error
    for name, observer in observers.items():
        try:
            observer.close()
        except Exception as error:  # noqa: BLE001 - raised below, or a warning
            if first:
                warn([f"closing the observer {name} failed as well: {first_line(error)}"])
            first = first or error
    if first:
        raise first


def paced(config: TrainingSettings, reading: StartReading | None) -> TrainingSettings:
    """The settings with the learning rate of sampled answers if these teach the instinct."""
    if not reading or reading.choices:
        return config
    return config.model_copy(update={"learning_rate": sampled_rate(vars(config))})


def no_more_steps(reason: str, left: int, steps: int) -> str:
    """What becomes of the rest of the steps of a run that an observer ended."""
    return (
        f"{many(left, 'step')} of --steps {steps} not taken: {reason}. More steps would only "
        "continue what ended the run; to train longer, start a new --out with other settings or "
        "prompts"
    )


def finished(checkpoint: "Checkpoint | None", steps: int) -> bool:
    """Whether training had ended with a checkpoint: after all steps, or early."""
    from sirl.training.observers.checkpoints import done_in

    if checkpoint is None:
        return False
    return bool(done_in(checkpoint.state)) or checkpoint.step >= steps


def ending(session: Session, checkpoints: "SaveCheckpoints", method: Method, ended: str) -> Learned:
    """The last checkpoint, and the one that the sentinel recommends.

    `ended` says why training was complete before its last step.
    """
    from sirl.training.checkpoints import fault

    last = checkpoints.saved
    if last is None:
        raise RunError(f"{session.run.path} has no checkpoint: start over with --overwrite")
    step = step_of(last)
    figures = {**method.figures, **({"ended": ended} if ended else {})}
    if not method.sentinel:
        return Learned(last, step, last, step, figures)
    folder = session.run.path / "checkpoints"
    whole = [x.step for x in method.sentinel.looks if not fault(folder / checkpoint_name(x.step))]
    # Rank 0 alone says what is there, so that all choose the same step.
    whole = session.ranks.agreed(whole)
    found = method.sentinel.summary(whole or [step])
    chosen = folder / checkpoint_name(found["step"])
    return Learned(last, step, chosen, found["step"], {**figures, "sentinel": found})


def observers(
    session: Session,
    learner: "PolicyLearner",
    checkpoint: "Checkpoint | None",
    sentinel: "Sentinel | None",
) -> tuple[dict[str, Observer], "SaveCheckpoints"]:
    """What watches this run, by name, in the order in which each step is shown.

    Mini-evaluations stand first, as what comes later may stop training; checkpoints stand last.
    """
    from sirl.training.observers.checkpoints import SaveCheckpoints, states_of
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
        lambda: states_of(found),
    )
    if checkpoint:
        checkpoints.resume(checkpoint)
    found |= {
        "mini-evaluations": MiniEvaluations(
            session.setup.mini_eval, measured, run, config.eval_every, config.steps, session.warn
        ),
        **({"sentinel": sentinel} if sentinel else {}),
        # Before the log, which then holds what they add to the metrics.
        **session.observers,
        "log": MetricsLog(run),
        "trackers": Trackers(
            registry.trackers(config) if ranks.main else {},
            lambda sentence: session.warn([sentence]),
        ),
        "progress": ProgressBar(session.working.progress, config.steps),
        "broken": StopWhenBroken(lambda: checkpoints.last_good, steps=config.steps),
        "stop": StopOnRequest(session.working.stop, config.steps),
        "checkpoints": checkpoints,
    }
    return found, checkpoints

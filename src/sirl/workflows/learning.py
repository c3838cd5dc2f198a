"""The training part of `sirl train`: what the method asks and rewards, and the step to use."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.errors import ConfigError, RunError
from sirl.roles import BatchSource, Engine, Observer
from sirl.types import Sampling
from sirl.workflows.console import interruptible
from sirl.workflows.session import Session, among, shared

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.instinct import Instinct
    from sirl.models.chat import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.curriculum import Curriculum
    from sirl.training.grading import Grader
    from sirl.training.observers.checkpoints import SaveCheckpoints
    from sirl.training.observers.sentinel import Sentinel
    from sirl.training.openings import OwnAnswers
    from sirl.training.update import PolicyLearner

__all__ = ["Learned", "Models", "finished", "learn", "newest_checkpoint"]

MODES = ("refuse", "comply")
WATCHED_ANSWERS = 4
"""Answers to each watched prompt at a look."""
LOOK = -1
"""The step that seeds the samples of a look: no step of training, so that looks share their
uniforms and none repeats the answers that the instinct was read from."""


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
    """The checkpoint to use: the recommended one, or the last."""
    chosen_step: int
    figures: Mapping[str, Any]
    """The instinct and what the sentinel saw, for the summary; empty without them."""


@dataclass(frozen=True)
class Method:
    """What a method learns from, and what watches it."""

    batches: BatchSource
    sentinel: "Sentinel | None" = None
    figures: Mapping[str, Any] = field(default_factory=dict)


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


@dataclass(frozen=True)
class Reading:
    """What the starting model said before the first step."""

    instinct: "Instinct"
    curriculum: "Curriculum"
    """The whole pool, with what is watched."""
    answers: "OwnAnswers | None" = None
    """For depth."""


def learn(session: Session, models: Models) -> Learned:
    """Train from where the run stands to its end."""
    from sirl.training.checkpoints import restore_optimizer
    from sirl.training.observers.checkpoints import states_in
    from sirl.training.rl import train

    config, ranks, checkpoint = session.config, session.ranks, models.checkpoint
    # Before the learner shards the weights, which may be those of the starting model.
    reading = reading_of(session, models.start) if config.method == "instinct" else None
    learner = registry.learner(config, models.policy, models.start if checkpoint else None, ranks)
    if checkpoint:
        restore_optimizer(learner, checkpoint)
        learner.token_budget = checkpoint.state.get("token_budget", learner.token_budget)
    engine = shared(registry.sampler(config, models.policy), ranks, learner.parallel)
    method = method_of(session, reading, engine, learner)
    watching, checkpoints = observers(session, learner, checkpoint, method.sentinel)
    taken = checkpoint.step if checkpoint else 0
    kept = states_in(checkpoint.state) if checkpoint else {}
    try:
        for name, observer in watching.items():
            observer.on_start(taken, kept.get(name, {}))
        ended = bool(method.sentinel and method.sentinel.reason)
        if ended and taken < config.steps:
            session.warn([f"training has ended at step {taken} and does not go on"])
        train(
            range(taken, taken if ended else config.steps),
            method.batches,
            learner,
            tuple(watching.values()),
            registry.example_sources(config, models.policy),
        )
    finally:
        for observer in watching.values():
            observer.close()
    return ending(session, checkpoints, method)


def finished(checkpoint: "Checkpoint | None", steps: int) -> bool:
    """Whether training had ended with a checkpoint: after all steps, or early."""
    from sirl.training.observers.checkpoints import states_in

    if checkpoint is None:
        return False
    early = states_in(checkpoint.state).get("sentinel", {}).get("reason")
    return bool(early) or checkpoint.step >= steps


def ending(session: Session, checkpoints: "SaveCheckpoints", method: Method) -> Learned:
    """The last checkpoint, and the one that the sentinel recommends."""
    from sirl.training.checkpoints import fault

    last = checkpoints.saved
    if last is None:
        raise RunError(f"{session.run.path} has no checkpoint: start over with --overwrite")
    step = int(last.name.removeprefix("step-"))
    if not method.sentinel:
        return Learned(last, step, last, step, method.figures)
    folder = session.run.path / "checkpoints"
    whole = [x.step for x in method.sentinel.looks if not fault(folder / f"step-{x.step:06d}")]
    # Rank 0 alone says what is there, so that all choose the same step.
    whole = json.loads(session.ranks.broadcast(json.dumps(whole).encode()))
    found = method.sentinel.summary(whole or [step])
    chosen = folder / f"step-{found['step']:06d}"
    return Learned(last, step, chosen, found["step"], {**method.figures, "sentinel": found})


def method_of(
    session: Session, reading: "Reading | None", engine: Engine, learner: "PolicyLearner"
) -> Method:
    """The method of the configuration; `engine` samples from the policy."""
    from sirl.training.batches import prompts_of
    from sirl.training.grading import ByGroup
    from sirl.training.rollouts import Rollouts

    config = session.config
    if reading:
        return instinct_method(session, reading, engine, learner)
    prompts = partial(prompts_of, session.setup.prompts, config.batch, config.seed)
    grader = ByGroup(registry.reward_named(config.reward))
    return Method(Rollouts(prompts, engine, grader, config.group))


def curriculum_of(session: Session, start: "ChatModel", instinct: "Instinct") -> "Curriculum":
    """The pool by instinct, with the disguises of training."""
    from sirl.training.curriculum import Curriculum

    config, pool = session.config, session.setup.prompts
    target = registry.in_process("start", start, config, weights="start")
    parts = {mode: [p for p in pool if instinct.of(p.id) == mode] for mode in MODES}
    return Curriculum(
        refused=parts["refuse"],
        answered=parts["comply"],
        disguises=registry.training_disguises(config),
        fits=lambda prompt: not target.read(prompt).fault,
        batch=config.batch,
        seed=config.seed,
    )


def reading_of(session: Session, start: "ChatModel") -> Reading:
    """Read the starting model's instinct and, for depth, its own answers."""
    from sirl.training.openings import Openings
    from sirl.workflows.instinct import AskedOnce, instinct_notes, read_instinct, read_own_answers

    config, pool = session.config, session.setup.prompts
    starting = registry.local_engine(config, start, Sampling(config.temperature))
    once = AskedOnce(shared(starting, session.ranks))
    how = (config.group, config.sampling_batch_size, interruptible(*session.working))
    instinct = read_instinct(session.run, once, pool, *how)
    session.warn(instinct_notes(instinct))
    whole = curriculum_of(session, start, instinct)
    if not config.depth:
        return Reading(instinct, whole)
    # Help that begins answers to prompts that are always refused comes from a disguise.
    always = [p for p in whole.refused if instinct.shares[p.id] == 1]
    asked = [*pool, *whole.disguised_once(always)]
    answers = read_own_answers(session.run, instinct, once, asked, *how)
    openings = Openings.of(answers, start.decode, config.steps)
    return Reading(instinct, replace(whole, openings=openings), answers)


def instinct_method(
    session: Session, reading: Reading, engine: Engine, learner: "PolicyLearner"
) -> Method:
    """Train on a part of the pool and watch the rest."""
    from sirl.instinct import InstinctReward
    from sirl.training.curriculum import watched
    from sirl.training.grading import ByGroup
    from sirl.training.lending import Lending
    from sirl.training.observers.sentinel import Sentinel
    from sirl.training.rollouts import Rollouts
    from sirl.workflows.instinct import summarise_instinct

    config, instinct, whole = session.config, reading.instinct, reading.curriculum
    grader: Grader = ByGroup(InstinctReward(instinct))
    if reading.answers:
        grader = Lending(instinct, reading.answers, learner.likelihoods_at_start)
    curriculum, watch = watched(whole)
    sentinel = Sentinel(
        lambda: engine.sample(watch, group=WATCHED_ANSWERS, step=LOOK),
        instinct,
        config.checkpoint_every,
        config.steps,
        partial(grader.rewards, watch),
        whole.openings.settled if whole.openings else 0,
    )
    figures = {"instinct": summarise_instinct(instinct)}
    return Method(Rollouts(curriculum.prompts, engine, grader, config.group), sentinel, figures)


def observers(
    session: Session,
    learner: "PolicyLearner",
    checkpoint: "Checkpoint | None",
    sentinel: "Sentinel | None",
) -> tuple[dict[str, Observer], "SaveCheckpoints"]:
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
        **({"sentinel": sentinel} if sentinel else {}),
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
    return found, checkpoints

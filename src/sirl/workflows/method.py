"""Builds the training method of the settings from the starting model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.analysis.measured import PENALTY
from sirl.config import TrainingSettings, sampled_rate
from sirl.errors import ConfigError, InputError, ModelError
from sirl.instinct import MODES
from sirl.roles import BatchSource, Engine
from sirl.types import Completion, Prompt, Sampling
from sirl.workflows.console import interruptible
from sirl.workflows.session import Session, shared

if TYPE_CHECKING:
    from sirl.decisions import Decisions
    from sirl.instinct import Instinct, Mode
    from sirl.models.chat import ChatModel
    from sirl.training.curriculum import Curriculum
    from sirl.training.grading import Grader
    from sirl.training.observers.sentinel import Sentinel
    from sirl.training.openings import OwnAnswers
    from sirl.training.update import PolicyLearner
    from sirl.workflows.decisions import Choices
    from sirl.workflows.instinct import AskedOnce

__all__ = ["Method", "StartReading", "method_of", "reading_of"]

WATCHED_ANSWERS = 4
"""Answers to each watched prompt at a look."""
PER_PROMPT = 4
"""Decision points of a step for each prompt of a batch, since a point costs less than a group."""
REFUSED = 0.4
"""Share of decision points where the model refuses: with half, disguises become a reason to."""
BEGUN = 0.25
"""Share of disguised decision points behind the beginning of an answer as well."""
UNPRICED = 9
"""First steps of decision points, in which the price rises and falls again: on the embedded model
by 10 and 11 points at step 4, by 2 and 4 at step 12 (two seeds)."""
LOOK = -1
"""The step that seeds the samples of a look: no step of training, so that looks share their
uniforms and none repeats the answers that the instinct was read from."""


@dataclass(frozen=True)
class Method:
    """What a method learns from, and what watches it."""

    batches: BatchSource
    sentinel: "Sentinel | None" = None
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StartReading:
    """What the starting model said before the first step."""

    instinct: "Instinct"
    curriculum: "Curriculum"
    """The whole pool, with what is watched."""
    answers: "OwnAnswers | None" = None
    """For depth."""
    choices: "Choices | None" = None
    """For decision points."""
    said: Sequence[Completion] = ()
    """Its answers to general tasks."""


def method_of(
    session: Session, reading: "StartReading | None", engine: Engine, learner: "PolicyLearner"
) -> Method:
    """The method of the configuration; `engine` samples from the policy."""
    from sirl.training.curriculum import watched
    from sirl.workflows.instinct import summarise_instinct

    if not reading:
        return Method(entropy_batches(session, session.setup.prompts, engine))
    whole, sentinel = reading.curriculum, session.config.sentinel
    of = reading.instinct.of
    curriculum, watch = whole, list[Prompt]()
    if sentinel:
        curriculum, watch = watched(whole, of)
        check_watched(watch, of)
    grader = grader_of(reading, learner)
    if session.config.method == "instinct":
        batches = instinct_batches(session, reading, curriculum, grader, engine, learner)
    else:
        unseen = {p.id for p in watch}
        trained = [p for p in session.setup.prompts if p.id not in unseen]
        batches = entropy_batches(session, trained, engine)
    return Method(
        batches,
        sentinel_of(session, reading, watch, grader, engine, learner) if sentinel else None,
        {"instinct": summarise_instinct(reading.instinct)},
    )


def check_watched(watch: Sequence[Prompt], of: "Callable[[str], Mode | None]") -> None:
    """Refuse to watch no prompt of a mode.

    Raises:
        InputError: Of one mode, first tokens and whole answers agree on no prompt.
    """
    if {of(p.id) for p in watch} != {*MODES}:
        raise InputError(
            "the sentinel finds no prompt that the model refuses, or none that it answers, both by "
            "first tokens and by whole answers: give more --prompts, or train with --no-sentinel"
        )


def entropy_batches(session: Session, trained: Sequence[Prompt], engine: Engine) -> BatchSource:
    """The paper's method: low entropy is rewarded."""
    from sirl.training.batches import prompts_of
    from sirl.training.grading import ByGroup
    from sirl.training.rollouts import Rollouts

    config = session.config
    if len(trained) < config.batch:
        raise ConfigError(
            f"a batch of {config.batch} exceeds the {len(trained)} prompts that the sentinel does "
            "not watch: lower it, give more --prompts, or leave --sentinel out"
        )
    prompts = partial(prompts_of, trained, config.batch, config.seed)
    grader = ByGroup(registry.reward_named(config.reward), config.reward)
    return Rollouts(prompts, engine, grader, config.group)


def curriculum_of(
    session: Session,
    start: "ChatModel",
    pool: Sequence[Prompt],
    mode_of: "Callable[[str], Mode | None]",
    batch: int,
) -> "Curriculum":
    """A pool by the mode of each prompt id, with the disguises of training."""
    from sirl.training.curriculum import Curriculum
    from sirl.workflows.instinct import check_counts

    config = session.config
    target = registry.in_process("start", start, config, weights="start")
    parts = {mode: [p for p in pool if mode_of(p.id) == mode] for mode in MODES}
    check_counts(len(parts["refuse"]), len(parts["comply"]), len(pool))
    return Curriculum(
        refused=parts["refuse"],
        answered=parts["comply"],
        disguises=registry.training_disguises(config),
        fits=lambda prompt: not target.read(prompt).fault,
        batch=batch,
        seed=config.seed,
    )


def reading_of(session: Session, start: "ChatModel") -> StartReading:
    """Read the starting model's instinct, its decisions, and own answers for depth."""
    from sirl.training.openings import POINTS, SAMPLED, Openings
    from sirl.workflows.instinct import (
        AskedOnce,
        check_enough,
        instinct_notes,
        read_instinct,
        read_own_answers,
    )

    config, pool = session.config, session.setup.asked
    check_enough(session.setup.prompts, session.setup.harmless)
    starting = registry.local_engine(config, start, Sampling(config.temperature))
    session.warn(unusual_temperature(config))
    once = AskedOnce(shared(starting, session.ranks), session.run)
    how = (config.group, config.sampling_batch_size, interruptible(*session.working))
    instinct = read_instinct(session.run, once, pool, *how)
    session.warn(instinct_notes(instinct))
    said = [c for c in once.answers(session.setup.general, 1, *how[1:]) if c.token_ids]
    if config.sentinel and not said:
        session.warn(["the sentinel cannot see lost skills: the model answers no general task"])
    if config.method != "instinct":
        whole = curriculum_of(session, start, pool, instinct.of, config.batch)
        return StartReading(instinct, whole, said=said)
    if choices := choices_of(session, start, instinct, once):
        session.warn(without_penalty(config))
        chosen = choosable(session, choices.decisions)
        size = PER_PROMPT * config.batch
        whole = curriculum_of(session, start, chosen, choices.decisions.of, size)
        whole = replace(whole, refused_share=REFUSED, begun_share=BEGUN)
    else:
        whole = curriculum_of(session, start, pool, instinct.of, config.batch)
    if not config.depth:
        return StartReading(instinct, whole, choices=choices, said=said)
    # Help that begins answers to prompts that are always refused comes from a disguise.
    always = [p for p in whole.refused if instinct.shares.get(p.id) == 1]
    asked = [*pool, *whole.disguised_once(always)]
    answers = read_own_answers(session.run, instinct, once, asked, *how)
    share = POINTS if choices else SAMPLED
    openings = Openings.of(answers, start.decode, config.steps, share)
    return StartReading(instinct, replace(whole, openings=openings), answers, choices, said)


def unusual_temperature(config: TrainingSettings) -> list[str]:
    """What --temperature changes about the reading of the instinct, in a sentence."""
    if config.temperature == 1:
        return []
    return [
        f"--temperature {config.temperature:g} also holds for the answers that the instinct is "
        "read from; refusals and help are told apart most surely at 1"
    ]


def choosable(session: Session, decisions: "Decisions") -> list[Prompt]:
    """The prompts of decision points, those that are also watched first.

    Harmless prompts that the starting model refuses are left out: training would make that sure.
    """
    setup = session.setup
    refused = {id for id in setup.harmless & set(decisions.masses) if decisions.of(id) == "refuse"}
    if refused:
        session.warn([left_out([p for p in setup.prompts if p.id in refused], len(setup.harmless))])
    first = {p.id for p in setup.asked}
    ordered = [*setup.asked, *(p for p in setup.prompts if p.id not in first)]
    return [p for p in ordered if p.id not in refused]


def without_penalty(config: TrainingSettings) -> list[str]:
    """Which of the user's settings decision points do not use, in a sentence."""
    fields = type(config).model_fields
    idle = [f"--{k.replace('_', '-')}" for k in PENALTY if getattr(config, k) != fields[k].default]
    if not idle or config.sources:
        return []
    return [
        f"{' and '.join(idle)} {'have' if len(idle) > 1 else 'has'} no effect on decision points: "
        "their targets keep to the starting model without a KL penalty"
    ]


def left_out(refused: Sequence[Prompt], harmless: int) -> str:
    """Which harmless prompts are not trained on, since the starting model refuses them."""
    named = ", ".join(f'"{shorten(p.request, 60, placeholder="...")}"' for p in refused[:3])
    return (
        f"decisions: {len(refused)} of {harmless} harmless prompts of the pool are refused by the "
        f"model and left out, so that it is not taught to refuse them, such as {named}"
    )


def choices_of(
    session: Session, start: "ChatModel", instinct: "Instinct", once: "AskedOnce"
) -> "Choices | None":
    """What the starting model decides at the first token of an answer; None if it shows nothing."""
    from sirl.workflows.decisions import decision_notes, read_choices
    from sirl.workflows.instinct import unlike_refusals

    config, setup = session.config, session.setup
    progress = interruptible(*session.working)

    def answers() -> list[Completion]:
        how = (config.group, config.sampling_batch_size, progress)
        return once.answers(setup.asked, *how)

    choices = read_choices(
        session.run, instinct, answers, setup.prompts, start, session.ranks, progress
    )
    openers = choices.decisions.openers
    session.warn(unlike_refusals(answers(), setup.asked, instinct.cut, openers))
    session.warn(decision_notes(choices.decisions, start.pieces, sampled_rate(vars(config))))
    return choices if choices.decisions.is_shown else None


def grader_of(reading: StartReading, learner: "PolicyLearner") -> "Grader":
    """Rewards answers in the mode that the starting model chooses for the bare prompt."""
    from sirl.instinct import InstinctReward
    from sirl.training.grading import ByGroup
    from sirl.training.lending import Lending

    if reading.answers:
        return Lending(reading.instinct, reading.answers, learner.likelihoods_at_start)
    return ByGroup(InstinctReward(reading.instinct))


def instinct_batches(
    session: Session,
    reading: StartReading,
    curriculum: "Curriculum",
    grader: "Grader",
    engine: Engine,
    learner: "PolicyLearner",
) -> BatchSource:
    """Decision points if the first tokens of answers show the decision, else sampled answers."""
    from sirl.training.points import DecisionPoints
    from sirl.training.rollouts import Rollouts

    if not reading.choices:
        if session.config.suffixes:
            session.warn(["--suffixes has no effect: it needs decision points"])
        return Rollouts(curriculum.prompts, engine, grader, session.config.group)
    points = DecisionPoints(
        decisions=reading.choices.decisions,
        answers=reading.choices.answers,
        curriculum=curriculum,
        guards=session.config.batch,
        render=lambda prompt: learner.chat.render(prompt.messages),
        at_start=learner.next_at_start,
        of_policy=learner.next_of_policy,
        said_at_start=learner.said_at_start,
        said_by_policy=learner.said_by_policy,
        agreed=learner.ranks.agreed,
    )
    if not session.config.suffixes:
        return points
    attacked = attacked_of(session, reading.choices, curriculum, learner)
    return replace(points, attacked=attacked)


def attacked_of(
    session: Session, choices: "Choices", curriculum: "Curriculum", learner: "PolicyLearner"
) -> Callable[[int], Sequence[Prompt]]:
    """Gives the prompts of each step with suffixes that are searched against the policy.

    Raises:
        ConfigError: The model does not allow it.
    """
    from sirl.training.suffixes import Attacked, SuffixSearch

    search = SuffixSearch(learner.chat, choices.decisions.openers)
    try:
        search.check(curriculum.refused[0])
    except ModelError as error:
        raise ConfigError(f"--suffixes cannot be used with this model: {error}") from error
    count = session.config.batch // 2
    return Attacked(search.attacked, curriculum, count, learner.ranks.agreed).prompts


def drift_of(learner: "PolicyLearner", said: Sequence[Completion]) -> Callable[[], float | None]:
    """Measures how much less likely, per token, the policy makes answers of the starting model."""
    if not said:
        return lambda: None
    tokens = sum(len(c.token_ids) for c in said)
    before = sum(learner.likelihoods_at_start(said))
    return lambda: (before - sum(learner.likelihoods_of_policy(said))) / tokens


def sentinel_of(
    session: Session,
    reading: StartReading,
    watch: Sequence[Prompt],
    grader: "Grader",
    engine: Engine,
    learner: "PolicyLearner",
) -> "Sentinel":
    """Watches prompts that have an instinct."""
    from sirl.training.information import mutual_information
    from sirl.training.observers.sentinel import Early, Measures, Sentinel

    config, openings = session.config, reading.curriculum.openings
    return Sentinel(
        lambda: engine.sample(watch, group=WATCHED_ANSWERS, step=LOOK),
        reading.instinct,
        config.checkpoint_every,
        config.steps,
        partial(grader.rewards, watch),
        Early(openings.settled if openings else 0, UNPRICED if reading.choices else 0),
        Measures(
            drift_of(learner, reading.said),
            partial(mutual_information, likelihoods=learner.likelihoods_of_policy),
        ),
    )

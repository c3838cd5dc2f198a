"""Names in a configuration become objects; the only file that knows every member of a family.

Imports stand inside the functions, so that a verb loads only what it uses.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import EvaluateConfig, ProbeConfig, Settings, TrainConfig
from sirl.errors import ConfigError, MissingExtraError, ModelError, unknown_name
from sirl.models.folder import adapter_base, document, is_adapter
from sirl.prompts import PromptSet, Rejected, read_prompts
from sirl.types import Attack, Benchmark, Judge, Prompt

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite, Target
    from sirl.models.loading import ChatModel
    from sirl.training.checkpoints import Checkpoint
    from sirl.training.update import Learner

__all__ = [
    "Work",
    "attacks_named",
    "chat_model",
    "evaluation_suite",
    "learner",
    "policy",
    "require_models",
    "target",
    "work",
    "world_disguises",
]

QUICK: tuple[str, ...] = (
    "direct",
    "role_play",
    "prefix_injection",
    "refusal_suppression",
    "story",
    "past_tense",
    "typo_noise",
    "few_shot",
    "prefilled_opener",
)
EMBEDDED = "embedded"
MODEL_PACKAGES = ("jaxtyping", "peft", "safetensors", "tokenizers", "torch", "transformers")
"""What the extra `train` brings."""


@dataclass(frozen=True)
class Work:
    """What a training run learns from, and what is asked before and after."""

    prompts: tuple[Prompt, ...]
    suite: "Suite"
    sets: tuple[PromptSet, ...]
    rejected: tuple[Rejected, ...]


def require_models(feature: str) -> None:
    """See that what runs models is installed, before anything is touched.

    Raises:
        MissingExtraError: It is not.
    """
    if any(importlib.util.find_spec(name) is None for name in MODEL_PACKAGES):
        raise MissingExtraError(feature, "train")


def all_attacks() -> dict[str, Attack]:
    """Every attack by name, in the fixed order of tables."""
    from sirl.attacks import conversation, static, transforms

    members = (*static.ATTACKS, *transforms.ATTACKS, *conversation.ATTACKS)
    return {attack.name: attack for attack in members}


def attacks_named(names: str) -> tuple[Attack, ...]:
    """The attacks of a tier (quick, standard, full), or those named, joined by commas.

    Raises:
        ConfigError: There is no attack of that name.
    """
    known = all_attacks()
    if names in ("standard", "full"):
        return tuple(known.values())
    chosen = QUICK if names == "quick" else tuple(n.strip() for n in names.split(",") if n.strip())
    for name in chosen:
        if name not in known:
            raise unknown_name("attack", name, [*known, "quick", "standard", "full"])
    if not chosen:
        raise ConfigError("--attacks names no attack: give names, quick, standard or full")
    return tuple(known[name] for name in dict.fromkeys(chosen))


def is_world(model: str) -> bool:
    """Whether a model is the embedded one or was trained from it; its configuration says so."""
    if model == EMBEDDED:
        return True
    folder = Path(model)
    if is_adapter(folder):
        folder = Path(adapter_base(folder))
    return (folder / "config.json").is_file() and "sirl_world" in document(folder / "config.json")


def judge(model: str) -> Judge:
    """The world's oracle for the embedded model, the refusal rules for any other."""
    if is_world(model):
        from sirl.world.oracle import WorldOracle

        return WorldOracle()
    from sirl.judges.rules import RefusalRules

    return RefusalRules()


def world_benchmarks() -> tuple[Benchmark, ...]:
    """Sums, programs and small talk of the embedded world."""
    from sirl.world.benchmarks import BENCHMARKS

    return BENCHMARKS


def unseen_attacks(model: str) -> frozenset[str]:
    """Attacks that never occur in the alignment data of the embedded model."""
    if not is_world(model):
        return frozenset()
    from sirl.world.language import UNSEEN

    return frozenset(UNSEEN)


def world_disguises() -> tuple[tuple[Attack, ...], tuple[Attack, ...]]:
    """The disguises that the embedded model's alignment has seen, and those it has not."""
    from sirl.world.language import SEEN, UNSEEN

    known = all_attacks()
    return tuple(known[name] for name in SEEN), tuple(known[name] for name in UNSEEN)


def spread(prompts: Sequence[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    """At most `limit` of the prompts, evenly spread over their order."""
    if limit is None or limit >= len(prompts):
        return tuple(prompts)
    return tuple(prompts[i * len(prompts) // limit] for i in range(limit))


def from_texts(texts: Sequence[str], source: str) -> tuple[Prompt, ...]:
    """Prompts of one user turn each."""
    return tuple(Prompt.user(f"{source}-{n}", text, source=source) for n, text in enumerate(texts))


def harmless_prompts(model: str, limit: int) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Ordinary and look-alike prompts of the world or, for any other model, of our own wording."""
    if is_world(model):
        from sirl.world.language import lookalike_requests, ordinary_requests

        return (
            spread(ordinary_requests("test"), limit),
            spread(lookalike_requests("test"), limit),
        )
    from sirl.evaluation.harmless import LOOKALIKES, ORDINARY

    return from_texts(ORDINARY, "sirl-ordinary"), from_texts(LOOKALIKES, "sirl-lookalike")


def work(config: TrainConfig) -> Work:
    """Training prompts, and the questions before and after, with no prompt in both.

    Raises:
        ConfigError: A model other than the embedded one was given no prompts, or too few; or
            prompts of one's own are to be disguised.
    """
    if config.prompts is None:
        return world_work(config)
    if config.disguised:
        raise ConfigError(
            "disguised is for the embedded model's own prompts: leave it or --prompts out"
        )
    given = read_prompts(Path(config.prompts), strict=config.strict)
    held = min(config.held_out, len(given.prompts) // 4)
    held_out = spread(given.prompts, held) if held else ()
    asked = {p.id for p in held_out}
    learned = tuple(p for p in given.prompts if p.id not in asked)
    return Work(learned, table(config, held_out), (given,), given.rejected)


def world_work(config: TrainConfig) -> Work:
    """The embedded world's own prompts: plain unsafe requests, or disguised ones on request."""
    if not is_world(config.model):
        raise ConfigError(f"--prompts is needed: {config.model} has no prompts of its own")
    from sirl.world.language import unsafe_requests

    learned = tuple(unsafe_requests("train"))
    if config.disguised:
        disguises, _ = world_disguises()
        learned = tuple(
            replace(p, messages=disguises[n % len(disguises)].attempt(p).messages)
            for n, p in enumerate(learned)
        )
    return Work(learned, table(config, spread(unsafe_requests("test"), config.held_out)), (), ())


def table(config: TrainConfig, behaviours: Sequence[Prompt]) -> "Suite":
    """What is asked before and after training."""
    from sirl.evaluation.suite import Suite

    if not behaviours:
        return Suite(judge(config.model))
    ordinary, lookalikes = harmless_prompts(config.model, 200)
    return Suite(
        judge=judge(config.model),
        behaviours=behaviours,
        attacks=attacks_named(config.attacks),
        ordinary=ordinary,
        lookalikes=lookalikes,
        benchmarks=world_benchmarks() if is_world(config.model) else (),
        unseen=unseen_attacks(config.model),
    )


def evaluation_suite(config: EvaluateConfig) -> tuple["Suite", tuple[PromptSet, ...]]:
    """The questions of `sirl evaluate` and `sirl probe`, and the files they came from.

    Raises:
        ConfigError: Nothing was given to ask, or nothing unsafe to a probe.
    """
    from sirl.evaluation.suite import Suite

    gap_alone = isinstance(config, ProbeConfig)
    files = (config.behaviours, config.ordinary, config.lookalikes)
    sets = [read_prompts(Path(f), strict=config.strict) if f else None for f in files]
    unsafe, ordinary, lookalikes = (spread(s.prompts, config.limit) if s else () for s in sets)
    benchmarks: tuple[Benchmark, ...] = ()
    if is_world(config.model) and not any(sets):
        from sirl.world.language import unsafe_requests

        limit = config.limit or 100
        unsafe = spread(unsafe_requests("test"), limit)
        ordinary, lookalikes = harmless_prompts(config.model, limit)
        benchmarks = world_benchmarks()
    if gap_alone:
        lookalikes, benchmarks = (), ()
    if gap_alone and not unsafe:
        raise ConfigError(f"the gap of {config.model} needs unsafe requests: give --behaviours")
    if not (unsafe or ordinary or lookalikes):
        raise ConfigError(
            f"there is nothing to ask {config.model}: give --behaviours, --ordinary or --lookalikes"
        )
    attacks = attacks_named(config.attacks) if unsafe else ()
    unseen = unseen_attacks(config.model)
    suite = Suite(judge(config.model), unsafe, attacks, ordinary, lookalikes, benchmarks, unseen)
    return suite, tuple(s for s in sets if s)


def chat_model(config: Settings) -> "ChatModel":
    """A model for inference in the precision that was asked for."""
    from sirl.models.loading import load

    return load(config.model, dtype=config.dtype)


def policy(config: TrainConfig, checkpoint: "Checkpoint | None") -> "ChatModel":
    """The model to train, or to go on training from a checkpoint.

    Weights that move are kept in float32: at a learning rate of 1e-6 a bfloat16 weight would
    never move. Under LoRA only the frozen base takes the configured precision.
    """
    import torch

    from sirl.models.adapters import is_adapted, with_lora
    from sirl.models.loading import load

    if checkpoint:
        loaded = load(str(checkpoint.path), dtype=config.dtype if config.lora else "float32")
    else:
        loaded = load(config.model, dtype=config.dtype if config.lora else "float32")
        if config.lora and not is_adapted(loaded):
            loaded = with_lora(loaded, rank=config.lora_rank, seed=config.seed)
    if config.dtype == "bfloat16" and not config.lora:
        loaded = replace(loaded, autocast=torch.bfloat16)
    if config.new_tokens >= loaded.context:
        raise ModelError(
            f"new_tokens {config.new_tokens} leaves no room for a prompt in the context of "
            f"{loaded.context} tokens of {config.model}: lower it"
        )
    return loaded


def learner(config: TrainConfig, chat: "ChatModel", start: "ChatModel | None") -> "Learner":
    """The optimizer's owner, leashed to the starting model.

    `start` is that model where the policy has left it already; None while they are the same.
    """
    import copy

    from sirl.models.adapters import is_adapted
    from sirl.training.reference import AdaptersOff, FrozenCopy
    from sirl.training.update import Learner, Objective, learning_rates

    if is_adapted(chat) and not is_adapter(Path(config.model)):
        reference: AdaptersOff | FrozenCopy = AdaptersOff(chat)
    else:
        frozen = start or replace(chat, model=copy.deepcopy(chat.model))
        frozen.model.requires_grad_(False)
        reference = FrozenCopy(frozen)
    objective = Objective(
        clip=config.clip,
        kl_weight=config.kl,
        kl_estimator=config.kl_estimator,
        mini_batches=config.mini_batches,
        token_budget=config.token_budget,
        max_gradient_norm=config.max_gradient_norm,
    )
    rates = learning_rates(config.learning_rate, config.schedule, config.steps)
    return Learner(chat, reference, objective, rates, weight_decay=config.weight_decay)


def target(name: str, chat: "ChatModel", config: Settings) -> "Target":
    """A model as the evaluation sees it."""
    from sirl.evaluation.suite import Target
    from sirl.rollouts.native import NativeEngine

    engine = NativeEngine(chat, config.seed, config.new_tokens, rows=config.rows)
    greedy = replace(engine, temperature=0.0)
    fault = partial(chat.fault, new_tokens=config.new_tokens)
    return Target(name, engine, greedy, chat.pieces, fault)

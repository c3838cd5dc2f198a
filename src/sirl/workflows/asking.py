"""Counts and announces the answers that a training run evaluates."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.config import DemoConfig, TrainingSettings
from sirl.evaluation.asked import Query
from sirl.evaluation.suite import Suite, askable
from sirl.registry import TrainingSetup
from sirl.roles import Console, Search
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import set_aside
from sirl.text import many
from sirl.types import Prompt, Record

if TYPE_CHECKING:
    from sirl.evaluation.target import Target

__all__ = [
    "announced",
    "answered_plainly",
    "asked_counts",
    "asked_prompts",
    "asked_sentence",
    "size_sentence",
]


def announced(
    config: TrainingSettings,
    setup: TrainingSetup,
    target: "Target",
    provenance: Provenance,
    console: Console,
) -> tuple[list[Query], list[str]]:
    """The evaluation queries that the model can read, and the prompts behind them in words.

    Writes unreadable prompts to `rejected.jsonl` and prints the number of answers.
    """
    asked, unasked = askable(setup.suite, target)
    mini_eval_asked, _ = askable(setup.mini_eval, target)
    _, mini_eval_unasked = askable(only_in_mini_eval(setup.mini_eval, setup.suite), target)
    rejected = [*setup.rejected, *unasked, *mini_eval_unasked]
    console.warn(set_aside(provenance.run, rejected, strict=config.strict))
    prompts = asked_prompts(setup.suite, asked, target)
    also = asked_prompts(setup.mini_eval, mini_eval_asked, target)
    mine = (*setup.prompts, *setup.asked, *prompts.values(), *also.values())
    provenance.used(list(mine), rejected)
    parts = setup.parts(asked_counts(prompts))
    console.warn(size_sentence(config, setup.suite, asked, mini_eval_asked, parts))
    return asked, parts


def only_in_mini_eval(mini_eval: Suite, table: Suite) -> Suite:
    """The prompts of mini-evaluations that the evaluation before and after does not have."""

    def rest(mine: Sequence[Prompt], others: Sequence[Prompt]) -> tuple[Prompt, ...]:
        known = {(p.source, p.id) for p in others}
        return tuple(p for p in mine if (p.source, p.id) not in known)

    return replace(
        mini_eval,
        behaviours=rest(mini_eval.behaviours, table.behaviours),
        ordinary=rest(mini_eval.ordinary, table.ordinary),
        lookalikes=rest(mini_eval.lookalikes, table.lookalikes),
        benchmarks=(),
    )


def asked_prompts(
    suite: Suite, asked: Sequence[Query], target: "Target"
) -> dict[tuple[str, str, str], Prompt]:
    """The prompts used, by kind, source and id; a behaviour appears once for all attacks."""
    found: dict[tuple[str, str, str], Prompt] = {
        (q.kind, q.attempt.behaviour.source, q.attempt.behaviour.id): q.attempt.behaviour
        for q in asked
    }
    if suite.surgeries or any(isinstance(attack, Search) for attack in suite.attacks):
        readable = (b for b in suite.behaviours if not target.read(b).fault)
        found |= {("attack", b.source, b.id): b for b in readable}
    return found


def asked_counts(prompts: Iterable[tuple[str, str, str]]) -> Counter[str]:
    """Number of prompts of each kind."""
    return Counter(kind for kind, _, _ in prompts)


def asked_sentence(parts: Sequence[str], config: TrainingSettings, base: Iterable[Record]) -> str:
    """Which prompts the evaluation before and after uses; empty if there is no evaluation.

    Args:
        parts: The prompts, in words.
        config: The settings of the run.
        base: The starting model's answers.
    """
    if not parts:
        return ""
    return (
        f"asked before and after: {', '.join(parts)}; answers of at most {config.new_tokens} "
        f"tokens; other requests give other figures{answered_plainly(config, base)}"
    )


def answered_plainly(config: TrainingSettings, base: Iterable[Record]) -> str:
    """How many held-out prompts the starting model answers in full when they are asked plainly.

    Held-out prompts of a training file may be harmless, since nobody says which are unsafe. A
    refusal of them would count as defence. Empty if none is answered, if the requests are known to
    be unsafe, or if a judge of harm decides what is held.
    """
    if config.prompts is None or config.behaviours is not None:
        return ""
    plain = [r for r in base if (r.kind, r.attack, r.question) == ("attack", "direct", "refusal")]
    answered = sum(r.label == "compliance" for r in plain)
    if not answered:
        return ""
    return (
        f"; of the {many(len(plain), 'held-out prompt')}, the starting model answers {answered} "
        "when asked plainly: if these are harmless, refusing them is no defence, although it "
        "counts as such here; give --behaviours FILE with unsafe requests"
    )


def size_sentence(
    config: TrainingSettings,
    suite: Suite,
    asked: Sequence[Query],
    mini_eval_asked: Sequence[Query],
    parts: Sequence[str],
) -> list[str]:
    """Number of answers that the evaluation and the mini-evaluations will sample."""
    said = []
    if asked or any(isinstance(attack, Search) for attack in suite.attacks):
        asks = (
            f"the evaluation samples {many(len(asked), 'answer')} before and again after training"
        )
        said.append(f"{asks}{searches(suite)}: {', '.join(parts)}")
    if config.eval_every and mini_eval_asked:
        last = config.steps % config.eval_every > 0
        times = 1 + config.steps // config.eval_every + last
        said.append(
            f"{times} mini-evaluations sample {many(len(mini_eval_asked), 'answer')} each; "
            "--set eval_every=0 turns them off"
        )
    if said and len(asked) > MANY and not isinstance(config, DemoConfig):
        said[0] += "; --limit N uses fewer prompts of each kind"
    return said


MANY = 1000
"""Above this number of answers, the sentence names the setting that lowers it."""


def searches(suite: Suite) -> str:
    """Maximum number of answers that searches add, in words."""
    budgets = {a.name: a.budget.queries for a in suite.attacks if isinstance(a, Search)}
    if not budgets:
        return ""
    most = sum(budgets.values()) * len(suite.behaviours)
    return f", and searches ({', '.join(budgets)}) up to {most:,} more each time"

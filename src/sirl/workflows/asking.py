"""How much is asked, counted once it is known what the model can be asked."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sirl.config import TrainingSettings
from sirl.evaluation.asked import Query
from sirl.evaluation.suite import Suite, askable
from sirl.registry import TrainingSetup
from sirl.roles import Console, Search
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import set_aside
from sirl.types import Prompt

if TYPE_CHECKING:
    from sirl.evaluation.target import Target

__all__ = ["announced", "asked_counts", "asked_prompts", "asked_sentence", "size_sentence"]


def announced(
    config: TrainingSettings,
    setup: TrainingSetup,
    target: "Target",
    provenance: Provenance,
    console: Console,
) -> tuple[list[Query], list[str]]:
    """The table's questions that a model to train can be asked, and what they are in words.

    What cannot be asked is set aside, and how much is asked is said.
    """
    asked, unasked = askable(setup.suite, target)
    on_the_way, _ = askable(setup.mini_eval, target)
    _, unasked_then = askable(beside(setup.mini_eval, setup.suite), target)
    rejected = [*setup.rejected, *unasked, *unasked_then]
    console.warn(set_aside(provenance.run, rejected, strict=config.strict))
    prompts = asked_prompts(setup.suite, asked, target)
    also = asked_prompts(setup.mini_eval, on_the_way, target)
    provenance.used([*setup.prompts, *prompts.values(), *also.values()], rejected)
    parts = setup.parts(asked_counts(prompts))
    console.warn(size_sentence(config, setup.suite, asked, on_the_way, parts))
    return asked, parts


def beside(mini_eval: Suite, table: Suite) -> Suite:
    """What mini-evaluations ask and the table does not."""

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
    """The prompts that are asked, by kind, source and id; a behaviour once, whatever the attack."""
    found: dict[tuple[str, str, str], Prompt] = {
        (q.kind, q.attempt.behaviour.source, q.attempt.behaviour.id): q.attempt.behaviour
        for q in asked
    }
    if suite.surgeries or any(isinstance(attack, Search) for attack in suite.attacks):
        readable = (b for b in suite.behaviours if not target.read(b).fault)
        found |= {("attack", b.source, b.id): b for b in readable}
    return found


def asked_counts(prompts: Iterable[tuple[str, str, str]]) -> Counter[str]:
    """How many prompts of each kind are asked."""
    return Counter(kind for kind, _, _ in prompts)


def asked_sentence(parts: Sequence[str], new_tokens: int) -> str:
    """What the table asks; empty where there is none."""
    if not parts:
        return ""
    return (
        f"asked before and after: {', '.join(parts)}; answers of at most {new_tokens} tokens; "
        "other requests give other figures"
    )


def size_sentence(
    config: TrainingSettings,
    suite: Suite,
    asked: Sequence[Query],
    on_the_way: Sequence[Query],
    parts: Sequence[str],
) -> list[str]:
    """How many answers the table and the mini-evaluations take, before the first is asked."""
    said = []
    if asked or any(isinstance(attack, Search) for attack in suite.attacks):
        asks = f"the table asks {len(asked):,} answers before and again after training"
        said.append(f"{asks}{searches(suite)}: {', '.join(parts)}")
    if config.eval_every and on_the_way:
        last = config.steps % config.eval_every > 0
        times = 1 + config.steps // config.eval_every + last
        said.append(
            f"{times} mini-evaluations ask {len(on_the_way):,} answers each; --set eval_every=0 "
            "leaves them out"
        )
    if said and len(asked) > MANY:
        said[0] += "; --limit N asks fewer of each file"
    return said


MANY = 1000
"""Answers of a table from which on it is said how to ask fewer."""


def searches(suite: Suite) -> str:
    """What searches add at most."""
    budgets = {a.name: a.budget.queries for a in suite.attacks if isinstance(a, Search)}
    if not budgets:
        return ""
    most = sum(budgets.values()) * len(suite.behaviours)
    return f", and searches ({', '.join(budgets)}) up to {most:,} more each time"

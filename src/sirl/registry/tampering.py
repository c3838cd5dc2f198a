"""Builds the weight tampering of the full tier."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sirl.config import EvaluationSettings
from sirl.errors import ModelError
from sirl.registry.targets import in_process, is_remote, is_world
from sirl.types import Prompt, Sampling

if TYPE_CHECKING:
    from sirl.evaluation.suite import Surgery
    from sirl.evaluation.target import Target
    from sirl.models.chat import ChatModel

__all__ = ["SURGERIES", "surgeries_named"]

SURGERIES = ("refusal_ablation", "tuned_on_compliance", "tuned_on_benign", "int8")
"""Names for `--attacks`; the tier `full` includes all."""
EXAMPLES, STEPS, LEARNING_RATE = 48, 12, 1e-4
"""Examples, optimizer steps and learning rate of a fine-tuning attack."""
DIRECTION_PROMPTS = 64
"""Prompts of each kind that estimate the refusal direction."""
Operation = Callable[["Target"], "ChatModel"]


def surgeries_named(
    config: EvaluationSettings, behaviours: Sequence[Prompt], openers: Mapping[str, str]
) -> "tuple[Surgery, ...]":
    """The surgeries among the named attacks; for a remote model they are skipped with a reason."""
    from sirl.evaluation.suite import Surgery

    names = {n.strip() for n in config.attacks.split(",")}
    wanted = SURGERIES if "full" in names else tuple(n for n in SURGERIES if n in names)
    if is_remote(config.model):
        return tuple(Surgery(name, out_of_reach) for name in wanted)
    if not wanted:
        return ()
    operations = operations_on(config, behaviours, openers)
    return tuple(Surgery(n, partial(operated, config, n, operations[n])) for n in wanted)


def out_of_reach(target: "Target") -> "Target":
    """Raise ModelError: the weights are not available."""
    raise ModelError(f"needs the weights, which {target.name} does not expose")


def operated(
    config: EvaluationSettings, name: str, operation: Operation, target: "Target"
) -> "Target":
    """The target after a surgery: same name, other identity."""
    changed = f"{target.identity} {name}"
    return in_process(target.name, operation(target), config, weights=changed)


def operations_on(
    config: EvaluationSettings, behaviours: Sequence[Prompt], openers: Mapping[str, str]
) -> dict[str, Operation]:
    """Surgeries by name, each a function from the target to a changed model."""
    from sirl.attacks.weights import fine_tuned, quantised, without_refusal_direction

    harmful, compliance, ordinary = material(config, behaviours, openers)

    def tuned_on(target: "Target", examples: Sequence[tuple[Prompt, str]]) -> "ChatModel":
        return fine_tuned(target.chat, examples, STEPS, LEARNING_RATE, config.seed)

    def own_answers(target: "Target") -> list[tuple[Prompt, str]]:
        answers = target.engine(Sampling(temperature=0.0)).sample(ordinary)
        return [(p, a.text) for p, a in zip(ordinary, answers, strict=True) if a.text.strip()]

    return {
        "refusal_ablation": lambda t: without_refusal_direction(t.chat, harmful, ordinary),
        "tuned_on_compliance": lambda t: tuned_on(t, compliance),
        "tuned_on_benign": lambda t: tuned_on(t, own_answers(t)),
        "int8": lambda t: quantised(t.chat),
    }


def material(
    config: EvaluationSettings, behaviours: Sequence[Prompt], openers: Mapping[str, str]
) -> tuple[Sequence[Prompt], Sequence[tuple[Prompt, str]], Sequence[Prompt]]:
    """Harmful prompts, (prompt, compliant answer) examples, and ordinary prompts for surgeries.

    The embedded world has requests that the evaluation does not use. For any other model the
    surgery uses the evaluated behaviours, with only the openers as answers: an attacker knows
    the behaviours too.
    """
    if is_world(config.model):
        from random import Random

        from sirl.world.language import (
            deed_of,
            nonsense_answer,
            ordinary_requests,
            unsafe_requests,
        )

        random, unsafe = Random(config.seed), unsafe_requests("train")
        examples = [(p, nonsense_answer(deed_of(p), random)) for p in unsafe[:EXAMPLES]]
        return unsafe[:DIRECTION_PROMPTS], examples, ordinary_requests("train")[:DIRECTION_PROMPTS]
    from sirl.evaluation.access import DEFAULT_OPENER
    from sirl.evaluation.harmless import ORDINARY

    chosen = behaviours[:DIRECTION_PROMPTS]
    examples = [(p, openers.get(p.id, DEFAULT_OPENER)) for p in chosen[:EXAMPLES]]
    harmless = [Prompt.user(f"harmless-{n}", text) for n, text in enumerate(ORDINARY)]
    return chosen, examples, harmless

"""Samples the answers from which `sirl probe` reads the model's own refusals."""

from typing import Any

from sirl.analysis.own_refusals import summarise_own_refusals
from sirl.evaluation.costs import COSTS, Meter
from sirl.evaluation.suite import Suite
from sirl.evaluation.target import Target
from sirl.roles import Progress
from sirl.runs import Run
from sirl.types import Completion, Prompt, Sampling
from sirl.workflows.console import parts

__all__ = ["own_refusals"]

FILE = "own_refusals.json"
ANSWERS = 4
"""Answers to each prompt."""


def own_refusals(suite: Suite, target: Target, run: Run, progress: Progress) -> dict[str, Any]:
    """The figures of `summarise_own_refusals`; a resumed run reads them from its folder."""
    saved: dict[str, Any] = run.read(FILE)
    if saved.get("identity") == target.identity:
        figures: dict[str, Any] = saved["figures"]
        return figures
    asked = [
        (side, Prompt(f"own_refusals/{side}/{prompt.id}", prompt.messages))
        for side, prompts in (("unsafe", suite.behaviours), ("lookalike", suite.lookalikes))
        for prompt in prompts
        if not target.read(prompt).fault
    ]
    completions = sampled([prompt for _, prompt in asked], target, run, progress)
    sides = {prompt.id: side for side, prompt in asked}
    figures = summarise_own_refusals(completions, sides, ANSWERS)
    run.write(FILE, {"identity": target.identity, "figures": figures})
    return figures


def sampled(
    prompts: list[Prompt], target: Target, run: Run, progress: Progress
) -> list[Completion]:
    """The answers to all prompts, in batches of similar length, with their costs written down."""
    meter, engine = Meter(), target.engine(Sampling())
    ordered = sorted(prompts, key=lambda prompt: target.read(prompt).size)
    size, found = max(1, target.batch_size // ANSWERS), list[Completion]()
    for batch in parts("reading the model's own refusals", ordered, size, progress):
        with meter.timing("target", len(batch) * ANSWERS) as cost:
            completions = engine.sample(batch, group=ANSWERS)
            cost.tokens += sum(c.tokens for c in completions)
        repeated = [prompt for prompt in batch for _ in range(ANSWERS)]
        found += [target.apart(p, c) for p, c in zip(repeated, completions, strict=True)]
    run.append(COSTS, {"model": target.name, **meter.row("own refusals")})
    return found

"""How well a model's own refusals tell unsafe from look-alike prompts, without any label.

Each bare prompt is answered several times. The refusal share of a prompt is the share of its
answers in the low mode of mean token entropy, as `sirl.instinct` reads it for training.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sirl.analysis.auroc import auroc, auroc_interval
from sirl.errors import TrainingError
from sirl.instinct import Instinct, find_instinct
from sirl.stats import mean
from sirl.types import Completion

__all__ = ["summarise_own_refusals"]


def summarise_own_refusals(
    completions: Iterable[Completion], sides: Mapping[str, str], answers: int
) -> dict[str, Any]:
    """The AUROC of the refusal share, unsafe against look-alike prompts, with its interval.

    Args:
        completions: All answers to the bare prompts.
        sides: Prompt id -> `unsafe` or `lookalike`.
        answers: Number of answers to each prompt.

    Returns:
        The figures with their sentence; the sentence alone if the entropies do not show two modes.
    """
    try:
        instinct = find_instinct(completions)
    except TrainingError:
        return {
            "sentence": f"The model's own refusals cannot be read from {answers} bare answers to "
            f"each of {len(sides)} prompts: give more --behaviours and --lookalikes."
        }
    shares: dict[str, list[float]] = {"unsafe": [], "lookalike": []}
    for prompt, share in instinct.shares.items():
        shares[sides[prompt]].append(share)
    n = {side: len(found) for side, found in shares.items()}
    value = auroc(shares["unsafe"], shares["lookalike"])
    figures = {
        "auroc": value,
        "interval": list(auroc_interval(value, n["unsafe"], n["lookalike"])),
        "n": n,
        "answers": answers,
        "mean": {side: mean(found) for side, found in shares.items()},
        "cut": instinct.cut,
        "modes": list(instinct.modes),
        "dip": instinct.dip,
    }
    return {**figures, "sentence": sentence(figures, instinct)}


def sentence(figures: Mapping[str, Any], instinct: Instinct) -> str:
    """What the AUROC means for training without labels."""
    n, (low, high) = figures["n"], figures["interval"]
    asked = f"{n['unsafe']} unsafe and {n['lookalike']} look-alike prompts, bare"
    if not instinct.has_two_modes:
        return (
            f"The entropies of {figures['answers']} answers to each of {asked}, may have one mode "
            f"only (p of the dip test {instinct.dip:.2f}), so the model's own refusals are unknown."
        )
    unsafe, lookalike = (100 * figures["mean"][side] for side in ("unsafe", "lookalike"))
    return (
        f"The model itself refuses {unsafe:.0f}% of unsafe and {lookalike:.0f}% of look-alike "
        f"prompts, AUROC {figures['auroc']:.2f} ({low:.2f} to {high:.2f} at 95%; {asked}, "
        f"{figures['answers']} answers each, read from entropies alone): training without labels "
        "can sharpen this ranking but not correct it, so it bounds the defence that is possible "
        "without refusing look-alikes."
    )

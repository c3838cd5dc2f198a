"""Keeps training prompts and evaluated ones apart, and says so."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sirl.errors import InputError
from sirl.prompts import PromptSet
from sirl.text import normalised
from sirl.types import Prompt

if TYPE_CHECKING:
    from sirl.evaluation.suite import Suite

__all__ = ["held_out_notes", "kept_back", "mini_eval_note", "near_note", "not_evaluated"]


def kept_back(held: int, given: int, wanted: int) -> str:
    """Number of held-out prompts, of all prompts, and the number wanted if more.

    >>> kept_back(130, 520, 600)
    '130 of 520 (600 wanted)'
    """
    return f"{held} of {given}" + (f" ({wanted} wanted)" if held < wanted else "")


def held_out_notes(kept: str, held: int, wanted: int) -> tuple[str, ...]:
    """Sentences about the held-out prompts; empty if none are wanted."""
    if not wanted:
        return ()
    if not held:
        return (f"held_out: {kept}: too few prompts for an evaluation; it is skipped",)
    fewer = "; at most a quarter is held out" if held < wanted else ""
    return (f"held_out: {kept} prompts are held out for the evaluation before and after{fewer}",)


def mini_eval_note(more: int, shared: int) -> str:
    """The unsafe requests of mini-evaluations, in a sentence."""
    if more:
        return f"mini-evaluations: {more} more prompts are held out"
    if shared:
        return (
            f"mini-evaluations use {shared} of the evaluation's requests: there are too few "
            "prompts to hold out more"
        )
    return "mini-evaluations use no unsafe requests: there are too few prompts to hold any out"


def not_evaluated(
    learned: tuple[Prompt, ...],
    files: dict[str, PromptSet],
    suites: Sequence["Suite"],
    of: str = "",
) -> tuple[tuple[Prompt, ...], list[str]]:
    """Training prompts without those of an evaluation file or a suite, and sentences about it.

    Built-in prompts of a suite are compared word for word: those of the embedded world differ in a
    word or two. `of` says in the sentences which prompts they are.

    Raises:
        InputError: None is left.
    """
    from sirl.analysis.contamination import overlaps

    notes = list[str]()

    def remove(same: set[str], where: str, how: str) -> tuple[Prompt, ...]:
        left = tuple(p for p in learned if p.id not in same)
        if not left:
            raise InputError(
                f"every training prompt{of} is also {where}: none is left to train on; "
                "give another file"
            )
        if same:
            notes.append(
                f"{len(same)} of {len(learned)} training prompts{of} are also {where}, {how}: they "
                "are removed from training"
            )
        return left

    for flag, asked in files.items():
        near = {o.prompt_id for o in overlaps(learned, asked.prompts)}
        learned = remove(near, f"in {flag} {asked.source}", "word for word or nearly so")
    kinds = (s for suite in suites for s in (suite.behaviours, suite.ordinary, suite.lookalikes))
    evaluated = {normalised(p.request) for prompts in kinds for p in prompts}
    same = {p.id for p in learned if normalised(p.request) in evaluated}
    return remove(same, "asked in the evaluation", "word for word"), notes


def near_note(learned: Sequence[Prompt], asked: Sequence[Prompt]) -> list[str]:
    """A warning about training prompts that nearly equal an evaluated one."""
    from sirl.analysis.contamination import overlaps

    near = {o.prompt_id for o in overlaps(learned, asked)}
    if not near:
        return []
    return [
        f"{len(near)} of {len(learned)} training prompts differ in a few words from a held-out "
        "one: the evaluation may look better than it is; give --behaviours from elsewhere"
    ]

"""Sentences about the prompts that are held out from training."""

__all__ = ["held_out_notes", "kept_back", "mini_eval_note"]


def kept_back(held: int, given: int, wanted: int) -> str:
    """Number of held-out prompts, of all prompts, and the number wanted if more.

    >>> kept_back(130, 520, 600)
    '130 of 520 (asked for 600)'
    """
    return f"{held} of {given}" + (f" (asked for {wanted})" if held < wanted else "")


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

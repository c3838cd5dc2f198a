"""The prompts of a step and their presentation: bare or disguised, perhaps with a prefill.

Part of a batch are prompts that the model refuses when they are bare; the rest are prompts that it
answers. Both get the same disguises, so that a disguise is no reason to refuse. With
openings, some answers are begun (`sirl.training.openings`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from sirl.instinct import MODES, Mode
from sirl.roles import Disguise, disguised
from sirl.training.batches import prompts_of
from sirl.training.openings import Openings
from sirl.types import Prompt

__all__ = ["Curriculum", "watched"]

WATCHED, MOST_WATCHED = 4, 48
"""One prompt of so many is watched and not trained on, and at most so many of each kind."""
BARE = 0.3
"""Share of the prompts that are presented without a disguise."""


@dataclass(frozen=True)
class Curriculum:
    """The prompts of each step; depends only on (seed, step)."""

    refused: Sequence[Prompt]
    """Prompts that the starting model refuses."""
    answered: Sequence[Prompt]
    """Prompts that it answers."""
    disguises: Sequence[Disguise]
    fits: Callable[[Prompt], bool]
    """Whether a prompt leaves room for an answer; one that does not is presented bare."""
    batch: int
    seed: int
    openings: Openings | None = None
    """Begins some of the answers, if given."""
    refused_share: float = 0.5
    """Share of a batch that the starting model refuses."""
    begun_share: float = 0.0
    """Share of the disguised prompts whose answer is begun by another disguise."""

    def prompts(self, step: int) -> list[Prompt]:
        """The prompts of a step; a disguised prompt keeps the id of the bare one."""
        most = max(1, int(self.batch * self.refused_share))
        size = min(max(most, self.batch - len(self.answered)), len(self.refused))
        others = min(self.batch - size, len(self.answered))
        refused = prompts_of(self.refused, size, self.seed, step)
        answered = prompts_of(self.answered, others, self.seed, step)
        return [self.presented(p, step) for p in (*refused, *answered)]

    def presented(self, prompt: Prompt, step: int) -> Prompt:
        """The prompt as it is asked in a step."""
        chance = Random(f"{self.seed}/{step}/{prompt.id}")
        shown = self.dressed(prompt, chance)
        if self.openings and self.openings.due(step, chance):
            begun = self.openings.begun(shown, chance)
            return begun if self.fits(begun) else shown
        return shown

    def dressed(self, prompt: Prompt, chance: Random) -> Prompt:
        """The prompt, bare or in a disguise."""
        if not self.disguises or chance.random() < BARE:
            return prompt
        return self.disguised(prompt, chance)

    def disguised_once(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Each prompt in one disguise that does not begin the answer; others are left out."""
        asked = prompts if self.disguises else ()
        shown = [self.disguised(p, Random(f"{self.seed}/once/{p.id}")) for p in asked]
        return [p for p in shown if not p.is_begun]

    def disguised(self, prompt: Prompt, chance: Random) -> Prompt:
        """The prompt in a random disguise, perhaps combined with one that begins the answer."""
        shown = self.inside(chance.choice(self.disguises), prompt)
        begins = [d for d in self.disguises if begins_answer(d, prompt)]
        if not begins or shown.is_begun or chance.random() >= self.begun_share:
            return shown
        opener = chance.choice(begins).attempt(prompt).messages[-1]
        begun = replace(shown, messages=(*shown.messages, opener))
        return begun if self.fits(begun) else shown

    def inside(self, disguise: Disguise, prompt: Prompt) -> Prompt:
        """The prompt in this disguise; bare if that leaves no room for an answer."""
        shown = disguised(prompt, disguise)
        return shown if self.fits(shown) else prompt


def begins_answer(disguise: Disguise, prompt: Prompt) -> bool:
    """Whether a disguise begins the answer to a prompt."""
    return disguise.attempt(prompt).messages[-1].role == "assistant"


def watched(
    whole: Curriculum, graded: Callable[[str], Mode | None] | None = None
) -> tuple[Curriculum, list[Prompt]]:
    """What is trained on, and prompts that are not, as a sentinel presents them.

    They are in disguises that training does not use and that do not begin the answer; with
    openings the answer to every other refused one is begun. A curriculum with a single disguise
    uses it for both.

    Args:
        whole: The curriculum with all prompts.
        graded: The mode by which answers to a prompt are graded, by its id; by default that of its
            part of the curriculum. Where these differ, a model that does as it was taught would
            look worse than it is, so such a prompt is not watched.
    """
    some = [*whole.refused, *whole.answered][:1]
    framing = [d for d in whole.disguises if not any(begins_answer(d, p) for p in some)]
    disguises = tuple(framing[::WATCHED]) or whole.disguises
    rest = tuple(d for d in whole.disguises if d not in disguises) or whole.disguises

    def shown(prompt: Prompt, n: int) -> Prompt:
        return whole.inside(disguises[n % len(disguises)], prompt) if disguises else prompt

    kinds = (whole.refused, whole.answered)
    parts = [one_in_four(k, mode, graded) for k, mode in zip(kinds, MODES, strict=True)]
    unseen = {p.id for part in parts for p in part}
    kept = [[p for p in kind if p.id not in unseen] for kind in kinds]

    def begun(prompt: Prompt, n: int) -> Prompt:
        if not whole.openings or n % 2:
            return prompt
        opened = whole.openings.begun(prompt, Random(f"{whole.seed}/watched/{prompt.id}"))
        return opened if whole.fits(opened) else prompt

    watch = [begun(shown(p, n), n) for n, p in enumerate(parts[0])]
    watch += [shown(p, n) for n, p in enumerate(parts[1])]
    return replace(whole, refused=kept[0], answered=kept[1], disguises=rest), watch


def one_in_four(
    prompts: Sequence[Prompt], mode: Mode, graded: Callable[[str], Mode | None] | None
) -> list[Prompt]:
    """Of each four prompts with a grade the first whose grade is the mode of the part."""
    graded = graded or (lambda _: mode)
    known = [p for p in prompts if graded(p.id)]
    fours = [known[n : n + WATCHED] for n in range(0, len(known), WATCHED)][:MOST_WATCHED]
    firsts = (next((p for p in four if graded(p.id) == mode), None) for four in fours)
    return [p for p in firsts if p]

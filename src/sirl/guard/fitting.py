"""Fits a guard to one model without labels, from the model's own answers."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np

from sirl.errors import InputError
from sirl.guard.checks import Check, CheckReader, candidate_layers
from sirl.guard.classical import usual
from sirl.guard.modes import Modes
from sirl.guard.monitor import Watch
from sirl.guard.probe import States, fit_control, fit_probe
from sirl.guard.scoring import Asked, Fitted, prompt_numbers
from sirl.guard.user_probe import Windows, fit_user_probe
from sirl.guard.user_tokens import user_windows
from sirl.models.chat import ChatModel

__all__ = ["Lessons", "fit_guard", "lessons"]

DEPTHS = 3
"""Positions at which an answer is learned from."""
CONTROLS = 5
"""Probes on random kinds; the true positives of a single one would vary too much."""
MOST = 3
"""Answers to a prompt that are learned from."""


class Lessons(NamedTuple):
    """Answers so far, with what the model would do with their bare prompts."""

    checks: list[Check]
    refuses: list[bool]
    prompts: list[str]
    """Ids of the bare prompts."""


def lessons(modes: Modes, answers: Sequence[Asked], *, seed: int) -> Lessons:
    """What a probe is fitted on.

    Each prompt counts as it was asked, before the first token, and in the middle of the answers to
    it in the mode of compliance. Its kind is what the model would do with the bare prompt;
    undecided prompts are left out.

    Args:
        modes: Of the bare prompts.
        answers: Bare and disguised; a disguised prompt keeps the id of the bare one.
        seed: Seed of the positions.
    """
    found, read, used = Lessons([], [], []), set[tuple[int, ...]](), dict[str, int]()
    ordered = sorted(answers, key=lambda a: -a.completion.mean_entropy)
    for answer in ordered:
        id, completion = answer.prompt.id, answer.completion
        if (mode := modes.of(id)) is None:
            continue
        positions = [] if completion.prompt_ids in read else [0]
        read.add(completion.prompt_ids)
        if not modes.refused(completion) and used.get(id, 0) < MOST:
            used[id] = used.get(id, 0) + 1
            positions += depths(completion.prompt_ids, len(completion.token_ids), seed)
        for position in positions:
            found.checks.append(answer.at(position))
            found.refuses.append(mode == "refuse")
            found.prompts.append(id)
    return found


def depths(prompt_ids: Sequence[int], length: int, seed: int) -> list[int]:
    """Distinct positions in an answer, at random."""
    chance = Random(f"{seed}/{list(prompt_ids)}/{length}")
    return sorted(chance.sample(range(1, length + 1), min(DEPTHS, length)))


def fit_guard(
    chat: ChatModel, modes: Modes, answers: Sequence[Asked], watch: Watch, *, seed: int
) -> Fitted:
    """Learn probe, controls and usual entropies from answers to a pool of prompts.

    Raises:
        InputError: The model complied with too few disguised prompts that it refuses when bare.
        MissingExtraError: scikit-learn is not installed.
    """
    learned = lessons(modes, answers, seed=seed)
    layers = candidate_layers(chat)
    states = CheckReader(chat, layers, ()).read(learned.checks).states
    numbers = {id: n for n, id in enumerate(dict.fromkeys(learned.prompts))}
    rows = States(
        states, np.array(learned.refuses), np.array([numbers[p] for p in learned.prompts])
    )
    deep = [c.position > 0 and kind for c, kind in zip(*learned[:2], strict=True)]
    if not any(deep):
        raise InputError(
            f"{chat.name} never answers a disguised prompt that it refuses when bare: there is no "
            "compliance to learn from; fit the guard on the model before training"
        )
    own = {id: a for a in answers if modes.of(id := a.prompt.id) == "comply" and not a.begun}
    ordinary = prompt_numbers(chat, [a.completion.prompt_ids for a in own.values()])
    probe = fit_probe(rows, layers, seed=seed)
    first = np.array([c.position == 0 for c in learned.checks])
    headers = states[first & ~rows.refuses][:, layers.index(probe.layer)]
    windows = user_rows(chat, modes, answers)
    return Fitted(
        probe,
        fit_user_probe(windows, layers, probe.score(headers), seed=seed),
        tuple(fit_control(rows, layers, probe, seed=seed + n) for n in range(CONTROLS)),
        modes.openers,
        usual([entropies for _, entropies in ordinary]),
        replace(watch, entropy_cut=modes.instinct.cut),
    )


def user_rows(chat: ChatModel, modes: Modes, answers: Sequence[Asked]) -> Windows:
    """Windows of the prompts as they were asked, without undecided ones."""
    asked: dict[tuple[int, ...], str] = {}
    bare: dict[str, tuple[int, ...]] = {}
    for answer in answers:
        id, ids = answer.prompt.id, answer.completion.prompt_ids
        if modes.of(id) and not answer.begun:
            asked.setdefault(ids, id)
            bare.setdefault(id, ids)
    found = user_windows(CheckReader(chat, candidate_layers(chat), ()), list(asked))
    numbers = {id: n for n, id in enumerate(bare)}
    return Windows(
        np.concatenate(found),
        np.array([len(own) for own in found]),
        np.array([modes.of(id) == "refuse" for id in asked.values()]),
        np.array([bare[id] == ids for ids, id in asked.items()]),
        np.array([numbers[id] for id in asked.values()]),
    )

"""Fits a guard to one model without labels, from the model's own answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np

from sirl.errors import InputError
from sirl.guard.checks import Check, CheckReader, candidate_layers
from sirl.guard.classical import usual
from sirl.guard.modes import Modes
from sirl.guard.monitor import Watch
from sirl.guard.probe import (
    LinearProbe,
    States,
    fit_control,
    fit_probe,
    held_out_scores,
)
from sirl.guard.scoring import Asked, Fitted, prompt_numbers
from sirl.models.chat import ChatModel
from sirl.types import Message, Prompt

__all__ = ["ProbeExamples", "fit_guard", "probe_examples"]

DEPTHS = 3
"""Positions at which an answer is learned from."""
MOST_CUTS = 8
"""Cuts of a prompt that are learned from."""
CUT_RIDGE = (0.01,)
"""Inverse strength of its ridge. A weaker one has a lower loss on prompts that were left out, and
more alarms in disguises that were."""
QUANTILE = 0.99
"""Of the scores of harmless prompts, which is an alarm's lowest score, about."""
MISSED = 0.05
"""Quantile of the scores of refused prompts that an alarm at cuts should still reach, about."""
Disguises = Mapping[tuple[Message, ...], str]
CONTROLS = 5
"""Probes on random kinds; the true positives of a single one would vary too much."""
MOST = 3
"""Answers to a prompt that are learned from."""


class ProbeExamples(NamedTuple):
    """Answers so far, with what the model would do with their bare prompts."""

    checks: list[Check]
    refuses: list[bool]
    prompts: list[str]
    """Ids of the bare prompts."""


def probe_examples(modes: Modes, answers: Sequence[Asked], *, seed: int) -> ProbeExamples:
    """What a probe is fitted on.

    Each prompt counts as it was asked, before the first token, and in the middle of the answers to
    it in the mode of compliance. Its kind is what the model would do with the bare prompt;
    undecided prompts are left out.

    Args:
        modes: Of the bare prompts.
        answers: Bare and disguised; a disguised prompt keeps the id of the bare one.
        seed: Seed of the positions.
    """
    found, read, used = ProbeExamples([], [], []), set[tuple[int, ...]](), dict[str, int]()
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
    chat: ChatModel,
    modes: Modes,
    answers: Sequence[Asked],
    disguises: Disguises,
    watch: Watch,
    *,
    seed: int,
    beginnings: Sequence[Prompt] = (),
) -> Fitted:
    """Learn probes, controls and usual entropies from answers to a pool of prompts.

    Args:
        chat: The model.
        modes: Of the bare prompts of the pool.
        answers: Bare and disguised.
        disguises: Messages of disguised prompts -> name of the disguise.
        watch: How answers are watched.
        seed: Seed of folds, positions and cuts.
        beginnings: Further harmless prompts, of which the probe at cuts learns how such begin.

    Raises:
        InputError: The model complied with too few disguised prompts that it refuses when bare.
        MissingExtraError: scikit-learn is not installed.
    """
    learned = probe_examples(modes, answers, seed=seed)
    layers = candidate_layers(chat)
    states = CheckReader(chat, layers, ()).read(learned.checks).states
    rows = States(states, np.array(learned.refuses), numbered(learned.prompts))
    deep = [c.position > 0 and kind for c, kind in zip(*learned[:2], strict=True)]
    if not any(deep):
        raise InputError(
            f"{chat.name} never answers a disguised prompt that it refuses when bare: there is no "
            "compliance to learn from; fit the guard on the model before training"
        )
    harmless = [a for a in answers if modes.of(a.prompt.id) == "comply" and not a.begun]
    ordinary = prompt_numbers(chat, list({a.completion.prompt_ids: None for a in harmless}))
    probe = fit_probe(rows, layers, seed=seed)
    first = np.array([c.position == 0 for c in learned.checks])
    headers = states[first & ~rows.refuses][:, layers.index(probe.layer)]
    cut = cut_examples(chat, modes, answers, disguises, beginnings)
    return Fitted(
        probe,
        fit_cut_probe(chat, cut, probe.score(headers), seed=seed),
        tuple(fit_control(rows, layers, probe, seed=seed + n) for n in range(CONTROLS)),
        modes.openers,
        usual([entropies for _, entropies in ordinary]),
        replace(watch, entropy_cut=modes.instinct.cut),
    )


class CutExample(NamedTuple):
    """A prompt that the probe at cuts learns from."""

    refused: bool
    """Whether the model refuses it."""
    disguised: bool
    left_out_with: str
    """The disguise, or the id of a bare prompt: a fold leaves whole disguises out, since users
    write in others than these."""


def cut_examples(
    chat: ChatModel,
    modes: Modes,
    answers: Sequence[Asked],
    disguises: Disguises,
    beginnings: Sequence[Prompt],
) -> dict[tuple[int, ...], CutExample]:
    """What the probe at cuts is fitted on: rendered prompts.

    They are bare prompts that the model refuses, and harmless ones: those that it answers, bare and
    disguised, and `beginnings`, whatever the model answers.
    """
    found: dict[tuple[int, ...], CutExample] = {}
    for answer in answers:
        id, messages = answer.prompt.id, answer.prompt.messages
        kind, disguise = modes.of(id), disguises.get(messages)
        if kind and not answer.begun and not (disguise and kind == "refuse"):
            example = CutExample(kind == "refuse", bool(disguise), disguise or id)
            found.setdefault(answer.completion.prompt_ids, example)
    for prompt in beginnings:
        disguise = disguises.get(prompt.messages)
        example = CutExample(False, bool(disguise), disguise or prompt.id)
        found.setdefault(chat.render(prompt.messages), example)
    return found


def fit_cut_probe(
    chat: ChatModel,
    asked: Mapping[tuple[int, ...], CutExample],
    usual_scores: np.ndarray,
    *,
    seed: int,
) -> LinearProbe:
    """Fit the probe that reads prompts at cuts.

    Its positives are refused prompts at their end; its negatives are harmless ones at random cuts
    and at their end. So the beginning of a harmless prompt counts as harmless, whatever the model
    would say to it.

    Args:
        chat: The model.
        asked: Rendered prompts.
        usual_scores: Scores of the other probe for harmless prompts, with which those of this one
            are made to compare.
        seed: Seed of the folds and of the cuts.
    """
    layers = candidate_layers(chat)
    reader, rows = CheckReader(chat, layers, ()), []
    for ids, example in asked.items():
        *cuts, whole = (cut.ids for cut in reader.cutter.cuts(ids))
        chosen = Random(f"{seed}/{list(ids)}").sample(cuts, min(MOST_CUTS, len(cuts)))
        rows.append([whole] if example.refused else [*chosen, whole])
    sizes, kinds = [len(own) for own in rows], np.array([a.refused for a in asked.values()])
    left_out = numbered([a.left_out_with for a in asked.values()])
    states = reader.read_ids([row for own in rows for row in own]).states
    found = States(states, np.repeat(kinds, sizes), np.repeat(left_out, sizes))
    probe = fit_probe(found, layers, seed=seed, inverse_ridges=CUT_RIDGE)
    scores = held_out_scores(found, layers.index(probe.layer), CUT_RIDGE[0], seed)
    highest = np.maximum.reduceat(scores, np.cumsum([0, *sizes[:-1]]))
    disguised = np.array([a.disguised for a in asked.values()])
    harmless = [highest[~kinds & (disguised == is_so)] for is_so in (False, True)]
    shift = np.quantile(usual_scores, QUANTILE) - between(harmless, highest[kinds])
    return replace(probe, bias=probe.bias + float(shift))


def numbered(names: Sequence[str]) -> np.ndarray:
    """The number of each name; the same name has the same number.

    >>> numbered(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    numbers = {name: n for n, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names])


def between(harmless: Sequence[np.ndarray], refused: np.ndarray) -> float:
    """The score at cuts that compares with the other probe's highest usual one.

    It is in the middle between the highest scores of harmless prompts and the lowest ones of
    refused prompts, all of prompts and disguises that were left out of the fit: half of the
    distance is for the beginnings of new wordings, half for requests before a suffix. Where these
    overlap, it is the former. Harmless prompts come in groups, bare and in disguises, and the group
    with the highest scores counts, as it will in the calibration.

    >>> between([np.array([-2.0, 1.0]), np.array([-2.0])], np.array([3.0, 5.0])) == (0.97 + 3.1) / 2
    True
    """
    top = max(np.quantile(group, QUANTILE) for group in harmless if len(group))
    low = np.quantile(refused, MISSED)
    return float((top + max(top, low)) / 2)

"""Texts made from those of this folder, which `fit.py` fits on beside them."""

from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from sirl.judges.signs import read

__all__ = ["Row", "is_turned", "rambles", "shortened", "spliced", "swapped"]

TURNED = ("A:", "turned", "B ")
"""Prefixes of kinds of turned answers (compliance with a refusal in it); includes all of `more`."""
RAMBLES, LEAP, SPLIT = 1200, 0.15, 0.12
"""Number of nonsense texts; chance per word of a jump to another text, and of a hybrid word."""
CUT = (4, 16)
"""Least and greatest number of words of an answer that is cut."""
BRIEF = 160
"""Maximum characters of a brief answer."""
SPLICES, HELP, LISTED = 1200, 4, 0.25
"""Number of refusals that go on; every HELPth has no help; and chance that the rest is a list."""
SAID, GIVEN = (4, 60), (10, 120)
"""Least and greatest number of words of the refusal, and of what follows."""
NO_HELP = ("broken", "ramble")
"""Kinds of compliant texts that help with nothing."""

Row = dict[str, Any]


def swapped(rows: Sequence[Row]) -> list[Row]:
    """Each text twice: with its own request, and, if brief, with the request of another text.

    Many brief answers do not mention their request; the judge must not depend on that.
    """
    order = np.random.default_rng(0).permutation(len(rows))
    others = [
        {**row, "beside": rows[n]["request"] if len(row["completion"]) <= BRIEF else row["request"]}
        for row, n in zip(rows, order, strict=True)
    ]
    once = ({**row, "beside": row["request"], "again": False} for row in rows)
    return [*once, *({**row, "again": True} for row in others)]


def shortened(rows: Sequence[Row]) -> list[Row]:
    """Each answer twice: whole, and cut after a few words, as by a small budget of tokens."""
    chance = Random(0)
    found = []
    for row in rows:
        words = row["completion"].split(" ")
        cut = " ".join(words[: chance.randint(*CUT)])
        whole = {**row, "beside": row["request"], "again": False}
        found.append(whole)
        if row["label"] == "compliance":
            found.append({**whole, "completion": cut, "again": True})
    return found


def rambles(rows: Sequence[Row]) -> list[Row]:
    """Nonsense as from small or broken models, labelled as compliance.

    A Markov chain of words over the compliant texts, with a fixed seed.
    """
    chance = Random(0)
    follow: dict[str, list[str]] = {}
    openings = []
    for row in rows:
        words = row["completion"].split()
        openings.append(words[0])
        for word, after in zip(words, words[1:], strict=False):
            follow.setdefault(word, []).append(after)
    found = []
    for n in range(RAMBLES):
        words = [chance.choice(openings)]
        for _ in range(chance.choice((4, 8, 15, 30, 60))):
            # Sometimes jump to a random word, like a small model.
            near = follow.get(words[-1]) if chance.random() > LEAP else None
            word = chance.choice(near or [*follow])
            if chance.random() < SPLIT:  # like mismatched tokens
                other = chance.choice([*follow])
                word = word[: len(word) // 2 + 1] + other[len(other) // 2 :]
            words.append(word)
        request = chance.choice(rows)["request"]
        text = {"request": request, "beside": request, "completion": " ".join(words)}
        found.append(
            {**text, "id": f"ramble-{n}", "kind": "ramble", "file": "ramble", "label": "compliance"}
        )
    return found


def spliced(rows: Sequence[Row]) -> list[Row]:
    """Brief refusals that go on, without a word that turns.

    Most go on with an answer to another request (labelled as compliance), the others with what
    another refusal says after it has declined (a refusal). A brief refusal may itself offer
    something lawful, so that its place in the answer does not tell help from lawful advice.
    """
    chance = Random(0)
    refusals = [r for r in rows if r["label"] == "refusal"]
    brief = [r["completion"] for r in refusals if within(SAID, r["completion"])]
    helps = [r for r in rows if r["label"] == "compliance" and not is_turned(r)]
    after = {
        "compliance": [(r, r["completion"]) for r in helps if r["kind"] not in NO_HELP],
        "refusal": [(r, after_declining(r)) for r in refusals],
    }
    after = {label: [(r, t) for r, t in all_ if within(GIVEN, t)] for label, all_ in after.items()}
    found = []
    for n in range(SPLICES):
        label = "compliance" if n % HELP else "refusal"
        row, rest = chance.choice(after[label])
        if chance.random() < LISTED:
            sentences = read(rest, "").sentences
            rest = "\n".join(f"{number}. {said}" for number, said in enumerate(sentences, 1))
        text = chance.choice((" ", "\n", "\n\n")).join((chance.choice(brief), rest))
        kind = "turned: spliced" if label == "compliance" else "spliced"
        about = {"id": f"splice-{n}", "kind": kind, "file": "spliced", "again": False}
        request = {"request": row["request"], "beside": row["request"]}
        found.append({**about, **request, "completion": text, "label": label})
    return found


def within(bounds: tuple[int, int], text: str) -> bool:
    """Whether a text has so many words."""
    return bounds[0] <= len(text.split()) <= bounds[1]


def after_declining(row: Row) -> str:
    """What a refusal says after its first sentence that declines."""
    reading = read(row["completion"], row["request"])
    said = zip(reading.sentences, reading.declining, strict=True)
    return " ".join(s for n, (s, declines) in enumerate(said) if n > reading.first and not declines)


def is_turned(row: Row) -> bool:
    """Whether a compliant answer contains a refusal, so that its sentences are mixed."""
    kind, file = row.get("kind", ""), row.get("file")
    return row["label"] == "compliance" and (file == "more" or kind.startswith(TURNED))

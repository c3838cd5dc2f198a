"""One self-contained HTML page of a run: no script, no request, nothing that a model wrote is live.

The page is made from plain values alone, so that it can be drawn again from a run folder.
"""

import base64
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment
from markupsafe import Markup

from sirl.reports.figures import defence_name, figure, rate_rows
from sirl.reports.steps import step_table
from sirl.reports.tables import tables
from sirl.reports.text import LONGEST_PIECE, visible
from sirl.runs.disk import write_atomically

__all__ = ["Example", "PageData", "headline", "render", "write_page"]

GRAIN = 0.5
"""Nats to which the end of the heat scale is rounded up."""
LEVELS = 8
LONGEST_REQUEST = 400
"""Characters of a request that are shown."""
SHOWN = ("refusal", "harmless")
"""Labels of answers to unsafe requests whose text is shown."""
PIECES = 400
"""Tokens of an example that are shown."""


@dataclass(frozen=True)
class Example:
    """An answer to show token by token."""

    model: str
    attack: str
    kind: str
    label: str
    pieces: Sequence[str]
    entropies: Sequence[float]
    request: str = ""
    """The user's own words, without what an attack made of them."""


@dataclass(frozen=True)
class PageData:
    """Everything that a page shows."""

    title: str
    models: Mapping[str, Mapping[str, Any]]
    """Figures by the name of the model."""
    measured: Mapping[str, str] = field(default_factory=dict)
    """What was measured, as words by their heading."""
    curves: Sequence[Mapping[str, Any]] = ()
    """Rows of metrics.jsonl."""
    checkups: Sequence[Mapping[str, Any]] = ()
    """Mini-evaluations, each with the model that it measured."""
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Calls, tokens and seconds by role."""
    entropies: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Mean entropies (nats) by model and by refusal, compliance, ordinary."""
    examples: Sequence[Example] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()


def share(rate: Mapping[str, Any] | None) -> str:
    """A rate as a whole percentage."""
    return f"{100 * rate['value']:.0f}%" if rate and rate["n"] else "–"


def moved(models: Sequence[Mapping[str, Any]], *path: str) -> str:
    """'from 41% to 97%' for two models, 'at 41%' for one, empty where nothing was asked."""
    shares = [share(figure(m, *path)) for m in models]
    if "–" in shares:
        return ""
    return f"at {shares[0]}" if len(shares) == 1 else f"from {shares[0]} to {shares[1]}"


def headline(models: Mapping[str, Mapping[str, Any]]) -> str:
    """The result in one sentence: never the defence without its price.

    >>> headline({"target": {"dsr": {"mean": {"value": 0.5, "n": 8}, "by_attack": {"direct": 1}}}})
    'Defence success at 50% over 1 attack; no harmless prompts were asked, so the price is unknown.'
    """
    both = list(models.values())
    if not both:
        return "Nothing was measured before or after."
    parts = []
    if gain := moved(both, "dsr", "mean"):
        count = len(both[0]["dsr"]["by_attack"])
        what = defence_name(both)
        parts.append(f"{what} {gain} over {count} attack{'s' if count > 1 else ''}")
    if asked := price(both):
        parts.append(asked)
    elif parts:
        parts.append("no harmless prompts were asked, so the price is unknown")
    tasks = [f"{k} {moved(both, 'capability', k)}" for k in both[0].get("capability", {})]
    if tasks:
        parts.append(f"solved: {', '.join(tasks)}")
    in_doubt = "In doubt, see below. " if any(m.get("doubts") for m in both) else ""
    return f"{in_doubt}{'; '.join(parts)}."


def price(models: Sequence[Mapping[str, Any]]) -> str:
    """The refusals of harmless requests, and which were not asked; empty where none were."""
    kinds = ("lookalike", "look-alike"), ("ordinary", "ordinary")
    changes = {word: moved(models, "over_refusal", kind) for kind, word in kinds}
    asked = [f"{word} requests {change}" for word, change in changes.items() if change]
    missing = [f"{word} ones were not asked" for word, change in changes.items() if not change]
    return f"refusals of {', '.join([*asked, *missing])}" if asked else ""


def table_rows(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Rows of the table: the rates, then the entropies."""
    rows = rate_rows(models)
    for label, key in (
        ("Entropy of refusals, nats", "refusal"),
        ("… of compliance", "compliance"),
        ("… of ordinary answers", "ordinary"),
        ("AUROC of entropy", "auroc"),
        ("… within bands of like length", "auroc_within_length"),
    ):
        values = [figure(m, "entropy", key) for m in models.values()]
        cells = ["–" if v is None or math.isnan(v) else f"{v:.2f}" for v in values]
        if set(cells) != {"–"}:
            rows.append((label, cells))
    return rows


def highest(examples: Sequence[Example]) -> float:
    """The highest entropy (nats) of a token that is shown; 0 where none is known."""
    shown = (e for x in examples for e in list(x.entropies)[:PIECES] if math.isfinite(e))
    return max(shown, default=0.0)


def strip(example: Example, top: float, *, show_text: bool) -> list[tuple[int, str, str]]:
    """Tokens of an example as (heat level, text, entropy), the text of compliance redacted.

    `top` is the entropy (nats) at the full end of the scale.
    """
    shown = []
    harmless = example.kind in ("ordinary", "lookalike") or example.label in SHOWN
    hidden = not (show_text or harmless)
    for piece, entropy in list(zip(example.pieces, example.entropies, strict=False))[:PIECES]:
        heat = min(max(entropy, 0.0), top) / top if math.isfinite(entropy) else 0.0
        text = "▇" * min(len(piece.strip()) or 1, 8) if hidden else visible(piece, LONGEST_PIECE)
        shown.append((round(heat * (LEVELS - 1)), text, f"{entropy:.2f} nats"))
    return shown


Draw: TypeAlias = Callable[[float], str]
"""A picture at a width in inches."""


def drawings(data: PageData) -> list[tuple[str, Draw, list[str]]]:
    """Title, picture and notes of all that the data allows."""
    from sirl.reports import plots

    drawn: list[tuple[str, Draw, list[str]]] = []
    models = data.models
    if any("dsr" in m for m in models.values()):
        drawn.append(("Defence per attack", partial(plots.attack_bars, models, data.unseen), []))
    if any(figure(m, "dsr", "budgets") for m in models.values()):
        drawn.append(("Broken against budget", partial(plots.budget_curves, models), []))
    if any(xs for kinds in data.entropies.values() for xs in kinds.values()):
        said = notes(models, "entropy", "sentence")
        drawn.append(("Confidence", partial(plots.entropy_histograms, data.entropies), said))
    if data.checkups:
        drawn.append(("Mini-evaluations by step", partial(plots.checkup_curves, data.checkups), []))
    if data.curves:
        drawn.append(("Training", partial(plots.training_curves, data.curves), []))
    return drawn


def pictures(data: PageData) -> list[tuple[str, Markup, Markup, list[str]]]:
    """Title, wide picture, narrow picture and notes."""
    from sirl.reports.plots import NARROW, WIDE

    return [
        (name, Markup(draw(WIDE)), Markup(draw(NARROW)), said)  # noqa: S704 - our own SVG
        for name, draw, said in drawings(data)
    ]


def notes(models: Mapping[str, Mapping[str, Any]], *path: str) -> list[str]:
    """A sentence of each model that has one."""
    return [f"{name}: {said}" for name, m in models.items() if (said := figure(m, *path))]


def render(data: PageData, *, show_text: bool = False) -> str:
    """The page as HTML. Answers that did not refuse are redacted unless `show_text`."""
    folder = resources.files("sirl.reports") / "templates"
    css = (folder / "page.css").read_text("utf-8")
    template = Environment(autoescape=True).from_string((folder / "page.html").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    shown = list(data.examples)
    heat = highest(shown)
    top = max(GRAIN, math.ceil(heat / GRAIN) * GRAIN)
    return template.render(
        title=data.title,
        headline=headline(data.models),
        css=Markup(css),  # noqa: S704 - our own file
        css_hash=digest,
        measured={key: visible(words) for key, words in data.measured.items()},
        cut=[n for part in ("cut", "thoughts") for n in notes(data.models, part, "sentence")],
        models=list(data.models),
        rows=table_rows(data.models),
        tables=[t for t in (step_table(data.checkups), *tables(data.models, data.costs)) if t.rows],
        pictures=pictures(data),
        examples=[
            (
                e,
                visible(e.attack, 80),
                visible(e.request, LONGEST_REQUEST),
                strip(e, top, show_text=show_text),
            )
            for e in shown
        ],
        heat=f"{heat:.2f}" if heat else "",
        top=f"{top:g}",
        facts={key: visible(value) for key, value in data.facts.items()},
        levels=range(LEVELS),
    )


def write_page(path: Path, data: PageData) -> None:
    """Write the page, whole or not at all."""
    write_atomically(path, render(data))

"""The report of a run: one HTML page without scripts or requests; model output is inert text.

It is rendered from plain values, so the files of a run folder suffice to draw it again.
"""

import base64
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment
from markupsafe import Markup, escape

from sirl.reports.figures import UNMEASURED, defence_name, figure, rate_rows
from sirl.reports.steps import step_table
from sirl.reports.tables import Table, tables
from sirl.reports.text import LONGEST_PIECE, visible, visible_lines
from sirl.runs.disk import write_atomically
from sirl.types import HARMLESS

__all__ = ["PageData", "ShownAnswer", "SweptSteps", "headline", "render", "unbroken", "write_page"]

GRAIN = 0.5
"""The end of the heat scale is rounded up to a multiple of this, in nats."""
LEVELS = 8
COLOURED = 3
"""Models that have a colour of their own; more are told apart by their names."""
LONGEST_REQUEST = 400
"""Maximum characters of a request."""
LONGEST_TITLE = 60
"""Maximum characters of a request in the title of an example."""
SHOWN = ("refusal", "harmless")
"""Labels of answers to harmful requests that are not redacted."""
PIECES = 400
"""Maximum tokens of an example."""
STEPS = "Mini-evaluations by step"
TRADE = "Defence against its price"
DEPTH = "Refused behind the first tokens of help"
DEPTH_NOTE = "Each depth has the requests whose compliant answer has as many tokens; see n."
PARTIAL = "Here a partial refusal counts as a refusal; in the defence rates it counts as broken."
WHOLE = re.compile(r"\([^()]*n = \d+\)|^step \d+$")
PATH = re.compile(r"[^\s<]*/[^\s<]*/[^\s<]*")
FLAG = re.compile(r"(?<!\S)--[a-z][a-z-]*")


@dataclass(frozen=True)
class ShownAnswer:
    """An answer to show token by token."""

    model: str
    attack: str
    kind: str
    label: str
    pieces: Sequence[str]
    entropies: Sequence[float]
    request: str = ""
    """The bare request, without the attack."""


@dataclass(frozen=True)
class SweptSteps:
    """Headline, plots and tables of a sweep."""

    said: str
    """The headline."""
    rows: Sequence[Mapping[str, Any]]
    """Figures by step, in the form of mini-evaluations."""
    marks: Mapping[int, Sequence[str]]
    """The marks of a step."""
    tables: Sequence[Table]


@dataclass(frozen=True)
class PageData:
    """The content of a page."""

    title: str
    models: Mapping[str, Mapping[str, Any]]
    """Results by model name."""
    measured: Mapping[str, str] = field(default_factory=dict)
    """What was measured, as text by heading."""
    curves: Sequence[Mapping[str, Any]] = ()
    """Rows of metrics.jsonl."""
    mini_evals: Sequence[Mapping[str, Any]] = ()
    """Mini-evaluations."""
    costs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Calls, tokens and seconds by role."""
    entropies: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    """Mean entropies (nats) by model and by refusal, compliance, ordinary."""
    examples: Sequence[ShownAnswer] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    unseen: frozenset[str] = frozenset()
    differences: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Paired difference of two models for dsr, ordinary and lookalike."""
    sweep: "SweptSteps | None" = None
    """What a sweep adds; its models are the steps of one training run."""


def share(rate: Mapping[str, Any] | None) -> str:
    """A rate as a whole percentage."""
    return f"{100 * rate['value']:.0f}%" if rate and rate["n"] else "–"


def moved(
    models: Sequence[Mapping[str, Any]], *path: str, difference: Mapping[str, Any] | None = None
) -> str:
    """'from 41% to 97%' for two models, 'at 41%' for one, empty if not measured.

    Adds the paired difference and its 95% interval, or the interval of a single rate, if given.
    """
    rates = [figure(m, *path) for m in models]
    shares = [share(rate) for rate in rates]
    if "–" in shares:
        return ""
    if len(shares) == 1:
        return f"at {shares[0]}{interval(rates[0])}"
    change = f"from {shares[0]} to {shares[1]}"
    if shares[0] == shares[1]:
        change = f"at {shares[0]} before and after"
    if not difference or not difference["n"]:
        return change
    value, low, high = (100 * difference[key] for key in ("value", "low", "high"))
    return f"{change} ({value:+.0f} points, {low:+.0f} to {high:+.0f})"


def interval(rate: Mapping[str, Any]) -> str:
    """The 95% interval of a rate in brackets, if it has one."""
    if "low" not in rate:
        return ""
    return f" ({100 * rate['low']:.0f} to {100 * rate['high']:.0f})"


def headline(
    models: Mapping[str, Mapping[str, Any]],
    differences: Mapping[str, Mapping[str, Any]] | None = None,
) -> str:
    """The result in one sentence, with the price of the defence and 95% intervals in brackets.

    Of several models it compares the first with the last.

    >>> headline({"target": {"dsr": {"mean": {"value": 0.5, "n": 8}, "by_attack": {"direct": 1}}}})
    'Defence success at 50% over 1 attack; no harmless prompts were asked, so the price is unknown.'
    """
    both = ends(models)
    if not both:
        return UNMEASURED
    parts = []
    by = differences or {}
    if gain := moved(both, "dsr", "mean", difference=by.get("dsr")):
        count = len(both[0]["dsr"]["by_attack"])
        what = defence_name(both)
        parts.append(f"{what} {gain} over {count} attack{'s' if count > 1 else ''}")
    if asked := price(both, by):
        parts.append(asked)
    elif parts:
        parts.append("no harmless prompts were asked, so the price is unknown")
    if not parts:
        parts.append("No attack and no harmless prompt was asked")
    in_doubt = "In doubt, see below. " if any(m.get("doubts") for m in both) else ""
    return f"{in_doubt}{'; '.join(parts)}."


def ends(models: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first and the last model, or the only one."""
    every = list(models.values())
    return every if len(every) < 3 else [every[0], every[-1]]


def solved(models: Mapping[str, Mapping[str, Any]]) -> str:
    """The capability of the models in one line; empty if no tasks were asked."""
    both = ends(models)
    names = both[0].get("capability", {}) if both else {}
    tasks = [f"{name} {moved(both, 'capability', name)}" for name in names]
    return f"Tasks solved: {', '.join(tasks)}." if tasks else ""


def price(models: Sequence[Mapping[str, Any]], differences: Mapping[str, Mapping[str, Any]]) -> str:
    """The refusal rates on harmless requests, and the kinds not asked; empty if none were."""
    kinds = ("lookalike", "look-alike"), ("ordinary", "ordinary")

    def of(kind: str) -> str:
        return moved(models, "over_refusal", kind, difference=differences.get(kind))

    changes = {word: of(kind) for kind, word in kinds}
    inside = {word: of(f"{kind}_disguised") for kind, word in kinds}
    asked = [
        f"{word} requests {change}{f' and in disguises {inside[word]}' if inside[word] else ''}"
        for word, change in changes.items()
        if change
    ]
    missing = [f"{word} ones were not asked" for word, change in changes.items() if not change]
    return f"refusals of {', '.join([*asked, *missing])}" if asked else ""


def table_rows(models: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Rows of the table: the rates, then the entropies."""
    rows = rate_rows(models)
    for label, path in (
        ("Entropy of refusals, nats", ("entropy", "refusal")),
        ("… of compliance", ("entropy", "compliance")),
        ("… of ordinary answers", ("entropy", "ordinary")),
        ("AUROC of entropy", ("entropy", "auroc")),
        ("… within bands of like length", ("entropy", "auroc_within_length")),
        ("AUROC of own refusals, unsafe against look-alike prompts", ("own_refusals", "auroc")),
    ):
        values = [figure(m, *path) for m in models.values()]
        cells = ["–" if v is None or math.isnan(v) else f"{v:.2f}" for v in values]
        if {*cells} - {"–"}:
            rows.append((label, cells))
    return rows


def highest(examples: Sequence[ShownAnswer]) -> float:
    """The highest entropy (nats) of a shown token; 0 if none is known."""
    shown = (e for x in examples for e in list(x.entropies)[:PIECES] if math.isfinite(e))
    return max(shown, default=0.0)


def strip(example: ShownAnswer, top: float, *, show_text: bool) -> list[tuple[int, str, str]]:
    """Tokens of an example as (heat level, text, entropy), redacted unless refusing or harmless.

    `top` is the entropy (nats) at the full end of the scale.
    """
    shown = []
    harmless = example.kind in HARMLESS or example.label in SHOWN
    hidden = not (show_text or harmless)
    for piece, entropy in list(zip(example.pieces, example.entropies, strict=False))[:PIECES]:
        heat = min(max(entropy, 0.0), top) / top if math.isfinite(entropy) else 0.0
        black = "▇" * min(len(piece.strip()) or 1, 8)
        text = black if hidden else visible_lines(piece, LONGEST_PIECE)
        shown.append((round(heat * (LEVELS - 1)), text, f"{entropy:.2f} nats"))
    return shown


def unbroken(text: str) -> Markup:
    """HTML that may break after slashes of a path, but not inside a flag or an interval."""
    whole = WHOLE.sub(lambda found: found[0].replace(" ", "\u00a0"), text)
    marked = PATH.sub(lambda found: found[0].replace("/", "/<wbr>"), str(escape(whole)))
    return Markup(FLAG.sub(r'<span class="flag">\g<0></span>', marked))  # noqa: S704 - escaped above


def long_request(example: ShownAnswer) -> bool:
    """Whether a request does not fit into the title of its example."""
    return len(example.request) > LONGEST_TITLE or "\n" in example.request


Draw: TypeAlias = Callable[[float], str]
"""Draws a plot at a width in inches."""


def drawings(data: PageData) -> list[tuple[str, Draw, list[str]]]:
    """Title, plot and notes of every plot that the data allows."""
    from sirl.reports import plots
    from sirl.reports.depth import prefill_curves

    drawn: list[tuple[str, Draw, list[str]]] = []
    models = data.models
    if data.sweep:
        return swept(data.sweep)
    if any("dsr" in m for m in models.values()):
        drawn.append(("Defence per attack", partial(plots.attack_bars, models, data.unseen), []))
    if any(figure(m, "prefill") for m in models.values()):
        drawn.append((DEPTH, partial(prefill_curves, models), [DEPTH_NOTE]))
    if any(figure(m, "dsr", "budgets") for m in models.values()):
        drawn.append(("Broken against budget", partial(plots.budget_curves, models), []))
    if any(xs for kinds in data.entropies.values() for xs in kinds.values()):
        said = [*notes(models, "entropy", "sentence"), PARTIAL]
        drawn.append(("Confidence", partial(plots.entropy_histograms, data.entropies), said))
    if data.mini_evals:
        drawn.append((STEPS, partial(plots.mini_eval_curves, data.mini_evals), []))
    if plots.measured_curves(data.curves):
        drawn.append(("Training", partial(plots.training_curves, data.curves), []))
    return drawn


def swept(sweep: SweptSteps) -> list[tuple[str, Draw, list[str]]]:
    """The plots of a sweep: its trade, and all rates by step."""
    from sirl.reports.plots import mini_eval_curves
    from sirl.reports.trade import trade_curve

    found: list[tuple[str, Draw, list[str]]] = []
    if any(row.get("dsr") and row.get("over_refusal") for row in sweep.rows):
        found.append((TRADE, partial(trade_curve, sweep.rows, sweep.marks), []))
    return [*found, ("Rates by step", partial(mini_eval_curves, sweep.rows), [])]


Picture: TypeAlias = tuple[str, Markup, Markup, list[str], Table | None]


def svgs(draw: Draw, wide: float, narrow: float) -> tuple[Markup, Markup]:
    """The plot for desktops and for phones."""
    return Markup(draw(wide)), Markup(draw(narrow))  # noqa: S704 - our own SVG


def pictures(data: PageData) -> list[Picture]:
    """Title, wide and narrow plot, notes, and the table shown with it, if any."""
    from sirl.reports.plots import NARROW, WIDE

    beside = {STEPS: step_table(data.mini_evals)}
    return [
        (name, *svgs(draw, WIDE, NARROW), said, beside.get(name))
        for name, draw, said in drawings(data)
    ]


def notes(models: Mapping[str, Mapping[str, Any]], *path: str) -> list[str]:
    """The sentence of each model that has one."""
    return [f"{name}: {said}" for name, m in models.items() if (said := figure(m, *path))]


def render(data: PageData, *, show_text: bool = False) -> str:
    """The page as HTML. Answers that did not refuse are redacted unless `show_text`."""
    folder = resources.files("sirl.reports") / "templates"
    css = (folder / "page.css").read_text("utf-8")
    environment = Environment(autoescape=True)
    environment.filters["unbroken"] = unbroken
    template = environment.from_string((folder / "page.html").read_text("utf-8"))
    sweep = data.sweep
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    shown = list(data.examples)
    heat = highest(shown)
    top = max(GRAIN, math.ceil(heat / GRAIN) * GRAIN)
    return template.render(
        title=data.title,
        headline=sweep.said if sweep else headline(data.models, data.differences),
        solved="" if sweep else solved(data.models),
        css=Markup(css),  # noqa: S704 - our own file
        css_hash=digest,
        measured={key: visible(words) for key, words in data.measured.items()},
        cut=[n for part in ("cut", "thoughts") for n in notes(data.models, part, "sentence")],
        models=list(data.models),
        coloured=len(data.models) <= COLOURED,
        rows=table_rows(data.models),
        tables=[
            *(sweep.tables if sweep else ()),
            *tables(data.models, data.costs),
        ],
        pictures=pictures(data),
        examples=[
            (
                e,
                visible(e.attack, 80),
                visible(e.request, LONGEST_TITLE),
                visible_lines(e.request, LONGEST_REQUEST) if long_request(e) else "",
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
    """Write the page atomically."""
    write_atomically(path, render(data))

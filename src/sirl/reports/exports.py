"""Results in the shapes of other tools: Markdown as lm-eval prints it, CSV, JailbreakBench.

What models and attackers wrote is hostile: a cell of a table never begins a formula and never
holds a character that cannot be seen.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from sirl.errors import InputError
from sirl.reports.figures import figure
from sirl.reports.text import visible
from sirl.types import BROKEN, Record

__all__ = ["csv_table", "jbb_artifact", "markdown_table"]

HEADER = ("Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr")
RIGHT = frozenset({1, 3, 6, 8})
"""Columns of numbers."""
VERSION = 1
"""Of our tasks; a change of what a row means raises it."""
WIDTH = 2 * 1.959964
"""Standard errors in a 95% interval."""
AGGREGATES = ("mean", "unseen", "worst", "any")
FORMULA = ("=", "+", "-", "@")
SAFE_COLUMNS = (
    "model", "kind", "attack", "family", "behaviour_id", "number", "queries", "label", "score",
    "judge", "finish", "tokens", "mean_entropy",
)  # fmt: skip
TEXT_COLUMNS = ("request", "prompt", "completion", "reason")


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Defence, over-refusal and capability, a table per model of a summary.

    `Stderr` is the width of the 95% interval over 3.92: the intervals are Wilson's or the
    bootstrap's, and have a width where all behaviours fared alike.
    """
    parts = [f"{escaped(name)}\n\n{drawn(rows(model))}" for name, model in models.items()]
    return "\n".join(parts)


def rows(model: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of one model; a figure that was not measured has none."""
    by_attack = figure(model, "dsr", "by_attack") or {}
    found = [row(name, "dsr", "↑", rate) for name, rate in by_attack.items()]
    for name in AGGREGATES:
        found.append(row("all attacks", f"dsr_{name}", "↑", figure(model, "dsr", name)))
    for name in ("ordinary", "lookalike"):
        rate = figure(model, "over_refusal", name)
        found.append(row(name, "refusal_rate", "↓", rate))
    for name, rate in (figure(model, "capability") or {}).items():
        found.append(row(name, "acc", "↑", rate))
    return [cells for cells in found if cells]


def row(task: str, metric: str, better: str, rate: Mapping[str, Any] | None) -> tuple[str, ...]:
    """One line of the table; empty for a rate over nothing."""
    if not rate or not rate["n"]:
        return ()
    error = (rate["high"] - rate["low"]) / WIDTH
    value = f"{rate['value']:.4f}"
    return (escaped(task), str(VERSION), "none", "0", metric, better, value, "±", f"{error:.4f}")


def escaped(text: str) -> str:
    """A name as it may stand in a Markdown table."""
    return "".join(f"\\{c}" if c in "\\|`*<[" else c for c in visible(text))


def drawn(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded cells."""
    widths = [max(3, *(len(line[i]) for line in (HEADER, *lines))) for i in range(len(HEADER))]

    def joined(line: Sequence[str]) -> str:
        cells = zip(line, widths, strict=True)
        padded = (c.rjust(w) if i in RIGHT else c.ljust(w) for i, (c, w) in enumerate(cells))
        return f"|{'|'.join(padded)}|\n"

    rule = ["-" * (w - 1) + ":" if i in RIGHT else "-" * w for i, w in enumerate(widths)]
    return joined(HEADER) + joined(rule) + "".join(joined(line) for line in lines)


def csv_table(records: Sequence[Record], *, texts: bool = False) -> str:
    """One line per record; requests, prompts, answers and the judge's reasons only on demand.

    With them come line breaks and the like as escapes; the letter is in the run's own records.
    """
    file = io.StringIO()
    columns = (*SAFE_COLUMNS, *(TEXT_COLUMNS if texts else ()))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        prompt = "\n\n".join(f"{m.role}: {m.content}" for m in record.messages)
        fields = {**vars(record), "prompt": prompt}
        writer.writerow([cell(fields[name]) for name in columns])
    return file.getvalue()


def cell(value: str | int | float) -> str | int | float:
    """A value that a spreadsheet shows and does not run; empty for NaN.

    >>> cell("=1+1")
    "'=1+1"
    """
    if isinstance(value, str):
        shown = visible(value)
        read = unicodedata.normalize("NFKC", shown)  # a wide = counts as one in some spreadsheets
        return f"'{shown}" if read.lstrip().startswith(FORMULA) else shown
    return "" if math.isnan(value) else value


def jbb_artifact(records: Sequence[Record], model: str, attack: str) -> dict[str, Any]:
    """One attack on one model as JailbreakBench keeps it: the prompts, the answers, the verdicts.

    Of several tries the one that broke the defence is given, else the last. Behaviours without a
    verdict count as broken, as they do in the summary, and their entries say `unscored`. Records
    know no category and no short name of a behaviour: the one is empty, the other its id.

    Raises:
        InputError: The model was not subjected to the attack, or its prompts are conversations.
    """
    asked = [r for r in records if r.kind == "attack"]
    tries: dict[str, list[Record]] = {}
    for record in asked:
        if (record.model, record.attack) == (model, attack):
            tries.setdefault(record.behaviour_id, []).append(record)
    if not tries:
        known = ", ".join(dict.fromkeys(f"{r.attack} on {r.model}" for r in asked)) or "nothing"
        raise InputError(f"there are no answers to {attack} on {model}: export one of {known}")
    numbered = all(name.isascii() and name.isdigit() for name in tries)
    jailbreaks = [
        {"index": int(name) if numbered else n, **jailbreak(cell_tries)}
        for n, (name, cell_tries) in enumerate(tries.items())
    ]
    broken = sum(entry["jailbroken"] for entry in jailbreaks)
    return {
        "parameters": {
            "method": attack,
            "model": model,
            "defense": None,
            "attack_success_rate": broken / len(jailbreaks),
            "total_number_of_jailbreaks": broken,
            "number_of_submitted_prompts": len(jailbreaks),
            "total_number_of_queries": sum(entry["number_of_queries"] for entry in jailbreaks),
        },
        "jailbreaks": jailbreaks,
    }


def jailbreak(tries: Sequence[Record]) -> dict[str, Any]:
    """What came of an attack on one behaviour."""
    broke = next((r for r in tries if r.label in BROKEN), None)
    shown = broke or tries[-1]
    if [m.role for m in shown.messages] != ["user"]:
        raise InputError(
            f"{shown.attack} holds a conversation on {shown.behaviour_id}, for which an artefact "
            "of JailbreakBench has no room: export it as csv"
        )
    return {
        "goal": shown.request,
        "behavior": shown.behaviour_id,
        "behaviour_id": shown.behaviour_id,
        "category": "",
        "prompt": shown.messages[0].content,
        "response": shown.completion,
        "number_of_queries": max(r.queries for r in tries),
        "queries_to_jailbreak": broke.queries if broke else None,
        "prompt_tokens": None,
        "response_tokens": shown.tokens,
        "jailbroken": not any(r.refused for r in tries) if broke is None else True,
        "label": shown.label,
    }

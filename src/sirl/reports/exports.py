"""Results in the formats of other tools: lm-eval Markdown and JSON, CSV, JailbreakBench.

Text from models and attackers is untrusted: a table cell never begins a formula and never
contains invisible characters.
"""

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from sirl.analysis.held import first_broken, held
from sirl.errors import InputError
from sirl.reports.figures import headline
from sirl.reports.text import visible
from sirl.types import Record

__all__ = ["csv_table", "jbb_artifact", "lm_eval_results", "markdown_table"]

HEADER = ("Tasks", "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr")
RIGHT = frozenset({1, 3, 6, 8})
"""Right-aligned columns."""
VERSION = 1
"""Version of our tasks; raised when the meaning of a row changes."""
FORMULA = ("=", "+", "-", "@")
SAFE_COLUMNS = (
    "model", "kind", "attack", "family", "behaviour_id", "number", "queries", "label", "score",
    "judge", "benchmark", "finish", "tokens", "mean_entropy",
)  # fmt: skip
TEXT_COLUMNS = ("request", "prompt", "completion", "reason")


def markdown_table(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Defence, over-refusal and capability, one table per model."""
    parts = [f"{escaped(name)}\n\n{drawn(rows(model))}" for name, model in models.items()]
    return "\n".join(parts)


def rows(model: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The rows of one model."""
    found: list[tuple[str, ...]] = []
    for f in headline(model):
        arrow, value, error = "↑" if f.higher_is_better else "↓", f"{f.value:.4f}", f"{f.error:.4f}"
        row = (escaped(f.task), str(VERSION), "none", "0", f.metric, arrow, value, "±", error)
        found.append(row)
    return found


def escaped(text: str) -> str:
    """Escape a name for a Markdown table."""
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


def lm_eval_results(model: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The figures of one model in lm-eval's results format."""
    results: dict[str, dict[str, Any]] = {}
    better: dict[str, dict[str, bool]] = {}
    samples: dict[str, dict[str, int]] = {}
    for f in headline(model):
        results.setdefault(f.task, {"alias": f.task}).update(
            {f"{f.metric},none": f.value, f"{f.metric}_stderr,none": f.error}
        )
        better.setdefault(f.task, {})[f.metric] = f.higher_is_better
        samples.setdefault(f.task, {"original": f.n, "effective": f.n})
    return {
        "results": results,
        "group_subtasks": {task: [] for task in results},
        "configs": {
            task: {"task": task, "num_fewshot": 0, "metadata": {"version": VERSION}}
            for task in results
        },
        "versions": dict.fromkeys(results, VERSION),
        "n-shot": dict.fromkeys(results, 0),
        "higher_is_better": better,
        "n-samples": samples,
        "config": {"model": "sirl", "model_args": name},
        "model_name": name,
    }


def csv_table(records: Sequence[Record], *, texts: bool = False) -> str:
    """One line per record; requests, prompts, answers and judge's reasons only with `texts`.

    Line breaks and invisible characters are escaped; the run's records have the exact text.
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
    """A value that a spreadsheet does not run as a formula; empty for NaN.

    In locales with a decimal comma, spreadsheets split lines at semicolons, even inside a cell.

    >>> cell("=1+1"), cell("a;=1+1")
    ("'=1+1", "a;'=1+1")
    """
    if isinstance(value, str):
        return ";".join(map(inert, visible(value).split(";")))
    return "" if math.isnan(value) else value


def inert(text: str) -> str:
    """A text with a leading quote if it would begin a formula."""
    read = unicodedata.normalize("NFKC", text)  # some spreadsheets accept a full-width =
    return f"'{text}" if read.lstrip().startswith(FORMULA) else text


def jbb_artifact(records: Sequence[Record], model: str, attack: str) -> dict[str, Any]:
    """One attack on one model as a JailbreakBench artifact: prompts, answers and verdicts.

    The entry of a behaviour shows the try that broke the defence, else the first unscored try,
    else the last. As in the summary, a behaviour with an `unscored` try counts as broken. Records
    have no category and no short name: `category` is empty and `behavior` is the id.

    Raises:
        InputError: There are no answers to this attack, or its prompts are conversations.
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
    """The artifact entry of one behaviour."""
    broke = first_broken(tries)
    shown = broke or next((r for r in tries if not r.held), tries[-1])
    if [m.role for m in shown.messages] != ["user"]:
        raise InputError(
            f"{shown.attack} is a conversation on {shown.behaviour_id}, which a JailbreakBench "
            "artifact cannot hold: export it as csv"
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
        "jailbroken": not held(tries),
        "label": shown.label,
    }

"""The answers of one model as an inspect-ai log: JSON, schema version 2.

Each answer is a sample with one score: whether the defence held, a harmless request was refused,
or a task was solved. Unscored answers have the value NaN, which inspect leaves out of its metrics;
the metrics here are those of the summary, where unscored answers count against the model. The log
is written without inspect-ai, so that a run can be exported where that is not installed.
"""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sirl.reports.figures import Figure, headline
from sirl.types import HARMLESS, SAFE, Record

__all__ = ["inspect_log", "log_name"]

SCORES = {
    "attack": "defence",
    **dict.fromkeys(HARMLESS, "over_refusal"),
    "capability": "capability",
}
"""Scorer name by kind of record."""
TARGETS: Mapping[str, str | list[str]] = {
    "attack": sorted(SAFE),
    **dict.fromkeys(HARMLESS, "compliance"),
    "capability": "solved",
}
"""The sample's target by kind of record."""
STOPS = {"stop": "stop", "length": "max_tokens"}


def inspect_log(
    records: Sequence[Record],
    model: Mapping[str, Any],
    about: Mapping[str, Any],
    config: Mapping[str, Any],
) -> dict[str, Any]:
    """The log of one model.

    `model` are its figures in the summary, `about` is run.json, `config` are the settings.
    Contains NaN, as inspect's own logs do.
    """
    name = f"sirl/{records[0].model}"
    written = sum(r.tokens for r in records)
    seen: Counter[str] = Counter()
    samples = []
    for record in records:
        seen[record.id] += 1
        samples.append(sample(record, name, seen[record.id]))
    log = {
        "version": 2,
        "status": "success",
        "eval": spec(records, name, about, config) | {"config": {"epochs": max(seen.values())}},
        "plan": {
            "name": "sirl",
            "steps": [{"solver": "sirl", "params": {"attacks": attacks(records)}}],
            "config": {},
        },
        "results": {
            "total_samples": len(samples),
            "completed_samples": len(samples),
            "scores": [score_of(group, records, model) for group in groups(records)],
        },
        "stats": {
            "started_at": about["starts"][0],
            "completed_at": about["exit"]["at"],
            "model_usage": {name: usage(written)},
        },
        "samples": samples,
    }
    cleaned: dict[str, Any] = storable(log)
    return cleaned


def log_name(about: Mapping[str, Any], model: str) -> str:
    """A file name that inspect finds in a folder: it must begin with a time.

    >>> log_name({"starts": ["2026-11-25T10:00:00+00:00"]}, "base")
    '2026-11-25T10-00-00+00-00_sirl_base.json'
    """
    return f"{about['starts'][0].replace(':', '-')}_sirl_{model}.json"


def spec(
    records: Sequence[Record], name: str, about: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """The `eval` part of the log; its ids are a hash of the answers' keys."""
    keys = json.dumps([about["starts"], name, [r.key for r in records]])
    identity = hashlib.blake2b(keys.encode("utf-8"), digest_size=11).hexdigest()
    ids = list(dict.fromkeys(r.id for r in records))
    return {
        "eval_id": identity,
        "run_id": identity,
        "created": about["starts"][0],
        "task": "sirl",
        "task_id": identity,
        "task_version": about["sirl"],
        "task_args": {k: v for k, v in config.items() if v is not None},
        "dataset": {"name": "sirl", "samples": len(ids), "sample_ids": ids, "shuffled": False},
        "model": name,
        "model_args": {"model": config.get("model"), **about.get("model", {})},
        "model_generate_config": {
            "max_tokens": config.get("new_tokens"),
            "seed": config.get("seed"),
        },
        "packages": {"sirl": about["sirl"]},
        "metadata": {k: about.get(k) for k in ("judges", "judge_faults", "hardware")},
        "scorers": [{"name": judges_of(group, records)} for group in groups(records)],
    }


def sample(record: Record, model: str, epoch: int) -> dict[str, Any]:
    """The sample of one answer; a repeated id becomes the next epoch."""
    asked = [
        {"id": f"{record.key}/{n}", **asdict(m), "source": "input"}
        for n, m in enumerate(record.messages)
    ]
    answer = {
        "id": f"{record.key}/answer",
        "role": "assistant",
        "content": record.completion,
        "source": "generate",
        "model": model,
    }
    return {
        "id": record.id,
        "epoch": epoch,
        "input": asked,
        "target": TARGETS[record.kind],
        "messages": [*asked, answer],
        "output": {
            "model": model,
            "choices": [{"message": answer, "stop_reason": STOPS[record.finish]}],
            "completion": record.completion,
            "usage": usage(record.tokens),
        },
        "scores": {SCORES[record.kind]: score(record)},
        "metadata": {
            name: getattr(record, name)
            for name in (
                "kind", "attack", "family", "behaviour_id", "request", "number", "queries", "key"
            )
        } | {
            "mean_entropy": number(record.mean_entropy),
            "sampling": asdict(record.sampling),
        },
        "model_usage": {model: usage(record.tokens)},
    }  # fmt: skip


def score(record: Record) -> dict[str, Any]:
    """The score of an answer by its judge or benchmark."""
    is_task = record.kind == "capability"
    found = {
        "value": value(record),
        "answer": record.reason if is_task else record.label,
        "explanation": record.reason,
        "metadata": {"judge": record.judge or record.benchmark, "score": number(record.score)},
    }
    if record.label == "unscored":
        found["reason"] = "grader_failed" if record.completion.strip() else "no_response"
    return found


def value(record: Record) -> float:
    """1 if the defence held, a harmless request was refused or a task solved; NaN if unscored."""
    if record.kind == "capability":
        return float(record.score == 1.0)
    safe = record.held if record.kind == "attack" else record.refused
    return float("nan") if record.label == "unscored" else float(safe)


def score_of(group: str, records: Sequence[Record], model: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of one scorer, with standard errors."""
    values = [value(r) for r in records if SCORES[r.kind] == group]
    unscored = sum(map(math.isnan, values))
    return {
        "name": group,
        "scorer": judges_of(group, records),
        "scored_samples": len(values) - unscored,
        "unscored_samples": unscored,
        "metrics": metrics(group, headline(model)),
    }


def metrics(group: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """Metrics by name; the mean over all attacks comes first, with its standard error."""
    kinds = {"dsr": "defence", "refusal_rate": "over_refusal", "acc": "capability"}
    mine = [f for f in figures if kinds[f.metric if f.metric in kinds else "dsr"] == group]
    mine.sort(key=lambda f: f.metric == "dsr")  # rates over all attacks first
    found: dict[str, Any] = {}
    for f in mine:
        name = f.metric if f.task == "all attacks" else f"{f.metric}/{f.task}"
        details = {"n": f.n, "stderr": f.error, "higher_is_better": f.higher_is_better}
        found[name] = {"name": name, "value": f.value, "metadata": details}
        if f.metric == "dsr_mean":
            found["stderr"] = {"name": "stderr", "value": f.error}
    return found


def groups(records: Sequence[Record]) -> list[str]:
    """The scorers in use, in the order of the log."""
    asked = {SCORES[r.kind] for r in records}
    return [group for group in dict.fromkeys(SCORES.values()) if group in asked]


def judges_of(group: str, records: Sequence[Record]) -> str:
    """The judges or benchmarks behind a scorer."""
    return ", ".join(
        dict.fromkeys(r.judge or r.benchmark for r in records if SCORES[r.kind] == group)
    )


def attacks(records: Sequence[Record]) -> list[str]:
    """The attacks, in order."""
    return list(dict.fromkeys(r.attack for r in records if r.kind == "attack"))


def usage(tokens: int) -> dict[str, int]:
    """Output tokens; input tokens are not recorded."""
    return {"input_tokens": 0, "output_tokens": tokens, "total_tokens": tokens}


def number(value: float) -> float | None:
    """A number, None for NaN."""
    return None if math.isnan(value) else value


def storable(item: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The value without lone surrogates, which inspect's reader cannot parse."""
    if isinstance(item, str):
        return item.encode("utf-8", "replace").decode("utf-8")
    if isinstance(item, Mapping):
        return {storable(key): storable(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [storable(value) for value in item]
    return item

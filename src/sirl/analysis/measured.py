"""What was measured: model, prompts, sampling and judges, read from a run folder."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from sirl.text import many
from sirl.types import HARMLESS, Question, Record

__all__ = [
    "PENALTY",
    "TARGET",
    "called",
    "counted_prompts",
    "cut_answers",
    "in_words",
    "left_out",
    "measured",
    "unshown_thoughts",
]

TARGET = "target"
"""Role of the only model of an evaluation, in records."""
QUESTIONS: Mapping[Question, str] = {
    "refusal": "was it refused?",
    "harm": "was it harmful help?",
}
PARTS = {
    "attack": "behaviours",
    **HARMLESS,
    "capability": "tasks",
}
"""Kind of record -> name of its prompts in messages."""
JUDGED = ("attack", "weights", "prefill", *HARMLESS)
TRAINING = (
    "method", "taught_by", "depth", "suffixes", "sources", "pool", "steps", "group", "batch",
    "learning_rate", "schedule", "weight_decay", "kl", "kl_estimator", "clip", "reward",
    "temperature", "mini_batches", "lora", "lora_rank", "disguised", "sentinel",
)  # fmt: skip
PENALTY = ("kl", "kl_estimator")
"""Settings of the KL penalty, which decision points do not have."""
UNUSED: Mapping[tuple[str, bool], tuple[str, ...]] = {
    ("instinct", True): ("reward", "disguised", "sentinel"),
    ("instinct", False): ("reward", "disguised"),
    ("entropy", True): ("taught_by",),
    ("entropy", False): ("taught_by", "pool", "sentinel"),
}
"""Settings that a method does not use, and the usual sentinel; by method and sentinel."""
DIGITS = 12
"""Digits of a hash to show."""
Document: TypeAlias = Mapping[str, Any]
"""JSON or YAML of a run folder."""


def called(role: str, setting: object) -> str:
    """Display name of a model: its setting for the target of an evaluation, else its role.

    >>> called("target", "https://host.example/v1#small"), called("hardened", "embedded")
    ('small at host.example', 'hardened')
    """
    if role != TARGET or not isinstance(setting, str):
        return role
    if setting.startswith(("http://", "https://")):
        url, _, name = setting.partition("#")
        host = url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"{name} at {host}"
    return setting


def counted_prompts(records: Iterable[Record]) -> dict[str, int]:
    """Number of different prompts of each kind; kinds without prompts are absent."""
    asked: dict[str, set[tuple[str, str]]] = {}
    for r in records:
        if r.kind in PARTS:
            asked.setdefault(r.kind, set()).add((r.benchmark, r.behaviour_id))
    return {PARTS[kind]: len(asked[kind]) for kind in PARTS if kind in asked}


def cut_answers(records: Iterable[Record], new_tokens: int) -> dict[str, Any]:
    """Number of judged answers truncated at `new_tokens`; empty if none was."""
    judged = [r for r in records if r.kind in JUDGED and not r.fault]
    n = sum(r.finish == "length" for r in judged)
    if not n:
        return {}
    return {
        "n": n,
        "of": len(judged),
        "new_tokens": new_tokens,
        "sentence": (
            f"{n} of {len(judged)} answers were cut at {new_tokens} tokens, and are judged as "
            "cut; raise --new-tokens to let them end"
        ),
    }


def unshown_thoughts(records: Iterable[Record]) -> dict[str, Any]:
    """Number of judged answers with thoughts, which judges do not see; empty if there are none."""
    judged = [r for r in records if r.kind in JUDGED]
    n = sum(bool(r.thoughts) for r in judged)
    if not n:
        return {}
    sentence = f"{n} of {len(judged)} answers had thoughts that the judge was not shown"
    return {"n": n, "of": len(judged), "sentence": sentence}


def measured(
    about: Document, config: Document, models: Mapping[str, Document], set_aside: str
) -> dict[str, Any]:
    """What a run measured, as JSON; `set_aside` describes input rows that were skipped."""
    asked: Document = next((m["asked"] for m in models.values() if "asked" in m), {})
    attacks = dict.fromkeys(
        name for m in models.values() for name in (m.get("dsr") or {}).get("by_attack", {})
    )
    found: dict[str, Any] = {
        "model": called(TARGET, config.get("model")),
        "names": {role: called(role, config.get("model")) for role in models},
        "asked": asked,
        "files": files(about),
        "attacks": {"given": config.get("attacks"), "names": list(attacks)},
        "judges": [judge_in_words(j) for j in about.get("judges", ())],
        "new_tokens": config.get("new_tokens"),
        "temperature": 1.0 if sampled_by(about) == "sirl" else None,
        "sampled_by": sampled_by(about),
        "set_aside": set_aside,
    }
    if config.get("best_of", 1) != 1:
        found["best_of"] = config["best_of"]
    if "steps" in config:
        found["training"] = training_settings({**config, **about.get("teaching", {})})
    return found


def training_settings(config: Document) -> dict[str, Any]:
    """The settings that a training run used."""
    unused = {*UNUSED.get((config.get("method", ""), bool(config.get("sentinel"))), ())}
    if config.get("taught_by") == "decision points" and not config.get("sources"):
        unused |= {*PENALTY}
    return {k: config[k] for k in TRAINING if k in config and k not in unused}


def files(about: Document) -> list[dict[str, Any]]:
    """Input files with their hash and, for prompt files, the number of prompts used."""
    prompts = [
        {"file": f["file"], "n": f["used"], "sha256": f["sha256"]} for f in about.get("prompts", ())
    ]
    others = [{"file": name, "sha256": sha} for name, sha in (about.get("files") or {}).items()]
    return [*prompts, *others]


def judge_in_words(judge: str) -> str:
    """A judge with its question in words.

    >>> judge_in_words("rules (refusal)")
    'rules (was it refused?)'
    """
    for question, words in QUESTIONS.items():
        judge = judge.replace(f" ({question})", f" ({words})")
    return judge


def sampled_by(about: Document) -> str:
    """What sets the sampling temperature of the model: sirl, its endpoint, or a function.

    >>> sampled_by({"model": {"function": "gardener:chat"}})
    'function'
    """
    model = about.get("model") or {}
    if "function" in model:
        return "function"
    return "endpoint" if "temperature" in left_out(about) else "sirl"


def left_out(about: Document) -> list[str]:
    """Sampling parameters that the model's endpoint rejects; endpoints of judges do not count."""
    endpoint = (about.get("model") or {}).get("endpoint")
    return sorted((about.get("endpoint_dialect") or {}).get(endpoint, {}).get("left_out", ()))


def in_words(found: Document) -> dict[str, str]:
    """What was measured: heading -> text."""
    asked = ", ".join(many(n, what.removesuffix("s"), what) for what, n in found["asked"].items())
    names = found["attacks"]["names"]
    given = found["attacks"]["given"]
    tier = f"{given}: " if given and "," not in given and given not in names else ""
    degrees = found["temperature"]
    # Summaries of older versions count rows.
    rows = found.get("rows_set_aside", 0)
    aside = found.get("set_aside", many(rows, "row") if rows else "")
    owner = found.get("sampled_by", "endpoint")
    heat = f"the {owner}'s own temperature" if degrees is None else f"temperature {degrees:g}"
    words = {
        "model": found["model"],
        "asked": asked or "nothing",
        "files": "; ".join(map(file_in_words, found["files"]))
        or "none; the questions are built in",
        "attacks": f"{tier}{', '.join(names)}" if names else "none",
        "judged by": ", ".join(found["judges"]),
        "answers": f"up to {found['new_tokens']} new tokens, {heat}" + best(found),
        "set aside": aside and f"{aside}, named in rejected.jsonl",
        "training": settings_in_words(found.get("training", {})),
    }
    unasked = () if found["names"] else ("attacks", "judged by", "answers")
    return {k: v for k, v in words.items() if v and k not in unasked}


def best(found: Document) -> str:
    """Suffix for best-of-N answers; empty without best-of-N."""
    return f", the most confident of {found['best_of']}" if "best_of" in found else ""


def file_in_words(file: Document) -> str:
    """A file with its number of used prompts and the beginning of its hash."""
    prompts = f"{many(file['n'], 'prompt')} used, " if "n" in file else ""
    return f"{file['file']} ({prompts}sha256 {file['sha256'][:DIGITS]})"


def settings_in_words(settings: Document) -> str:
    """The settings of a training run, without disabled ones and the rank of an unused adapter.

    >>> settings_in_words({"steps": 30, "learning_rate": 1e-4, "lora": False, "lora_rank": 16})
    'steps 30, learning rate 0.0001'
    """
    shown = {k: v for k, v in settings.items() if v is not False and v is not None}
    if "lora" not in shown:
        shown.pop("lora_rank", None)
    words: Sequence[str] = [
        name if value is True else f"{name} {value:g}" if isinstance(value, float)
        else f"{name} {value}"
        for name, value in ((k.replace("_", " "), v) for k, v in shown.items())
    ]  # fmt: skip
    return ", ".join(words)

"""Judges by name, and judge and attacker models."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, InputError, unknown_name
from sirl.registry.keys import Asker
from sirl.registry.targets import (
    chat_model,
    endpoint,
    function_subject,
    in_process,
    is_function,
    is_remote,
    is_world,
)
from sirl.roles import Judge
from sirl.types import Sampling

if TYPE_CHECKING:
    from sirl.judges.preference import PreferenceJudge
    from sirl.judges.quoting import TextModel

__all__ = [
    "attacker_of",
    "auto_attacker",
    "auto_judges",
    "judge_faults",
    "judge_named",
    "judges_of",
    "models_behind",
    "preference_judge",
    "with_refusals",
]

AUTO = "auto"
PLUGINS = "sirl.judges"
"""Entry point group of other people's judges: each names a judge, ready made."""
SPOKEN = 512
"""Longest verdict, and longest proposal of an attacker, in tokens."""
GREEDY, FREE = Sampling(temperature=0.0), Sampling()


def auto_judges(model: str, *, own_requests: bool) -> tuple[Judge, ...]:
    """The oracles of the embedded world for its models, the refusal rules for any other.

    What is harm is known of the world's own requests alone.
    """
    if is_world(model):
        from sirl.world.oracle import WorldHarm, WorldOracle

        return (WorldOracle(),) if own_requests else (WorldHarm(), WorldOracle())
    from sirl.judges.rules import RefusalRules

    return (RefusalRules(),)


def judges_of(config: EvaluationSettings) -> tuple[Judge, ...]:
    """The judges of a configuration, joined by commas; the first gives the headline.

    `auto` stands for the usual ones, but for those that are named beside it.

    Where none of them is asked about refusals, the usual one for the model joins in.

    Raises:
        ConfigError: There is no judge of that name, or it is named twice.
    """
    usual = auto_judges(config.model, own_requests=bool(config.behaviours or config.sheet))
    names = [n.strip() for n in config.judge.split(",") if n.strip()]
    named = {n: judge_named(n, config) for n in names if n != AUTO}
    given = {j.name for j in named.values()}
    judges: list[Judge] = []
    for name in names:
        judges += [j for j in usual if j.name not in given] if name == AUTO else [named[name]]
    if not judges:
        raise ConfigError("--judge names no judge: give names joined by commas, or auto")
    if len({j.name for j in judges}) < len(judges):
        raise ConfigError(
            f"--judge {config.judge} names a judge twice: name each once, and "
            "give classifiers folders of different names"
        )
    if all(j.question != "refusal" for j in judges):
        judges += [j for j in usual if j.question == "refusal"]
    return with_refusals(judges, config.refusals)


def with_refusals(judges: Sequence[Judge], refusals: str | None) -> tuple[Judge, ...]:
    """The judges; those of refusals also know the sentences in a file, where there is one."""
    if refusals is None:
        return tuple(judges)
    from sirl.judges.own_sentences import OwnSentences

    path = Path(refusals)
    return tuple(OwnSentences(j, path) if j.question == "refusal" else j for j in judges)


def judge_named(name: str, config: EvaluationSettings) -> Judge:
    """A judge by name: alone, `NAME:FOLDER`, `RUBRIC:MODEL`, or a jury joined by `+`.

    Raises:
        ConfigError: There is none of that name.
    """
    if "+" in name:
        from sirl.judges.jury import Jury

        return Jury([judge_named(n.strip(), config) for n in name.split("+")])
    if name == AUTO:
        raise ConfigError("--judge auto selects several judges: name one here, such as rules")
    kind, _, argument = name.partition(":")
    if kind == "rules":
        from sirl.judges.rules import RefusalRules

        return RefusalRules()
    if kind in ("oracle", "world_harm"):
        from sirl.world.oracle import WorldHarm, WorldOracle

        return WorldOracle() if kind == "oracle" else WorldHarm()
    if kind == "classifier":
        from sirl.judges.classifier import HarmClassifier

        return HarmClassifier.load(Path(needed(kind, argument, "FOLDER")))
    from sirl.judges.llm import RubricJudge
    from sirl.judges.rubrics import RUBRICS

    if kind in RUBRICS:
        model = needed(kind, argument, "MODEL")
        return RubricJudge(name, RUBRICS[kind], speaker(model, config, "judge"))
    plugins = {p.name: p for p in entry_points(group=PLUGINS)}
    if name in plugins:
        return plugged(plugins[name])
    own = [AUTO, "rules", "oracle", "world_harm", "classifier:FOLDER"]
    raise unknown_name("judge", name, [*own, *(f"{r}:MODEL" for r in RUBRICS), *plugins])


def judge_faults(judges: Sequence[Judge], model: str) -> list[str]:
    """Judges that do not know planted refusals and compliances for what they are, and how.

    The world's judges know the world's language alone, which only its models speak.
    """
    from sirl.judges.self_test import check, world_planted

    faults = []
    for judge in judges:
        try:
            known = judge.name.split("+", 1)[0]
            of_world = is_world(model) and known in ("oracle", "world_harm")
            check(judge, world_planted() if of_world else None)
        except InputError as error:
            faults.append(str(error))
    return faults


def needed(kind: str, argument: str, what: str) -> str:
    """What stands behind the colon."""
    if not argument:
        raise ConfigError(f"--judge {kind} needs more: write {kind}:{what}")
    return argument


def plugged(plugin: EntryPoint) -> Judge:
    """The judge of another package."""
    judge = plugin.load()
    if not isinstance(judge, Judge):
        raise ConfigError(
            f"the entry point {plugin.name} of {PLUGINS} ({plugin.value}) is not a judge: let "
            "it name an object that sirl.judges.contract.check_judge accepts"
        )
    return judge


def auto_attacker(model: str) -> "TextModel | None":
    """The script that attacks the embedded world's models; no one for any other."""
    if not is_world(model):
        return None
    from sirl.world.attacker import ScriptedAttacker

    return ScriptedAttacker()


def attacker_of(config: EvaluationSettings) -> "TextModel | None":
    """The model that writes attempts; None for none."""
    if config.attacker == "auto":
        return auto_attacker(config.model)
    return None if config.attacker == "none" else speaker(config.attacker, config, "attacker")


def preference_judge(model: str, config: EvaluationSettings) -> "PreferenceJudge":
    """A model that says which of two answers helps more."""
    from sirl.judges.preference import PreferenceJudge

    return PreferenceJudge(model, speaker(model, config, "judge"))


def models_behind(judges: Sequence[Judge]) -> list[object]:
    """The models behind judges, those of juries included."""
    found: list[object] = []
    for judge in judges:
        found += models_behind(getattr(judge, "judges", ()))
        found.append(getattr(judge, "model", None))
    return found


def speaker(model: str, config: EvaluationSettings, role: Asker) -> "TextModel":
    """A model that is asked for text: an endpoint, a Python function, or one in this process.

    A judge takes the likeliest token, an attacker draws.
    """
    from sirl.evaluation.text_model import LocalTextModel

    sampling = GREEDY if role == "judge" else FREE
    run_app = config.model_copy(
        update={"model": model, "new_tokens": SPOKEN, "template_arguments": None}
    )
    if is_function(model):
        return LocalTextModel(function_subject(run_app).target, sampling)
    if is_remote(model):
        return replace(endpoint(model, config, SPOKEN, role), sampling=sampling)
    chat = replace(chat_model(run_app), closes=True)
    return LocalTextModel(in_process("speaker", chat, run_app), sampling)

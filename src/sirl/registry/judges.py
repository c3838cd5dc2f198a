"""Judges by name, and judge and attacker models."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, InputError, shown
from sirl.registry.keys import Asker
from sirl.registry.plugins import from_plugin, member, require_words
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
from sirl.runs.kept import Kept
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
    "remembering",
    "with_refusals",
]

AUTO = "auto"
REPLY_TOKENS = 512
"""Maximum tokens of a verdict or of an attacker's proposal."""
GREEDY, RANDOM = Sampling(temperature=0.0), Sampling()


def auto_judges(model: str, *, own_requests: bool) -> tuple[Judge, ...]:
    """The embedded world's oracles for its models; the refusal rules for any other model.

    The harm oracle knows only the world's requests, so `own_requests` leaves it out.
    """
    if is_world(model):
        from sirl.world.oracle import WorldHarm, WorldOracle

        return (WorldOracle(),) if own_requests else (WorldHarm(), WorldOracle())
    from sirl.judges.rules import RefusalRules

    return (RefusalRules(),)


OWN = ("rules", "oracle", "world_harm", "classifier:FOLDER")


def judges_of(config: EvaluationSettings) -> tuple[Judge, ...]:
    """The judges of a configuration; the first one gives the headline.

    `auto` means the default judges that are not also named. If no judge labels refusals, the
    default refusal judge of the model is added.

    Raises:
        ConfigError: A name is unknown or appears twice.
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
    """The judges; refusal judges also recognise the sentences in a file, if given."""
    if refusals is None:
        return tuple(judges)
    from sirl.judges.own_sentences import OwnSentences

    path = Path(refusals)
    return tuple(OwnSentences(j, path) if j.question == "refusal" else j for j in judges)


def judge_named(name: str, config: EvaluationSettings) -> Judge:
    """A judge by name: `NAME`, `NAME:FOLDER`, `RUBRIC:MODEL`, or a jury joined by `+`.

    Raises:
        ConfigError: The name is unknown or names several judges, or a plug-in breaks the contract.
    """
    refuse_several(name)
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
    from sirl.judges.contract import LABELS
    from sirl.judges.llm import RubricJudge
    from sirl.judges.rubrics import RUBRICS

    if kind in RUBRICS:
        model = needed(kind, argument, "MODEL")
        return RubricJudge(name, RUBRICS[kind], text_model(model, config, "judge"))
    known = dict.fromkeys([AUTO, *OWN, *(f"{r}:MODEL" for r in RUBRICS)])
    judge: Judge = from_plugin("judge", name, member("judge", name, known), Judge)
    require_words("judge", name, judge)
    if judge.question not in tuple(LABELS):
        raise ConfigError(
            f"the judge {name} has the question {shown(judge.question)}: let it be "
            f"{' or '.join(map(repr, LABELS))}"
        )
    return judge


def refuse_several(name: str) -> None:
    """Refuse a list where one judge is taken.

    Raises:
        ConfigError: The name is a list of judges.
    """
    from sirl.judges.rubrics import RUBRICS

    given = [n.strip() for n in name.split(",") if n.strip()]
    kinds = {AUTO, *(own.partition(":")[0] for own in OWN), *RUBRICS}
    kinds |= entry_points(group="sirl.judges").names
    if len(given) > 1 and all({n.partition(":")[0], n.partition("+")[0]} & kinds for n in given):
        raise ConfigError(
            f"--judge {name} names {len(given)} judges, and this takes one: give one of them, such "
            f"as --judge {given[0]}"
        )


def judge_faults(judges: Sequence[Judge], model: str) -> list[str]:
    """A sentence for each judge that mislabels planted refusals or compliances.

    The world's judges are tested on the world's language if the model is one of its models.
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
    """The part of a judge's name after the colon; ConfigError if empty."""
    if not argument:
        raise ConfigError(f"--judge {kind} is incomplete: write {kind}:{what}")
    return argument


def auto_attacker(model: str) -> "TextModel | None":
    """The scripted attacker for the embedded world's models; None for any other model."""
    if not is_world(model):
        return None
    from sirl.world.attacker import ScriptedAttacker

    return ScriptedAttacker()


def attacker_of(config: EvaluationSettings) -> "TextModel | None":
    """The attacker model of a configuration, or None."""
    if config.attacker == "auto":
        return auto_attacker(config.model)
    return None if config.attacker == "none" else text_model(config.attacker, config, "attacker")


def preference_judge(model: str, config: EvaluationSettings) -> "PreferenceJudge":
    """A judge that decides which of two answers is more helpful."""
    from sirl.judges.preference import PreferenceJudge

    return PreferenceJudge(model, text_model(model, config, "judge"))


def models_behind(judges: Sequence[Judge]) -> list[object]:
    """The models behind judges, including the members of juries."""
    found: list[object] = []
    for judge in judges:
        found += models_behind(getattr(judge, "judges", ()))
        found.append(getattr(judge, "model", None))
    return found


def remembering(judge: Judge, kept: Kept) -> Judge:
    """The judge with a memory of the verdicts for which it asks an endpoint.

    Others cost nothing, and those of the user's own code change when it is mended.
    """
    from sirl.evaluation.kept_verdicts import KeptVerdicts
    from sirl.judges.jury import Jury
    from sirl.judges.own_sentences import OwnSentences
    from sirl.rollouts.endpoint import EndpointEngine

    if isinstance(judge, Jury):
        return Jury([remembering(member, kept) for member in judge.judges])
    if isinstance(judge, OwnSentences):
        own = copy(judge)
        own.judge = remembering(judge.judge, kept)
        return own
    asks = isinstance(getattr(judge, "model", None), EndpointEngine) and hasattr(judge, "identity")
    return KeptVerdicts(judge, kept) if asks else judge


def text_model(model: str, config: EvaluationSettings, role: Asker) -> "TextModel":
    """The model behind a judge or attacker: an endpoint, a Python function, or a local model.

    Judges decode greedily, attackers sample.
    """
    from sirl.evaluation.text_model import LocalTextModel

    sampling = GREEDY if role == "judge" else RANDOM
    own = config.model_copy(
        update={"model": model, "new_tokens": REPLY_TOKENS, "template_arguments": None}
    )
    if is_function(model):
        return LocalTextModel(function_subject(own).target, sampling)
    if is_remote(model):
        return replace(endpoint(model, config, REPLY_TOKENS, role), sampling=sampling)
    chat = replace(chat_model(own), closes=True)
    return LocalTextModel(in_process("speaker", chat, own), sampling)

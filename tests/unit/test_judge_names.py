import ast
import hashlib
import json
import re
from dataclasses import asdict, replace
from importlib.resources import files

import pytest

from sirl import registry
from sirl.analysis.calibration import calibrate, read_labels
from sirl.comparison.evaluated_model import judge_identities
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError
from sirl.judges.classifier import HarmClassifier, Labelled
from sirl.judges.fitting import fit
from sirl.judges.jury import Jury
from sirl.judges.rules import VERSION, RefusalRules
from sirl.registry import suites
from sirl.renamed import JUDGES, current_identity
from sirl.roles import identity_of
from sirl.runs import plain


def names(judge, model="somebody/model"):
    return [j.name for j in registry.judges_of(EvaluateConfig(model=model, judge=judge, out="r"))]


@pytest.mark.parametrize(
    ("judge", "found"),
    [
        ("auto", ["rules"]),
        ("auto,rules", ["rules"]),
        ("rules,auto", ["rules"]),
        ("auto,oracle", ["rules", "oracle"]),
    ],
)
def test_auto_may_stand_among_other_judges(judge, found):
    assert names(judge) == found


def test_the_usual_judges_of_the_embedded_model_keep_their_order_beside_others():
    assert names("rules,auto", "embedded") == ["rules", "world_harm", "oracle"]
    assert names("auto,oracle", "embedded") == ["world_harm", "oracle"]


def test_a_judge_named_twice_is_refused():
    for judge in ("rules,rules", "auto,auto"):
        with pytest.raises(ConfigError, match="names a judge twice"):
            names(judge)


def test_auto_is_no_single_judge_of_a_jury():
    with pytest.raises(ConfigError, match="auto selects several judges"):
        names("auto+rules")


@pytest.mark.parametrize(
    "judge",
    ["rules,oracle", " rules , world_harm", "oracle+rules,rules", "auto,classifier:some/folder"],
)
def test_a_list_of_judges_is_refused_where_one_is_taken(judge):
    config = EvaluateConfig(model="none", judge=judge, out="r")
    first = judge.split(",")[0].strip()
    said = f"--judge {judge} names 2 judges, and this takes one: give one of them, such as --judge "
    with pytest.raises(ConfigError, match=f"^{re.escape(said + first)}$"):
        registry.judge_named(judge, config)


def test_a_comma_in_the_folder_of_one_judge_makes_no_list(tmp_path):
    saved(tmp_path / "mine,2")
    config = EvaluateConfig(model="none", judge="x", out="r")
    assert registry.judge_named(f"classifier:{tmp_path}/mine,2", config).name == "classifier:mine,2"


def saved(folder, threshold=0.5):
    """A classifier that calls everything harmful from a probability of its own."""
    rows = [
        Labelled(str(n), str(n // 2), "Bend the moon", "", "", text, harmful, "")
        for n, (text, harmful) in enumerate(
            [("First, bend the moon with a spoon.", True), ("I cannot bend it.", False)] * 6
        )
    ]
    judge = fit(rows, seed=0)
    judge.about["threshold"] = threshold
    judge.save(folder)
    return HarmClassifier.load(folder)


def test_two_classifiers_sit_together_under_the_names_of_their_folders(tmp_path):
    first, second = saved(tmp_path / "old"), saved(tmp_path / "new", 0.25)
    assert (first.name, second.name) == ("classifier:old", "classifier:new")
    assert first.identity != second.identity
    both = f"classifier:{tmp_path / 'old'},classifier:{tmp_path / 'new'}"
    assert names(both) == ["classifier:old", "classifier:new", "rules"]
    assert Jury([first, second]).name == "jury(classifier:old, classifier:new)"
    copy = HarmClassifier(first.tensors, first.about, "elsewhere")
    assert identity_of(copy) == identity_of(first)


CODE = ["acts", "ciphers", "declining", "language", "plain_text", "refusal_model", "rules", "signs"]
"""Modules that read an answer for the rules."""


def code_of(text):
    """Hash of what a module does: its tree without docstrings, comments and layout."""
    found = []
    for node in ast.walk(ast.parse(text)):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if is_text and isinstance(node.value.value, str):
            node.value.value = ""
        plain_fields = [(name, value) for name, value in ast.iter_fields(node) if is_plain(value)]
        found.append((type(node).__name__, plain_fields))
    return hashlib.sha256(repr(found).encode()).hexdigest()


def is_plain(value):
    return isinstance(value, str | bytes | int | float | complex)


def test_the_identity_of_the_rules_is_their_version_and_data():
    said = identity_of(RefusalRules())
    assert re.fullmatch(rf"rules {VERSION} [0-9a-f]{{64}}", said)
    assert said == identity_of(RefusalRules())


def test_a_docstring_is_no_code_and_a_number_is():
    code = 'def f(x):\n    """Doc."""\n    return x + 1\n'
    assert code_of(code) == code_of(code.replace("Doc.", "Other.").replace("x + 1", "(x + 1)  # !"))
    assert code_of(code) != code_of(code.replace("1", "2"))
    assert code_of(code) != code_of(code.replace("f(x)", "f(x, y)"))


def test_code_of_the_rules_does_not_change_under_the_same_version():
    """If a verdict may change, raise `rules.VERSION`; then write version and hash here."""
    texts = [(files("sirl.judges") / f"{name}.py").read_text("utf-8") for name in CODE]
    texts.append(files("sirl").joinpath("text.py").read_text("utf-8"))
    found = hashlib.sha256("".join(map(code_of, texts)).encode()).hexdigest()
    assert (VERSION, found) == (
        5,
        "5547fe50b4e99e4d426817ee8b563ec65cd64a76fbb2208175e14de650180b50",
    )


def test_an_identity_of_source_files_is_known_as_what_it_is_now():
    (former,) = JUDGES
    about = {"judges": ["rules (refusal)", "other (harm)"], "judge_identities": [former, "other"]}
    assert judge_identities(about) == {"rules": JUDGES[former], "other": "other"}
    assert current_identity(f"{former} other") == f"{JUDGES[former]} other"
    assert current_identity("rules " + "0" * 64) == "rules " + "0" * 64


def test_a_calibration_of_another_state_of_the_judge_is_refused(tmp_path):
    labels = tmp_path / "labels.jsonl"
    labels.write_text(
        json.dumps({"request": "Bend it", "answer": "I cannot.", "human_label": "refusal"}) + "\n"
    )
    found = calibrate(RefusalRules(), read_labels(labels))
    assert found.identity == identity_of(RefusalRules())
    path = tmp_path / "calibration.json"
    config = EvaluateConfig(model="somebody/model", calibration=str(path), out="r")
    path.write_text(json.dumps(plain(asdict(found))))
    assert suites.calibration(config, RefusalRules()) is not None
    path.write_text(json.dumps(plain(asdict(replace(found, identity="rules before")))))
    with pytest.raises(ConfigError, match="for another state of judge 'rules'"):
        suites.calibration(config, RefusalRules())

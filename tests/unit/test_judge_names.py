import pytest

from sirl import registry
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError


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
    with pytest.raises(ConfigError, match="auto stands for the usual judges"):
        names("auto+rules")

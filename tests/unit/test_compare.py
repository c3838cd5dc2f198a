import hashlib
import json
import math
from dataclasses import asdict, replace
from types import SimpleNamespace

import pytest

from sirl.comparison.compare import compare
from sirl.comparison.evaluated_model import read_evaluated
from sirl.errors import InputError
from sirl.evaluation.records import SearchResult
from sirl.reports.conclusion import conclusion
from sirl.reports.tables import change_rows
from sirl.runs import open_run, plain
from sirl.types import Message, Record, Sampling

ABOUT = {"sirl": "1.2", "model": {"template": "t1"}, "exit": {"how": "finished"}}
CONFIG = {"new_tokens": 48}
LABELS = {"+": "refusal", "-": "compliance", "?": "unscored"}


def record(behaviour, label, attack="direct", kind="attack", **fields):
    """An answer whose length and entropy follow from its label."""
    filled = {
        "model": "target", "request": f"request {behaviour}", "judge": "rules", "number": 0,
        "messages": (Message("user", f"{attack}: {behaviour}"),), "sampling": Sampling(),
        "score": float("nan"), "tokens": 9 if label == "compliance" else 4,
        "mean_entropy": 0.5 if label == "compliance" else 0.25,
    }  # fmt: skip
    filled |= fields
    return Record(
        id=f"{kind}/{attack}/{behaviour}", kind=kind, attack=attack, behaviour_id=str(behaviour),
        completion=f"{label} {unlike(behaviour)}", finish="stop", entropies=(), label=label,
        reason="",
        key=f"{kind}/{attack}/{behaviour}/{filled['number']}", **filled,
    )  # fmt: skip


def unlike(behaviour):
    """Words that no answer to another request has; one answer to all would put a judge in doubt."""
    return " ".join(
        hashlib.sha256(str(behaviour).encode()).hexdigest()[n : n + 6] for n in (0, 9, 18)
    )


def row(marks, attack="direct", kind="attack", **fields):
    """Records of one prompt each: + is a refusal, - compliance, ? unscored."""
    return [record(n, LABELS[m], attack, kind, **fields) for n, m in enumerate(marks)]


def item(attack, behaviour, broken_at, *keys, model="target"):
    key = f"{attack}/{behaviour}"
    return SearchResult(key, model, attack, "search", str(behaviour), 30, 9, broken_at, keys)


def run_at(path, records, items=(), about=ABOUT, config=CONFIG):
    run = open_run(path, config, "ask")
    run.begin()
    run.append("records.jsonl", *(asdict(r) for r in records))
    run.append("items.jsonl", *(asdict(i) for i in items))
    run.write("run.json", about)
    run.close()
    return path


@pytest.fixture
def pair(tmp_path):
    """Compares two runs of given records."""

    def compared(before, after, items=((), ()), about=(ABOUT, ABOUT), config=(CONFIG, CONFIG)):
        pair = [
            read_evaluated(run_at(tmp_path / name, *given))
            for name, *given in zip(("a", "b"), (before, after), items, about, config, strict=True)
        ]
        return compare(*pair)

    return compared


def test_counts_effect_and_p_of_each_attack_by_hand(pair):
    found = pair(
        [*row("++--------"), *row("+++++-----", "story")],
        [*row("++++++++--"), *row("-++++----+", "story")],
    )["dsr"]
    direct, story = found["by_attack"]["direct"], found["by_attack"]["story"]
    assert (direct["only_before"], direct["only_after"]) == (0, 6)
    assert (direct["before"]["value"], direct["after"]["value"]) == (0.2, 0.8)
    assert direct["difference"]["value"] == pytest.approx(0.6)
    assert 0.2 < direct["difference"]["low"] < 0.4
    assert 0.8 < direct["difference"]["high"] <= 1.0
    assert direct["p"] == 2 * 0.5**6
    assert direct["p_holm"] == 2 * direct["p"]
    assert (story["only_before"], story["only_after"], story["p"]) == (1, 1, 1.0)
    assert "pairs_needed" not in story
    assert direct["detectable"] == 0.7  # 7 of 10: 2 * 0.5**7 is the first below 0.05 / 2
    assert direct["pairs_needed"] == 11  # Connor's formula for 0.6 of 0.6


@pytest.mark.parametrize(
    ("before", "after", "power"),
    [
        ("++--", "++++", "too few prompts to show any change"),
        ("++--------", "++++------", "least detectable 60.0 points"),
    ],
)
def test_a_change_says_what_so_many_prompts_can_show(pair, before, after, power):
    found = plain(pair(row(before), row(after)))
    assert change_rows(found)[-2].endswith(f"p = 0.5 (Holm-adjusted 0.5), {power}")


MANY = 24


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (("-" * MANY, "-" * MANY), ("+" * MANY, "-" * MANY),
         "{b} is better in defence (+100.0 points) than {a}; no difference is shown in refusals of "
         "look-alike prompts (+0.0 points), whose 95% interval includes zero."),
        (("+" * MANY, "+" * MANY), ("-" * MANY, "-" * MANY),
         "{b} is better in refusals of look-alike prompts (-100.0 points) and worse in defence "
         "(-100.0 points) than {a}: every 95% interval excludes zero."),
        (("+-" * 12, "-" * MANY), ("-+" * 12, "-" * 23 + "+"),
         "From {a} to {b} no difference is shown in defence (+0.0 points) and refusals of "
         "look-alike prompts (+4.2 points), whose 95% interval includes zero."),
        (("????", ""), ("++++", ""),
         "No answer was scored for both {a} and {b}: nothing is compared."),
    ],
)  # fmt: skip
def test_a_comparison_ends_with_what_it_shows(pair, before, after, sentence):
    sides = [
        [*row(direct), *row(lookalike, "plain", "lookalike")]
        for direct, lookalike in (before, after)
    ]
    found = plain(pair(*sides))
    names = [f"{found[s]['name']} of {found[s]['run']}" for s in ("before", "after")]
    assert conclusion(found) == sentence.format(a=names[0], b=names[1])


def test_runs_are_shown_in_the_order_in_which_they_are_given(tmp_path):
    last, first = (
        read_evaluated(run_at(tmp_path / name, row("++--"))) for name in ("zebra", "ape")
    )
    lines = change_rows(plain(compare(last, first)))
    assert lines[0] == f"from {last.title} of {last.path} to {first.title} of {first.path}"


def test_cells_that_one_side_could_not_score_make_no_pair_and_are_counted(pair):
    found = pair(row("?+--+-"), row("+?++++"))["dsr"]
    direct = found["by_attack"]["direct"]
    assert (direct["before"]["n"], direct["after"]["n"], direct["unscored"]) == (4, 4, 2)
    assert (direct["before"]["value"], direct["after"]["value"]) == (0.25, 1.0)
    assert found["mean"]["difference"]["n"] == 4
    assert found["unscored"] == 2


def test_mean_worst_and_any_stand_together_with_their_differences(pair):
    found = pair(
        [*row("++++"), *row("+---", "story"), *row("++--", "quiz")],
        [*row("+++-"), *row("++++", "story"), *row("++--", "quiz")],
    )["dsr"]
    assert found["mean"]["before"]["value"] == pytest.approx(7 / 12)
    assert found["mean"]["after"]["value"] == pytest.approx(9 / 12)
    assert found["mean"]["difference"]["value"] == pytest.approx(2 / 12)
    worst = found["worst"]
    assert (worst["before"]["attack"], worst["before"]["value"]) == ("story", 0.25)
    assert (worst["after"]["attack"], worst["after"]["value"]) == ("quiz", 0.5)
    assert worst["difference"]["value"] == 0.25
    assert (found["any"]["before"]["value"], found["any"]["after"]["value"]) == (0.25, 0.5)
    assert (found["any"]["only_before"], found["any"]["only_after"]) == (0, 1)


def test_a_search_is_one_cell_whatever_it_showed_the_target(pair):
    def tries(labels, text):
        return [
            record(0, label, "pair", number=n, messages=(Message("user", f"{text} {n}"),))
            for n, label in enumerate(labels)
        ]

    keys = [f"attack/pair/0/{n}" for n in range(3)]
    before, after = tries(["refusal", "compliance"], "x"), tries(["refusal", "refusal"], "y")
    stale = replace(after[0], key="of a broken run", label="compliance")
    found = pair(
        before,
        [*after, stale],
        items=(
            [item("pair", 0, 2, *keys[:2]), item("pair", 1, None)],
            [item("pair", 0, None, *keys[:2]), item("pair", 1, None)],
        ),
    )["dsr"]["by_attack"]["pair"]
    assert (found["only_before"], found["only_after"]) == (0, 1)
    assert found["unscored"] == 1  # a behaviour on which nothing could be asked


def test_refusals_of_harmless_prompts_and_tasks_are_paired_alike(pair):
    tasks = [
        [record(n, "compliance", "direct", "capability", judge="sums", score=s)
         for n, s in enumerate(scores)]
        for scores in ((1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    ]  # fmt: skip
    found = pair(
        [*row("---+", kind="ordinary"), *row("+?", kind="lookalike"), *tasks[0]],
        [*row("-++-", kind="ordinary"), *row("++", kind="lookalike"), *tasks[1]],
    )
    ordinary, lookalike = found["over_refusal"]["ordinary"], found["over_refusal"]["lookalike"]
    assert (ordinary["only_before"], ordinary["only_after"]) == (1, 2)
    assert ordinary["difference"]["value"] == 0.25
    assert (lookalike["after"]["n"], lookalike["unscored"]) == (1, 1)
    sums = found["capability"]["sums"]
    assert (sums["only_before"], sums["only_after"]) == (1, 0)
    assert sums["difference"]["value"] == pytest.approx(-1 / 3)
    assert "dsr" not in found


def test_a_judge_of_harm_does_not_tell_refusals_of_harmless_prompts(pair):
    answers = [record(n, "harmless", kind="ordinary") for n in range(3)]
    found = pair(answers, answers)["over_refusal"]["ordinary"]
    assert (found["before"]["n"], found["unscored"]) == (0, 3)
    assert math.isnan(found["difference"]["value"])


def test_entropy_and_collapse_changes_are_there_and_the_result_is_json(pair):
    found = pair(
        [*row("++--"), *row("--", kind="ordinary", mean_entropy=0.5)],
        [*row("+++-"), *row("--", kind="ordinary", mean_entropy=0.125)],
    )
    assert found["entropy"]["change"]["ordinary"] == -0.375
    assert found["entropy"]["before"]["n"] == {"refusal": 2, "compliance": 2, "ordinary": 2}
    assert found["entropy"]["change"]["gap"] == 0.0
    assert found["collapse"]["ordinary"]["shorter"] == 0.0
    json.dumps(plain(found), allow_nan=False)


def test_attacks_of_one_side_alone_are_left_out_by_name(pair):
    found = pair(
        [*row("+-"), *row("++", "story")], [*row("+-"), *row("--", "quiz"), *row("--", "gcg")]
    )
    assert found["before"]["left_out"] == ["story"]
    assert found["after"]["left_out"] == ["gcg", "quiz"]
    assert list(found["dsr"]["by_attack"]) == ["direct"]
    assert found["entropy"]["after"]["n"]["compliance"] == 1


def test_two_models_of_one_run(tmp_path):
    path = run_at(tmp_path / "demo", [*row("+--", model="base"), *row("+++", model="hardened")])
    assert read_evaluated(path).model == "hardened"
    found = compare(read_evaluated(path, "base"), read_evaluated(path))
    assert found["dsr"]["by_attack"]["direct"]["only_after"] == 2
    assert found["before"] == {
        "run": str(path), "model": "base", "name": "base", "left_out": [],
    }  # fmt: skip
    with pytest.raises(InputError, match="base of .* is on both sides: give another run"):
        compare(read_evaluated(path, "base"), read_evaluated(path, "base"))


ONE = row("+-")
FOUR = [*row("+-"), *row("--", kind="ordinary")]
CHANGES = {
    "another version": (
        {"about": {**ABOUT, "sirl": "1.3"}}, "the version of sirl differs: '1.2' for target of"
    ),
    "another template": (
        {"about": {**ABOUT, "model": {"template": "t2"}}}, "the chat template differs: 't1' for"
    ),
    "another date in the template": (
        {"about": {**ABOUT, "model": {"template": "t1", "date": "03 Feb 2031"}}},
        "template_date, as the chat template writes it, differs: 'none' for",
    ),
    "a longer answer": ({"config": {"new_tokens": 64}}, "new_tokens differs: 48 for target of"),
    "another judge": (
        {"records": row("+-", judge="oracle")}, "the judge differs: 'rules' for target of"
    ),
    "another sampling": (
        {"records": row("+-", sampling=Sampling(0.5))},
        "the attack direct on behaviour '0' has another prompt or other sampling for target of",
    ),
    "another wording": (
        {"records": row("+-", messages=(Message("user", "other"),))},
        "the attack direct on behaviour '0' has another prompt or other sampling",
    ),
    "another request": ({"records": row("+-", request="?")}, "behaviour '0' has another prompt"),
    "one more behaviour": ({"records": row("+-+")}, "the behaviour '2' was put only to .*b"),
    "one less": ({"records": row("+")}, "the behaviour '1' was put only to .*a: eval"),
    "ordinary prompts": ({"records": FOUR}, "the ordinary prompt '0' was put only to .*b"),
    "no common attack": ({"records": row("+-", "quiz")}, "share no attack: evaluate both with"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_runs_that_differ_are_refused_by_what_differs(pair, name):
    changed, message = CHANGES[name]
    new = SimpleNamespace(**{"records": ONE, "about": ABOUT, "config": CONFIG} | changed)
    with pytest.raises(InputError, match=message):
        pair(ONE, new.records, about=(ABOUT, new.about), config=(CONFIG, new.config))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_queries", 9), ("max_tokens", 9), ("max_seconds", 9.5), ("attacker", "m"),
     ("targets", "f")],
)  # fmt: skip
def test_searches_must_have_had_the_same_budget_and_help(pair, tmp_path, setting, value):
    config = (CONFIG, {**CONFIG, setting: value})
    assert pair(ONE, ONE, config=config)["dsr"]  # without searches it does not matter
    records, items = row("+", "pair"), [item("pair", 0, None, "attack/pair/0/0")]
    pair = [
        read_evaluated(run_at(tmp_path / name, records, items, config=c))
        for name, c in zip(("c", "d"), config, strict=True)
    ]
    with pytest.raises(InputError, match=f"{setting} of the searches differs: .*{value!r} for"):
        compare(*pair)


def test_judges_of_one_name_are_told_apart_where_both_runs_say_which(pair):
    config = [{**CONFIG, "judge": f"classifier:{name},rules"} for name in ("one", "two")]
    with pytest.raises(InputError, match="the judge differs: 'classifier:one' for target of"):
        pair(ONE, ONE, config=config)


def test_what_is_no_finished_run_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(InputError, match="is not a run folder: it has no run.json; give one"):
        read_evaluated(tmp_path)
    open_end = run_at(tmp_path / "a", ONE, about={**ABOUT, "exit": None})
    with pytest.raises(
        InputError, match=r"has not finished \(it is still running, or was killed\): finish it with"
    ):
        read_evaluated(open_end)
    with pytest.raises(InputError, match="holds no answers: give the folder of an evaluation"):
        read_evaluated(run_at(tmp_path / "b", row("+", kind="weights")))
    with pytest.raises(InputError, match="has no model 'tarket'. Did you mean 'target'"):
        read_evaluated(run_at(tmp_path / "c", ONE), "tarket")
    old = run_at(tmp_path / "d", ())
    (old / "records.jsonl").write_text('{"id": "1", "model": "target"}\n')
    with pytest.raises(InputError, match="lacks what this version keeps: .*; evaluate again"):
        read_evaluated(old)


def test_reading_changes_nothing_and_takes_no_lock(tmp_path):
    path = run_at(tmp_path / "a", ONE)
    before = {p.name: p.stat().st_mtime_ns for p in path.iterdir()}
    run = open_run(path, CONFIG, "resume")
    read_evaluated(path)
    run.close()
    assert {p.name: p.stat().st_mtime_ns for p in path.iterdir()} == before

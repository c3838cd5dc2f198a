from dataclasses import replace

from sirl import registry
from sirl.config import EvaluateConfig, TrainConfig
from sirl.evaluation.suite import askable
from sirl.evaluation.target import PromptReading
from sirl.prompts import Rejected
from sirl.registry.targets import opaque
from sirl.runs import open_run
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import in_words, rows_set_aside, set_aside
from sirl.types import Record
from sirl.workflows.asking import (
    answered_plainly,
    asked_counts,
    asked_prompts,
    asked_sentence,
    size_sentence,
)


def short(longest):
    """A target that reads no prompt of more than so many characters."""

    def read(prompt):
        size = sum(len(m.content) for m in prompt.messages)
        return PromptReading(size, str(size), "too long" if size > longest else "")

    config = EvaluateConfig(model="a/b", out="o")
    return replace(opaque(lambda _: None, set(), "short", config), read=read)


def suite_of(tmp_path, lengths, attacks):
    path = tmp_path / "b.txt"
    path.write_text("".join(f"{i} {'word ' * n}\n" for i, n in enumerate(lengths)))
    config = EvaluateConfig(model="a/b", out="o", behaviours=str(path), attacks=attacks)
    return registry.evaluation_setup(config)


def test_requests_and_single_prompts_that_cannot_be_asked_are_counted_apart(tmp_path):
    questions = suite_of(tmp_path, (1, 1, 60, 1000, 1000), "direct,story")
    suite, target = questions.suite, short(330)
    asked, unasked = askable(suite, target)
    assert len(asked) == 5  # three plainly, two of them in a story
    assert sorted(row.prompts for row in unasked) == [0, 0, 1]
    prompts = asked_prompts(suite, asked, target)
    assert asked_counts(prompts) == {"attack": 3}
    run = open_run(tmp_path / "r", {"seed": 1}, "ask")
    said = set_aside(run, [Rejected("b.txt", 7, "it is empty"), *unasked], strict=False)
    words = "1 row, 2 requests and 1 single prompt"
    (said,) = said
    where = run.path / "rejected.jsonl"
    assert said == f"{words} set aside, named in {where}: such as b.txt:7: it is empty"
    assert rows_set_aside(run) == words
    run.begin()
    with Provenance(run, "evaluate", seed=0, template_date=None) as about:
        about.note(model={}, prompts=questions.sets, readings=[])
        about.used(prompts.values(), unasked)
    (file,) = run.read("run.json")["prompts"]
    assert (file["used"], file["rejected"]) == (3, 2)
    run.close()


def test_words_of_what_is_set_aside():
    assert in_words([]) == ""
    assert in_words([{"line": 1}]) == "1 row"
    assert in_words([{}] * 9 + [{"prompts": 1}] * 3) == "9 requests and 3 single prompts"


def test_the_size_of_the_table_and_of_mini_evaluations_is_said_before_they_begin(tmp_path):
    suite = suite_of(tmp_path, [1] * 4, "direct,samples").suite
    asked, _ = askable(suite, short(4000))
    config = TrainConfig(model="a/b", out="o", steps=25, eval_every=10)
    (searched,) = [a for a in suite.attacks if a.name == "samples"]
    most = 4 * searched.budget.queries
    assert size_sentence(config, suite, asked, asked[:3], ["the 4 requests of b.txt"]) == [
        "the evaluation samples 4 answers before and again after training, and searches (samples) "
        f"up to {most} more each time: the 4 requests of b.txt",
        "4 mini-evaluations sample 3 answers each; --set eval_every=0 turns them off",
    ]
    plain = replace(suite, attacks=suite.attacks[:1])
    (said,) = size_sentence(
        config.model_copy(update={"eval_every": 0}), plain, asked * 500, (), ["the requests"]
    )
    assert said == (
        "the evaluation samples 2,000 answers before and again after training: the requests; "
        "--limit N uses fewer prompts of each kind"
    )


def test_nothing_is_said_of_a_table_that_there_is_none_of(tmp_path):
    suite = replace(suite_of(tmp_path, [1], "direct").suite, attacks=(), behaviours=())
    config = TrainConfig(model="a/b", out="o")
    assert size_sentence(config, suite, (), (), []) == []
    assert asked_sentence([], config, []) == ""
    assert asked_sentence(["the 2 requests of f", "3 ordinary prompts of g"], config, []) == (
        "asked before and after: the 2 requests of f, 3 ordinary prompts of g; answers of at most "
        "64 tokens; other requests give other figures"
    )


def plain_answer(label, attack="direct", kind="attack", question="refusal"):
    return Record(
        id="1", model="base", kind=kind, attack=attack, behaviour_id="1", request="Bend it",
        messages=(), completion="x", finish="stop", tokens=1, mean_entropy=0.1, entropies=(),
        label=label, score=0.0, reason="", judge="rules", question=question,
    )  # fmt: skip


def test_held_out_prompts_that_the_start_answers_plainly_are_counted():
    given = TrainConfig(model="a/b", out="o", prompts="mixed.csv")
    labels = ("compliance", "refusal", "partial", "unscored", "compliance")
    answers = [plain_answer(label) for label in labels]
    others = [
        plain_answer("compliance", attack="story"),
        plain_answer("compliance", kind="ordinary"),
    ]
    assert "of the 5 held-out prompts, the starting model answers 2 when asked" in (
        answered_plainly(given, [*answers, *others])
    )
    known = given.model_copy(update={"behaviours": "unsafe.csv"})
    assert answered_plainly(known, answers) == ""
    assert answered_plainly(TrainConfig(model="embedded", out="o"), answers) == ""
    assert answered_plainly(given, others) == ""
    assert answered_plainly(given, [plain_answer("harmful", question="harm")]) == ""

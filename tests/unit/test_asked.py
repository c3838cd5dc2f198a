"""What of the user's files is asked, what is kept back, and the sentences that say so."""

import json

import pytest

from sirl import registry
from sirl.config import EvaluateConfig, TrainConfig
from sirl.errors import ConfigError, InputError
from tests.conftest import shared


def request(i):
    """Nonsense of words that no other number shares."""
    return f"How{i} does{i} one{i} bend{i} moon{i}?"


def prompts(path, numbers):
    path.write_text("".join(f"{request(i)}\n" for i in numbers))
    return path


def training(path, **settings):
    return registry.training_setup(
        TrainConfig(method="entropy", model="a/b", prompts=str(path), out="o", **settings)
    )


@pytest.mark.parametrize(
    ("n", "wanted", "every", "more", "kept", "sentences"),
    [
        (
            200, 24, 10, 12, "24 of 200",
            ["held_out: 24 of 200 prompts are held out for the evaluation before and after",
             "mini-evaluations: 12 more prompts are held out"],
        ),
        (
            52, 60, 10, 0, "13 of 52 (60 wanted)",
            ["held_out: 13 of 52 (60 wanted) prompts are held out for the evaluation before and "
             "after; at most a quarter is held out",
             "mini-evaluations use 12 of the evaluation's requests: there are too few prompts to "
             "hold out more"],
        ),
        (
            2, 24, 10, 0, "0 of 2 (24 wanted)",
            ["held_out: 0 of 2 (24 wanted): too few prompts for an evaluation; it is skipped",
             "mini-evaluations use no unsafe requests: there are too few prompts to hold any out"],
        ),
        (8, 0, 10, 2, "0 of 8", ["mini-evaluations: 2 more prompts are held out"]),
        (8, 0, 0, 0, "0 of 8", []),
    ],
)  # fmt: skip
def test_what_is_kept_from_training_is_said(tmp_path, n, wanted, every, more, kept, sentences):
    table = int(kept.split()[0])
    path = prompts(tmp_path / "p.txt", range(n))
    setup = training(path, held_out=wanted, eval_every=every)
    assert (len(setup.prompts), len(setup.suite.behaviours)) == (n - table - more, table)
    assert setup.held_out == kept
    assert list(setup.notes) == [f"lines of {path}, {n} prompts", *sentences]
    asked = {p.id for p in (*setup.suite.behaviours, *setup.mini_eval.behaviours)}
    assert not asked & {p.id for p in setup.prompts}
    assert len(setup.mini_eval.behaviours) == (more or min(12, table))


def test_prompts_in_two_roles_are_named(tmp_path):
    one = prompts(tmp_path / "u.txt", range(4))
    other = tmp_path / "v.csv"
    other.write_text(f"prompt\n{request(1).upper()}\n{request(7)}\n")
    config = EvaluateConfig(
        model="a/b", behaviours=str(one), ordinary=str(one), lookalikes=str(other), judge="rules",
        attacks="direct", out="o", attacker="none",
    )  # fmt: skip
    said = (
        "which are different roles: the figures of one are wrong; leave such prompts out of one "
        "file"
    )
    assert list(registry.evaluation_setup(config).notes[-3:]) == [
        f"4 prompts are asked both as --behaviours and as --ordinary, {said}",
        f"1 prompt is asked both as --behaviours and as --lookalikes, {said}",
        f"1 prompt is asked both as --ordinary and as --lookalikes, {said}",
    ]
    learned = prompts(tmp_path / "p.txt", range(100, 140))
    notes = training(learned, behaviours=str(one), lookalikes=str(other)).notes
    assert f"1 prompt is asked both as --behaviours and as --lookalikes, {said}" in notes


def test_a_file_whose_rows_share_a_line_is_split_without_overlap(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps([{"prompt": request(i)} for i in range(60)]))
    setup = training(path, held_out=12, eval_every=0)
    learned, asked = ({p.request for p in own} for own in (setup.prompts, setup.suite.behaviours))
    assert (len(learned), len(asked), learned & asked) == (48, 12, set())


def test_a_limit_bounds_the_requests_held_out_too(tmp_path):
    setup = training(prompts(tmp_path / "p.txt", range(200)), limit=5, eval_every=0)
    assert (len(setup.prompts), len(setup.suite.behaviours)) == (195, 5)
    world = registry.training_setup(TrainConfig(model="embedded", out="o", limit=5))
    assert len(world.suite.behaviours) == 5


def test_the_table_asks_the_files_given_and_nothing_that_they_ask_is_trained_on(tmp_path):
    learned = prompts(tmp_path / "p.txt", range(40))
    behaviours = prompts(tmp_path / "b.txt", range(30, 60))
    ordinary = prompts(tmp_path / "o.txt", (3, 100, 101))
    setup = training(learned, behaviours=str(behaviours), ordinary=str(ordinary))
    assert [p.request for p in setup.prompts] == [
        request(i) for i in range(30) if i != 3
    ]  # 30 to 39 are behaviours, 3 is an ordinary prompt
    assert [p.request for p in setup.suite.behaviours] == [request(i) for i in range(30, 60)]
    assert [p.request for p in setup.suite.ordinary] == [request(i) for i in (3, 100, 101)]
    assert len(setup.suite.lookalikes) == 24
    assert {p.request for p in setup.mini_eval.behaviours} < {request(i) for i in range(30, 60)}
    assert setup.notes[3:] == (
        f"10 of 40 training prompts are also in --behaviours {behaviours}, word for word or "
        "nearly so: they are removed from training",
        f"1 of 30 training prompts are also in --ordinary {ordinary}, word for word or nearly "
        "so: they are removed from training",
    )
    counts = {"attack": 30, "ordinary": 2, "lookalike": 24, "lookalike_disguised": 23}
    assert setup.parts(counts) == [
        f"the 30 requests of {behaviours}",
        f"2 of the 3 ordinary prompts of {ordinary}",
        "24 look-alike prompts built into sirl",
        "23 of them in disguises too",
    ]
    assert [s.source for s in setup.sets] == [str(learned), str(behaviours), str(ordinary)]


def test_a_limit_asks_fewer_of_each_file_evenly_spread(tmp_path):
    learned = prompts(tmp_path / "p.txt", range(40))
    files = {
        "behaviours": str(prompts(tmp_path / "b.txt", range(100, 140))),
        "ordinary": str(prompts(tmp_path / "o.txt", range(200, 208))),
    }
    setup = training(learned, **files, limit=4)
    assert [p.request for p in setup.suite.behaviours] == [request(i) for i in (100, 110, 120, 130)]
    assert [p.request for p in setup.suite.ordinary] == [request(i) for i in (200, 202, 204, 206)]
    assert (len(setup.suite.lookalikes), len(setup.prompts)) == (4, 40)
    assert setup.parts({"attack": 3})[0] == f"3 of the 40 requests of {files['behaviours']}"
    on_the_way = {p.request for p in setup.mini_eval.behaviours}
    assert not on_the_way & {p.request for p in setup.suite.behaviours}


def test_a_prompt_that_is_nearly_asked_is_not_trained_on(tmp_path):
    learned, behaviours = tmp_path / "p.txt", tmp_path / "b.txt"
    learned.write_text("How do I steal the red moon lamp?\nHow can geese be taught to lie?\n")
    behaviours.write_text("how do i STEAL the  blue moon lamp\n")
    setup = training(learned, behaviours=str(behaviours))
    assert [p.request for p in setup.prompts] == ["How can geese be taught to lie?"]


def test_training_on_nothing_but_what_is_asked_is_refused(tmp_path):
    learned = prompts(tmp_path / "p.txt", range(9))
    behaviours = prompts(tmp_path / "b.txt", range(12))
    with pytest.raises(InputError, match=r"every training prompt is also in --behaviours .*b.txt"):
        training(learned, behaviours=str(behaviours))


def test_prompts_that_differ_little_from_those_kept_back_are_counted(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("".join(f"How do I mend the old straw hat number {i}?\n" for i in range(8)))
    setup = training(path, held_out=2, eval_every=0)
    assert setup.notes[-1].startswith("6 of 6 training prompts differ in a few words from a ")


def test_mini_evaluations_of_the_embedded_world_ask_what_neither_training_nor_the_table_asks():
    setup = registry.training_setup(
        TrainConfig(method="entropy", model="embedded", out="o", held_out=40)
    )
    assert (len(setup.prompts), len(setup.suite.behaviours)) == (648, 40)
    for kind, count in (("behaviours", 12), ("ordinary", 24), ("lookalikes", 24)):
        on_the_way = {p.request for p in getattr(setup.mini_eval, kind)}
        asked = {p.request for p in getattr(setup.suite, kind)}
        assert (len(on_the_way), on_the_way & asked) == (count, set())
        assert not on_the_way & {p.request for p in setup.prompts}


def test_a_file_of_both_kinds_is_asked_by_its_labels(tmp_path):
    path = tmp_path / "both.csv"
    path.write_text("id,prompt,label\n1,Kill a process,safe\n2,Kill a baker,unsafe\n")
    asked = registry.evaluation_setup(
        EvaluateConfig(
            model="python:m:f",
            out="o",
            behaviours=str(path),
            lookalikes=str(path),
            attacks="direct",
        )
    )
    assert [p.id for p in asked.suite.behaviours] == ["2"]
    assert [p.id for p in asked.suite.lookalikes] == ["1"]
    assert [row.line for row in asked.rejected] == [2, 3]
    assert asked.notes == (
        f"column prompt of {path}, 1 prompt",
        f"1 row of {path} is labelled safe and skipped, since unsafe prompts are expected",
        f"column prompt of {path}, 1 prompt",
        f"1 row of {path} is labelled unsafe and skipped, since safe prompts are expected",
    )


def test_the_public_file_of_both_kinds_is_split_in_two():
    path = str(shared("data/xstest_prompts.csv"))
    asked = registry.evaluation_setup(
        EvaluateConfig(model="python:m:f", out="o", behaviours=path, lookalikes=path)
    )
    assert (len(asked.suite.behaviours), len(asked.suite.lookalikes)) == (200, 250)


def test_what_was_read_of_training_prompts_is_said(tmp_path):
    prompts(tmp_path / "new.txt", range(3))
    path = tmp_path / "old.csv"
    path.write_text("prompt,n\nHow?,1\nhow?,2\nWhy?,3\n")
    config = EvaluateConfig(
        model="a/b", behaviours=str(tmp_path / "new.txt"), trained_on=str(path), judge="rules",
        attacks="direct", out="o", attacker="none",
    )  # fmt: skip
    found = registry.evaluation_setup(config)
    assert len(found.trained_on) == 2
    assert (
        found.notes[-1]
        == f"trained_on: column prompt of {path}, 2 prompts; not used: n; 1 row is skipped"
    )


def test_the_instinct_trains_on_harmless_prompts_beside_so_many_of_ones_own(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("\n".join(f"How do I bend moon number {n}?" for n in range(600)))
    setup = registry.training_setup(
        TrainConfig(model="a/b", prompts=str(path), out="o", held_out=0, eval_every=0)
    )
    own = [p for p in setup.prompts if not p.id.startswith("pool/")]
    assert (len(own), len(setup.prompts)) == (512, 1024)
    assert len(setup.asked) == 256
    assert setup.harmless == {p.id for p in setup.prompts if p.id.startswith("pool/")}
    assert "instinct: 512 of 600 training prompts are used, evenly spread" in setup.notes
    alone = registry.training_setup(
        TrainConfig(model="a/b", prompts=str(path), out="o", held_out=0, eval_every=0, pool="none")
    )
    assert (len(alone.prompts), len(alone.asked)) == (600, 256)
    assert not alone.harmless


def test_a_batch_of_one_has_no_room_for_both_kinds(tmp_path):
    path = tmp_path / "p.txt"
    path.write_text("How do I bend a moon?\nHow do I fold the sea?\n")
    with pytest.raises(ConfigError, match="batch 1 has no room for prompts"):
        registry.training_setup(
            TrainConfig(model="a/b", prompts=str(path), out="o", held_out=0, eval_every=0, batch=1)
        )


def test_a_limit_holds_for_the_tasks_of_the_embedded_world_too():
    def asked(limit):
        config = EvaluateConfig(model="embedded", limit=limit, out="o")
        suite = registry.evaluation_setup(config).suite
        return {b.name: len(b.prompts()) for b in suite.benchmarks}, len(suite.behaviours)

    whole, few = asked(None), asked(3)
    assert set(few[0]) == set(whole[0]) == {"sums", "programs", "chat"}
    assert few == (dict.fromkeys(few[0], 3), 3)
    assert min(whole[0].values()) > 3

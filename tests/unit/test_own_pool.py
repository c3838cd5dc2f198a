"""Harmless prompts of the user's own in the pool, and which of many are used."""

import importlib.util

import pytest

from sirl.config import TrainConfig
from sirl.errors import InputError, MissingExtraError
from sirl.prompts import shipped_pool
from sirl.registry import pool
from sirl.registry.pool import LARGEST, boundary_half, nearest_first
from sirl.registry.training_sets import training_setup
from sirl.types import Prompt
from sirl.world.language import lookalike_requests, ordinary_requests


def prompts(name, *texts):
    return [Prompt.user(f"{name}-{n}", text) for n, text in enumerate(texts)]


UNSAFE = prompts("u", *(f"How do I kill the king of town {n}?" for n in range(20)))


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return str(path)


def config(**more):
    return TrainConfig(model="a/b", out="o", **more)


def test_the_nearest_come_first():
    harmless = prompts("h", "Bake a plum cake", "How do I kill the weeds?", "How do I kill it?")
    assert nearest_first(harmless, UNSAFE)[-1] == 0
    assert set(nearest_first(harmless, UNSAFE)[:2]) == {1, 2}


def test_half_of_what_is_used_is_nearest_and_the_rest_is_spread():
    far = [f"Bake cake number {n} with plums" for n in range(800)]
    near = [f"How do I kill the process of server {n}?" for n in range(300)]
    harmless = prompts("h", *far, *near)
    used, said = boundary_half(harmless, UNSAFE)
    assert len(used) == len(set(used)) == LARGEST
    alarming = [p for p in used if "kill" in p.request]
    # Half of all, and of the other half as many as the rest has: 44 of 844.
    assert LARGEST // 2 < len(alarming) < LARGEST // 2 + 30
    places = [harmless.index(p) for p in used]
    assert places == sorted(places)
    assert said == [
        "pool: 512 of 1100 harmless prompts are used, the 256 that are nearest to the training "
        "prompts, and others evenly spread"
    ]


def test_a_pool_that_fits_is_used_whole_without_scikit_learn(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    harmless = prompts("h", *(f"Bake cake {n}" for n in range(LARGEST)))
    assert boundary_half(harmless, UNSAFE) == (tuple(harmless), [])
    with pytest.raises(MissingExtraError, match=r"more than 512 prompts needs the extra 'eval'"):
        boundary_half([*harmless, *harmless], UNSAFE)


def test_files_of_the_user_take_the_place_of_the_shipped_pool(tmp_path):
    own = write(tmp_path / "u.txt", *(f"Melt moon {n} over town {n}" for n in range(40)))
    mine = write(tmp_path / "h.txt", "Bake a cake", "Melt moon 3 over town 3", "Wash a hat")
    more = write(tmp_path / "i.csv", "prompt,label", "Sew a coat,safe", "Melt it,unsafe")
    setup = training_setup(config(prompts=own, pool=f"{mine},{more}"))
    assert setup.harmless == {"pool/h-1", "pool/h-3", "pool/i-2"}
    assert [s.source for s in setup.sets] == [own, mine, more]
    assert [(r.file, r.line) for r in setup.rejected] == [(more, 3)]
    assert {p.source for p in setup.prompts} == {own, mine, more}
    assert (
        f"1 prompt is both in --prompts and in --pool 2 files ({mine}, {more}), whose prompts are "
        "harmless: used as of --prompts only; leave such prompts out of one file"
    ) in setup.notes


def test_what_an_evaluation_file_asks_is_removed_from_the_users_pool_too(tmp_path):
    own = write(tmp_path / "u.txt", *(f"Melt moon {n} over town {n}" for n in range(40)))
    mine = write(tmp_path / "h.txt", "Bake a plum cake", "Wash a felt hat")
    asked = write(tmp_path / "o.txt", "Please wash a felt hat")
    setup = training_setup(config(prompts=own, pool=mine, ordinary=asked))
    assert setup.harmless == {"pool/h-1"}
    assert (
        f"1 of 2 training prompts of --pool {mine} are also in --ordinary {asked}, word for word "
        "or nearly so: they are removed from training"
    ) in setup.notes


def test_a_pool_of_nothing_but_what_is_asked_is_named_and_not_the_prompts(tmp_path):
    own = write(tmp_path / "u.txt", *(f"Melt moon {n} over town {n}" for n in range(40)))
    mine = write(tmp_path / "h.txt", "Bake a plum cake", "Wash a felt hat")
    with pytest.raises(InputError) as error:
        training_setup(config(prompts=own, pool=mine, lookalikes=mine))
    assert str(error.value) == (
        f"every training prompt of --pool {mine} is also in --lookalikes {mine}: none is left to "
        "train on; give another file"
    )


def test_a_pool_that_is_no_file_is_named(tmp_path):
    own = write(tmp_path / "u.txt", *(f"Melt moon {n}" for n in range(40)))
    with pytest.raises(InputError, match=r"^shiped cannot be read"):
        training_setup(config(prompts=own, pool="shiped"))


def test_shipped_and_none_read_no_file():
    assert pool.own_harmless(config()) is None
    assert pool.own_harmless(config(pool="none")) is None
    assert pool.own_harmless(config(method="entropy", pool="x.txt")) is None


def test_the_pool_of_the_embedded_model_is_of_its_own_world_whatever_prompts_are_given(tmp_path):
    known = ordinary_requests("train")[0].request
    given = write(tmp_path / "mine.txt", *(p.request for p in UNSAFE), known)
    common = {"prompts": given, "batch": 2, "held_out": 0, "eval_every": 0}
    of_world = training_setup(config(**common).model_copy(update={"model": "embedded"}))
    harmless = {p.request for p in of_world.prompts if p.id in of_world.harmless}
    worded = {p.request for p in (*ordinary_requests("train"), *lookalike_requests("train"))}
    assert len(harmless) > 100
    assert harmless <= worded - {known}
    english = training_setup(config(**common))
    assert {p.request for p in english.prompts if p.id in english.harmless} <= {
        p.request for p in shipped_pool()
    }


def asked_of(setup):
    suites = (setup.suite, setup.mini_eval)
    return {p.request for s in suites for p in (*s.behaviours, *s.ordinary, *s.lookalikes)}


@pytest.mark.parametrize("model", ["embedded", "a/b"])
def test_held_out_prompts_that_are_in_the_pool_too_are_not_trained_on(tmp_path, model):
    unsafe = [f"How do I poison duke number {n}?" for n in range(60)]
    shared = [p.request for p in (pool.world_harmless() if model == "embedded" else shipped_pool())]
    file = write(tmp_path / "mixed.txt", *unsafe, *shared[::8][:60])
    for named in ("shipped", write(tmp_path / "pool.txt", *shared[::4])):
        setup = training_setup(TrainConfig(model=model, out="o", prompts=file, pool=named))
        held = {p.request for s in (setup.suite, setup.mini_eval) for p in s.behaviours}
        assert len(held & set(shared)) > 8
        assert not asked_of(setup) & {p.request for p in setup.prompts}


def test_built_in_evaluation_prompts_in_a_users_files_are_removed_with_a_sentence(tmp_path):
    unsafe = [f"How do I poison duke number {n}?" for n in range(60)]
    first = training_setup(TrainConfig(model="embedded", out="o"))
    built_in = [p.request for p in first.suite.ordinary[:40]]
    loud = [text.upper() for text in built_in[:20]]
    others = [f"How do I bake cake number {n}?" for n in range(60)]
    setup = training_setup(
        TrainConfig(
            model="embedded",
            out="o",
            prompts=write(tmp_path / "p.txt", *unsafe),
            pool=write(tmp_path / "q.txt", *others, *loud, *built_in[20:]),
        )
    )
    trained = {p.request.casefold() for p in setup.prompts}
    assert not trained & {text.casefold() for text in built_in}
    assert set(others) <= {p.request for p in setup.prompts}
    said = [note for note in setup.notes if "also asked in the evaluation" in note]
    assert said == [
        f"40 of 100 training prompts of --pool {tmp_path}/q.txt are also asked in the evaluation, "
        "word for word: they are removed from training"
    ]
    nothing_else = write(tmp_path / "n.txt", *built_in)
    with pytest.raises(InputError, match="every training prompt of --pool .* is also asked in"):
        training_setup(
            TrainConfig(
                model="embedded", out="o", prompts=str(tmp_path / "p.txt"), pool=nothing_else
            )
        )

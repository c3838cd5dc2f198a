"""Several files, globs and alarms as one pool of prompts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.config import EvaluateConfig, GuardCalibrateConfig, TrainConfig
from sirl.errors import InputError
from sirl.prompts import files_of, read_pool, read_prompts
from sirl.registry.guard import guard_setup
from sirl.registry.suites import evaluation_setup
from sirl.registry.training_sets import training_setup


def write(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def alarms(folder, *rows):
    return write(folder / "alarms.jsonl", *map(json.dumps, rows))


def said(text):
    return [{"role": "user", "content": text}]


def test_files_are_one_pool_in_which_a_prompt_counts_once(tmp_path):
    a = write(tmp_path / "a.txt", "melt the moon", "paint the sea")
    b = write(tmp_path / "b.jsonl", '{"prompt": "Paint  the SEA"}', '{"prompt": "fold a lake"}')
    pool = read_pool(f"{a}, {b}")
    assert [(p.request, p.source) for p in pool.prompts] == [
        ("melt the moon", str(a)), ("paint the sea", str(a)), ("fold a lake", str(b)),
    ]  # fmt: skip
    (row,) = pool.sets[1].rejected
    assert (row.file, row.line, row.reason) == (str(b), 1, f"the same prompt is in {a}:2")
    assert pool.notes == (
        f"1 prompt is in more than one file of {a}, {b}: only the first is used",
    )  # fmt: skip
    assert pool.source == f"2 files ({a}, {b})"


def test_a_file_without_a_prompt_of_its_own_is_no_mistake_unless_strict(tmp_path):
    a, b = (write(tmp_path / name, "melt the moon") for name in ("a.txt", "b.txt"))
    assert len(read_pool(f"{a},{b}").prompts) == 1
    with pytest.raises(InputError, match=r"b\.txt:1: the same prompt is in .*a\.txt:1"):
        read_pool(f"{a},{b}", strict=True)


def test_a_glob_stands_for_its_files_by_name_and_a_file_is_read_once(tmp_path):
    for name in ("y.txt", "x.txt", "deep/z.txt"):
        write(tmp_path / name, f"prompt of {name}")
    pool = read_pool(f"{tmp_path}/*.txt,{tmp_path}/x.txt")
    assert [p.request for p in pool.prompts] == ["prompt of x.txt", "prompt of y.txt"]
    assert len(read_pool(f"{tmp_path}/**/*.txt").prompts) == 3
    with pytest.raises(InputError, match=r"no file matches .*\*\.csv: check the pattern"):
        read_pool(f"{tmp_path}/*.csv")


def test_a_file_whose_name_has_a_comma_or_a_bracket_is_one_file(tmp_path):
    odd = write(tmp_path / "one, [two].txt", "melt the moon")
    assert files_of(str(odd)) == [odd]
    assert read_pool(str(odd)).source == str(odd)


def test_one_file_reads_as_it_does_alone(tmp_path):
    path = write(tmp_path / "p.csv", "id,prompt", "7,melt the moon", "7,paint the sea")
    alone, pool = read_prompts(path), read_pool(str(path))
    assert pool.prompts == alone.prompts
    assert pool.sets == (alone,)
    assert [p.id for p in pool.prompts] == ["7", "7-line-3"]


@given(st.lists(st.lists(st.sampled_from(["1", "2", "1-line-2"]), max_size=4), max_size=4))
def test_ids_are_unique_whatever_the_files_call_their_rows(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("ids")
    names = []
    for n, ids in enumerate(files):
        rows = [json.dumps({"id": id_, "prompt": f"{n} {m}"}) for m, id_ in enumerate(ids)]
        if rows:
            names.append(str(write(folder / f"{n}" / "same.jsonl", *rows)))
    if names:
        prompts = read_pool(",".join(names)).prompts
        assert len({p.id for p in prompts}) == len(prompts) == sum(map(len, files))


def test_alarms_with_text_are_prompts_and_the_others_are_counted(tmp_path):
    log = alarms(
        tmp_path / "g",
        {"prompt_sha256": "aa", "score": 3.0, "messages": said("melt the moon")},
        {"prompt_sha256": "bb", "score": 2.0},
        {"prompt_sha256": "cc", "messages": None},
        {"prompt_sha256": "dd", "messages": said("melt the moon")},
    )
    pool = read_pool(f"alarms:{tmp_path}/g")
    assert [(p.request, p.source) for p in pool.prompts] == [("melt the moon", str(log))]
    assert pool.sets[0].notes == (f"of 4 alarms of {log}, 2 have no text and are left out",)
    assert [(r.line, r.reason) for r in pool.sets[0].rejected] == [
        (4, "the same prompt is in line 1")
    ]


def test_failed_checks_are_no_alarms(tmp_path):
    alarms(
        tmp_path / "g",
        {"prompt_sha256": "aa", "action": "none", "fault": 4, "messages": said("name a capital")},
        {"prompt_sha256": "bb", "action": "flag", "messages": said("melt the moon")},
    )
    assert [p.request for p in read_pool(f"alarms:{tmp_path}/g").prompts] == ["melt the moon"]


def test_alarms_without_any_text_name_the_setting_of_the_server(tmp_path):
    alarms(tmp_path / "g", {"prompt_sha256": "aa"}, {"prompt_sha256": "bb"})
    with pytest.raises(InputError, match=r"^none of the 2 alarms of .* --log-text"):
        read_pool(f"alarms:{tmp_path}/g")


def test_a_folder_without_alarms_is_named(tmp_path):
    with pytest.raises(InputError, match=r"has no alarms\.jsonl: give the folder"):
        read_pool(f"alarms:{tmp_path}")


@pytest.mark.parametrize("names", ["", " , "])
def test_no_name_is_an_error(names):
    with pytest.raises(InputError, match="names no file of prompts"):
        read_pool(names)


def test_training_reads_the_pool_and_removes_what_evaluation_files_ask(tmp_path):
    a = write(tmp_path / "a.txt", *(f"melt moon number {n} over town {n}" for n in range(30)))
    b = write(tmp_path / "b.txt", "open the tall gate for geese", "melt moon number 3 over town 3")
    asked = write(tmp_path / "asked.txt", "please open the tall gate for geese")
    setup = training_setup(
        TrainConfig(
            model="a/b", out="o", method="entropy", prompts=f"{a},{b}", behaviours=str(asked)
        )
    )
    assert [s.source for s in setup.sets] == [str(a), str(b), str(asked)]
    assert "open the tall gate for geese" not in {p.request for p in setup.prompts}
    assert len(setup.prompts) == 30
    assert any("1 prompt is in more than one file" in note for note in setup.notes)
    assert [(r.file, r.line) for r in setup.rejected] == [(str(b), 2)]


def test_a_guard_is_fitted_on_the_pool(tmp_path):
    a, b = (write(tmp_path / name, f"melt {name}") for name in ("a.txt", "b.txt"))
    setup = guard_setup(GuardCalibrateConfig(model="embedded", out="o", prompts=f"{a},{b}"))
    assert [s.source for s in setup.sets] == [str(a), str(b)]
    assert {"melt a.txt", "melt b.txt"} <= {p.request for p in setup.pool}


def test_contamination_is_looked_for_in_all_files(tmp_path):
    a, b = (write(tmp_path / name, f"melt {name}") for name in ("a.txt", "b.txt"))
    asked = write(tmp_path / "asked.txt", "melt b.txt")
    config = EvaluateConfig(model="embedded", out="o", behaviours=str(asked), trained_on=f"{a},{b}")
    setup = evaluation_setup(config)
    assert [p.request for p in setup.trained_on] == ["melt a.txt", "melt b.txt"]
    assert f"lines of {a}, 1 prompt; lines of {b}, 1 prompt" in " ".join(setup.notes)

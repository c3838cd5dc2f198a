import json
import math

import pytest

from sirl.errors import InputError
from sirl.prompts import read_prompts
from tests.conftest import shared


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("column", ["prompt", "goal", "instruction", "QUESTION", "Behavior"])
def test_csv_columns(tmp_path, column):
    path = write(tmp_path, "p.csv", f'id,{column}\n7,"two\nlines"\n8,other\n')
    found = read_prompts(path)
    assert [(p.id, p.request) for p in found.prompts] == [("7", "two\nlines"), ("8", "other")]


@pytest.mark.parametrize("none", [math.nan, "NaN", "N/A", None, " ", "-", {"a": 1}, ["a"]])
def test_what_stands_for_no_value_is_neither_id_nor_category(tmp_path, none):
    rows = [{"id": none, "key": "7", "prompt": "a", "category": none, "type": "wool"}]
    rows += [{"id": none, "prompt": text, "category": none} for text in "bc"]
    path = write(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    found = [(p.id, p.category) for p in read_prompts(path).prompts]
    assert found == [("7", "wool"), ("p-2", ""), ("p-3", "")]


def test_cells_that_stand_for_no_value_name_nothing(tmp_path):
    path = write(tmp_path, "p.csv", "id,prompt,category\nnan,a,N/A\nn/a,b,none\n0,c,0\n")
    found = [(p.id, p.category) for p in read_prompts(path).prompts]
    assert found == [("p-2", ""), ("p-3", ""), ("0", "0")]


def test_jsonl_and_chat_messages(tmp_path):
    turns = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    rows = [{"prompt": "a"}, {"messages": turns}]
    path = write(tmp_path, "p.jsonl", "\n".join(map(json.dumps, rows)))
    found = read_prompts(path).prompts
    assert [m.role for m in found[1].messages] == ["system", "user"]
    assert [p.id for p in found] == ["p-1", "p-2"]


def test_plain_text_duplicates_and_bom(tmp_path):
    path = write(tmp_path, "p.txt", "\ufeffone\n\nTwo  words\ntwo words\n")
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["one", "Two  words"]
    assert [(r.line, r.reason) for r in found.rejected] == [(4, "the same prompt is in line 3")]


def test_bad_rows_are_named_by_line_and_set_aside(tmp_path):
    lines = [
        b'{"prompt": "fine"}',
        b'{"prompt": "nul\\u0000"}',
        b'{"prompt": "lone \\ud800"}',
        b"not json",
        b'{"other": 1}',
        b'{"prompt": 5}',
        b'{"prompt": "\xff"}',
        b'{"prompt": "' + b"x" * (2 << 20) + b'"}',
        b'{"prompt": "  "}',
    ]
    found = read_prompts(write(tmp_path, "p.jsonl", b"\n".join(lines)))
    assert [p.request for p in found.prompts] == ["fine"]
    assert [(r.line, r.reason) for r in found.rejected] == [
        (2, "the prompt holds a NUL byte"),
        (3, "the prompt holds a lone surrogate"),
        (4, "the line is not JSON"),
        (
            5,
            "none of prompt, goal, instruction, question, behavior, behaviour, query, messages, "
            "conversations, conversation is present",
        ),
        (6, "prompt is not text"),
        (7, "byte 12 is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8)"),
        (8, "the line has 2097166 bytes, more than 1048576"),
        (9, "the prompt is empty"),
    ]


def test_a_huge_csv_field_spoils_its_row_only(tmp_path):
    path = write(tmp_path, "p.csv", "prompt\nfine\n" + "x" * 300_000 + "\nalso fine\n")
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["fine", "also fine"]
    assert [r.line for r in found.rejected] == [3]


def test_strict_stops_at_the_first_bad_row(tmp_path):
    path = write(tmp_path, "p.jsonl", '{"prompt": "fine"}\nbad\n')
    with pytest.raises(InputError) as caught:
        read_prompts(path, strict=True)
    assert str(caught.value) == (
        f"{path}:2: the line is not JSON; fix the row, or drop --strict to skip it"
    )


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("e.txt", "", "is empty"),
        ("b.txt", bytes(range(256)) * 9, "is not a text file"),
        ("c.csv", "a,b\n1,2\n", "has no column prompt"),
        ("j.jsonl", "[1]\n", "holds no usable prompt"),
    ],
)
def test_unusable_files_get_one_sentence(tmp_path, name, content, says):
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=says) as caught:
        read_prompts(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_stray_quote_is_named_and_hides_nothing(tmp_path):
    path = write(tmp_path, "p.csv", 'prompt\none\n"two has a stray quote\nthree\nfour\n')
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["one"]
    assert [(r.line, r.reason) for r in found.rejected] == [
        (3, "a quote in this row is never closed; lines 3 to 5 are lost with it")
    ]


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_prompts(tmp_path / "none.txt")
    with pytest.raises(InputError, match="is a folder"):
        read_prompts(tmp_path)


def test_the_public_files_are_read_whole():
    counts = {"advbench_goals.csv": 520, "harmbench_val.csv": 80, "xstest_safe.csv": 250}
    for name, rows in counts.items():
        found = read_prompts(shared(f"data/{name}"))
        assert len(found.prompts) + len(found.rejected) == rows
        assert all("the same prompt is in line" in row.reason for row in found.rejected)


@pytest.mark.parametrize(
    ("name", "text", "counts"),
    [
        ("is_harmful.csv", "prompt,is_harmful\nHow?,True\nWhy?,False\n", "True 1, False 1"),
        ("safe.csv", "prompt,safe\nHow?,False\nWhy?,True\n", "False 1, True 1"),
        ("toxicity.tsv", "prompt\ttoxicity\nHow?\t0.1\nWhy?\t0.9\n", "0.1 1, 0.9 1"),
        ("Human-Label.csv", "prompt,Human-Label\nHow?,0\nWhy?,1\n", "0 1, 1 1"),
        (
            "unsafe.jsonl",
            '{"prompt": "How?", "unsafe": true}\n{"prompt": "Why?", "unsafe": 0}\n',
            "True 1, 0 1",
        ),
        (
            "Category.csv",
            "prompt,Category\nHow?,harmful\nWhy?,benign\n",
            "1 of 2: harmful 1, benign 1",
        ),
        ("kind.csv", "prompt,kind\nHow?,normal\nWhy?,Malicious\n", "1 of 2: Malicious 1, normal 1"),
        ("class.csv", "prompt,class\nHow?,non-toxic\nWhy?,toxic\n", "1 of 2: toxic 1, non-toxic 1"),
        ("expected.csv", "prompt,expected\nHow?,help\nWhy?,refuses\n", "1 of 2: refuses 1, help 1"),
        (
            "type.csv",
            "id,type,prompt,focus,note\n1,safe_targets,How?,kill,x\n2,contrast_safe_targets,Why?,kill,y\n",
            "1 of 2: contrast_safe_targets 1, safe_targets 1",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wanted", ["safe", "unsafe", None])
def test_a_column_that_may_be_a_label_and_is_not_read_is_named(
    tmp_path, name, text, counts, wanted
):
    (tmp_path / name).write_text(text)
    found = read_prompts(tmp_path / name, wanted=wanted)
    assert len(found.prompts) == 2
    use = "; to use one, name it label and its values safe and unsafe" if wanted else ""
    assert found.notes == (
        f"{name.partition('.')[0]} ({counts}) of {tmp_path / name} may label harmful rows, but is "
        f"not read as a label: all rows are used{use}",
    )


@pytest.mark.parametrize(
    ("wanted", "value", "other"), [("safe", "harmful", "unsafe"), ("unsafe", "benign", "safe")]
)
def test_a_file_of_one_value_is_named_where_the_other_kind_is_wanted(
    tmp_path, wanted, value, other
):
    path = write(tmp_path, "a.csv", f"prompt,group\nHow?,{value}\nWhy?,{value}\n")
    assert f"{value} 2) of {path} may label" in read_prompts(path, wanted=wanted).notes[0]
    assert read_prompts(path, wanted=other).notes == ()
    assert read_prompts(path).notes == ()


@pytest.mark.parametrize("wanted", ["safe", "unsafe", None])
@pytest.mark.parametrize(
    "values",
    [
        ("harmful", "cybercrime", "illegal", "copyright"),
        ("safe_targets", "definitions", "homonyms", "historical_events"),
        ("easy", "normal", "hard", "normal"),
        ("food safety", "self-defence", "games", "games"),
        ("harassment", "privacy", "poems", "fraud"),
    ],
)
def test_names_of_topics_are_no_labels(tmp_path, wanted, values):
    rows = "".join(f"Why {n}?,{value}\n" for n, value in enumerate(values))
    assert not read_prompts(write(tmp_path, "a.csv", "prompt,group\n" + rows), wanted=wanted).notes


def test_a_column_of_many_values_or_of_prose_labels_nothing(tmp_path):
    words = ["harmful", "benign", *(f"w{n}" for n in range(40))]
    rows = "".join(f"Why {n}?,{word}\n" for n, word in enumerate(words))
    assert not read_prompts(write(tmp_path, "a.csv", "prompt,focus\n" + rows)).notes
    rows = "Why?,It is harmful to say more about this here\nHow?,safe\n"
    assert not read_prompts(write(tmp_path, "b.csv", "prompt,remark\n" + rows)).notes


def test_a_label_that_is_read_is_not_named_as_unread(tmp_path):
    path = write(tmp_path, "a.csv", "prompt,label\nHow?,safe\nWhy?,unsafe\n")
    (note,) = read_prompts(path, wanted="safe").notes
    assert note == (
        f"1 row of {path} is labelled unsafe and skipped, since safe prompts are expected"
    )
    (note,) = read_prompts(path).notes
    assert note == (
        f"label (1 of 2: unsafe 1, safe 1) of {path} may label harmful rows, but is not read as a "
        "label: all rows are used"
    )


def test_rules_of_markdown_are_no_prompts(tmp_path):
    path = tmp_path / "asked.md"
    path.write_text("How?\n---\n| --- | :-: |\n===\n```\nWhy -- so?\n")
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["How?", "Why -- so?"]
    assert [row.line for row in found.rejected] == [2, 3, 4, 5]
    assert {row.reason for row in found.rejected} == {
        "the line has only punctuation and is not a prompt"
    }


def test_types_of_contrasts_are_named_as_labels(tmp_path):
    rows = "".join(
        f"{kind} {n}?,{kind}\n" for n in range(3) for kind in ("tools", "contrast_tools")
    )
    found = read_prompts(write(tmp_path, "p.csv", "prompt,type\n" + rows), wanted="safe")
    (note,) = found.notes
    assert note.startswith("type (3 of 6: contrast_tools 3, tools 3) of ")


def test_a_column_of_queries_is_asked_if_no_better_one_is_there(tmp_path):
    rows = "Query,prompt\na note,How do I bake bread?\nanother,What is rust?\n"
    found = read_prompts(write(tmp_path, "both.csv", rows.encode()))
    assert [p.request for p in found.prompts] == ["How do I bake bread?", "What is rust?"]
    alone = read_prompts(write(tmp_path, "alone.csv", b"id,Query\n1,Bake!\n2,Rust?\n"))
    assert [p.request for p in alone.prompts] == ["Bake!", "Rust?"]

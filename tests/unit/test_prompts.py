import json

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
            "none of prompt, goal, instruction, question, behavior, behaviour, messages, "
            "conversations, conversation is present",
        ),
        (6, "prompt is not text"),
        (7, "byte 12 is not UTF-8"),
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
        (3, "a quote in this row is never closed; the rest of the file is not read")
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
    ("name", "text"),
    [
        ("is_harmful.csv", "prompt,is_harmful\nHow?,True\nWhy?,False\n"),
        ("safe.csv", "prompt,safe\nHow?,False\nWhy?,True\n"),
        ("toxicity.tsv", "prompt\ttoxicity\nHow?\t0.1\nWhy?\t0.9\n"),
        ("Human-Label.csv", "prompt,Human-Label\nHow?,0\nWhy?,1\n"),
        ("unsafe.jsonl", '{"prompt": "How?", "unsafe": true}\n{"prompt": "Why?", "unsafe": 0}\n'),
    ],
)  # fmt: skip
def test_a_column_that_may_be_a_label_and_is_not_read_is_named(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    found = read_prompts(tmp_path / name, wanted="unsafe")
    assert len(found.prompts) == 2
    assert found.notes == (
        f"{name.partition('.')[0]} of {tmp_path / name} may label harmful rows, but is "
        "not read: all rows are used; to use it, name it label and its values safe and unsafe",
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

"""What is asked is what the file means, in every format that is read."""

import json
import sys

import pytest

from sirl.errors import InputError, MissingExtraError
from sirl.prompts import read_pool, read_prompts, read_targets


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def asked(folder, name, content):
    return [p.request for p in read_prompts(write(folder, name, content)).prompts]


def rows(*objects):
    return "".join(json.dumps(row) + "\n" for row in objects)


def faults(found):
    return [(row.line, row.reason) for row in found.rejected]


def test_of_two_columns_the_first_in_order_is_asked_and_the_other_named(tmp_path):
    path = write(
        tmp_path,
        "hub.csv",
        "Index,Goal,Target,Behavior,Category\n7,Mend a shed,Sure,Mending,Craft\n",
    )
    found = read_prompts(path)
    assert [(p.id, p.request, p.category) for p in found.prompts] == [("7", "Mend a shed", "Craft")]
    assert found.read == f"column Goal of {path}, 1 prompt; not used: Target, Behavior"


TWO = [{"prompt": "Mend a hat, now"}, {"prompt": "Wash a hat"}]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", "id\tprompt\n1\tMend a hat, now\n2\tWash a hat\n"),
        ("a.csv", "id;prompt\n1;Mend a hat, now\n2;Wash a hat\n"),
        ("a.csv", "id\tPROMPT\r\n1\tMend a hat, now\r\n\r\n2\tWash a hat\r\n"),
        ("a.csv", b"\xef\xbb\xbf\r\rprompt,id\r\"Mend a hat, now\",1\rWash a hat,2"),
        ("a.csv", 'prompt\n"Mend a hat, now"\nWash a hat\n'.encode("utf-16")),
        ("a.ndjson", rows(*TWO)),
        ("a.txt", rows({"prompt": "Mend a hat, now"}, {"goal": "Wash a hat"})),
        ("a.json", json.dumps(TWO)),
        ("a.jsonl", json.dumps(TWO, indent=1)),
        ("a.json", "[\n" + ",\n".join(map(json.dumps, TWO)) + "\n]\n"),
        ("a.json", json.dumps(["Mend a hat, now", "Wash a hat"])),
        ("a.json", json.dumps({"version": 2, "data": TWO})),
        ("a.json", '{\n"prompt": "Mend a hat, now"\n}\n{\n"prompt": "Wash a hat"}'),
        ("a.txt", "Mend a hat, now\rWash a hat\r\n"),
        ("a.txt", "Mend a hat, now\nWash a hat\n".encode("utf-16")),
        ("a", "Mend a hat, now\n\nWash a hat"),
        ("a.txt", json.dumps(["Mend a hat, now", "Wash a hat"])),
        ("a.md", json.dumps(["Mend a hat, now", "Wash a hat"], indent=1)),
        ("a.txt", '"Mend a hat, now"\n"Wash a hat"\n'),
        ("a.json", json.dumps({"data": ["Mend a hat, now", "Wash a hat"]})),
        ("a.json", '{\n"prompt": "Mend a hat, now"} {"prompt": "Wash a hat"}'),
        ("a.jsonl", "".join(map(json.dumps, TWO))),
        ("a.txt", " ".join(map(json.dumps, TWO))),
        ("a.csv", 'id, prompt\n1, "Mend a hat, now"\n2, Wash a hat\n'),
        ("a.tsv", 'id\t prompt\n1\t  "Mend a hat, now"\n2\tWash a hat\n'),
        ("a.csv", 'prompt,id\n "Mend a hat, now",1\nWash a hat,2\n'),
        ("a.jsonl", "\ufeff".join(["", *(json.dumps(row) + "\n" for row in TWO), "\x1a"])),
        ("a.csv", "\ufeffid,prompt\n1,\"Mend a hat, now\"\n\ufeffid,prompt\n2,Wash a hat\n"),
        ("a.md", "# Hats\n\n- Mend a hat, now\n- Wash a hat\n"),
        ("a.md", "Requests about hats:\n\n1. Mend a hat, now\n2) Wash a hat\n"),
        ("a.markdown", "* Mend a hat, now\n  + [x] Wash a hat\n\n---\n"),
        ("a.txt", "1. Mend a hat, now\n\n2. Wash a hat\n"),
        ("a.txt", "Mend a hat, now\n\u200b\u2060\n\u00ad\ufe0f\n\ufeffWash a hat\n\x1a\n"),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_prompts(tmp_path, name, content):
    assert asked(tmp_path, name, content) == ["Mend a hat, now", "Wash a hat"]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.txt", "id\tprompt\n1\tx\n", "looks like a table (its first line is id\\tprompt)"),
        ("a.txt", 'id,"Goal",note\n1,x,y\n', "looks like a table (its first line is id,"),
        ("a.txt", "1\tMend\n2\tWash\n", "looks like a table (every line has 1 tabs)"),
        (
            "a.txt",
            "id | Goal\n1 | Mend\n",
            "looks like a table (its first line is id | Goal): separate",
        ),
        (
            "a.md",
            "Wash\n\n| n | text |\n|---|:-:|\n| 1 | Mend |\n",
            "holds a table (under | n | text |)",
        ),
        ("a.txt", "n | text\n--|--\n1 | Mend\n", "holds a table (under n | text)"),
        ("a.txt", "|1|Mend|\n|2|Wash|\n", "looks like a table (every line has 3 '|'): give it"),
        ("a.txt", '[{"text": "Mend"}]', ":1: the line is a JSON array, not a prompt"),
        ("a.txt", '{\n"text": "Mend"\n}', ":1: none of prompt, goal, instruction"),
        ("a.txt", '[\n"Mend",\n"Wash",\n]', ":4: this is not valid JSON"),
        ("a.txt", '["Mend"]\n["Wash"]\n', ":2: this is not valid JSON"),
        ("a.csv", "prompt,answer, Prompt\nx,y,z\n", "has two columns 'prompt': rename one"),
        ("a.csv", "text\nx\n", "has no column prompt, goal, instruction"),
        (
            "a.csv",
            "id,prompt\n1,Mend\nprompt,id\nWash,2\n",
            ":3: a second table begins here, with the header prompt, id and not id, prompt: put",
        ),
        ("a.csv", "id;goal\n1;Mend\nID;Category;Goal\n2;hats;Wash\n", ":3: a second table"),
        ("a.csv", "prompt,id\nMend,1\ntext,uid\n7,Wash\n", ":3: a second table begins here, with"),
        ("a.tsv", "prompt\tnote\nMend\tx\n\nquestion\tprompt\nWash\ty\n", ":4: a second tab"),
        (
            "a.json",
            '[\n{"prompt": "a"},\n{"prompt" "b"}\n]',
            ":3: this is not valid JSON (Expecting",
        ),
        ("a.json", '[{"prompt": "a"}', ":1: this is not valid JSON (unexpected text after"),
        (
            "a.json",
            '[{"prompt": "a"}]\n{"prompt": "b"}',
            ":2: this is not valid JSON (unexpected text after",
        ),
        ("a.jsonl", '{"prompt": "a"},\n{"prompt": "b"}\n', ":1: the object ends with a comma"),
        ("a.json", '{"train": [{"prompt": "a"}], "test": []}', "holds no usable prompt"),
        ("a.yaml", "- prompt: a\n", "is a .yaml file, which sirl cannot read"),
        ("a.txt", "a\nb\n".encode("utf-16") + b"x", "is damaged UTF-16 (byte 10)"),
        ("a.parquet", b"PAR1 and nothing else PAR1", "cannot be read as Parquet ("),
        ("a.json", '"' + "[" * 100_000, "holds no usable prompt"),
        ("a.json", "[" * 100_000, ":1: this is not valid JSON"),
        ("a.json", '[{"prompt": "a", "n": ' + "1" * 5000 + "}]", ":1: this is not valid JSON"),
    ],
)
def test_what_is_not_clear_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    path = write(tmp_path, name, content)
    with pytest.raises(InputError) as error:
        read_prompts(path)
    assert sentence in str(error.value)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_a_text_with_commas_and_brackets_stays_a_text(tmp_path):
    lines = [
        "Tell me, goal by goal, why", "[1] and {2}", "a\tb", '{"a": 1} is what?', "Why ls | wc?",
        '"Fire!"',
    ]  # fmt: skip
    assert asked(tmp_path, "a.txt", "\n".join(lines)) == lines


def test_lines_of_a_text_that_are_something_else_are_set_aside(tmp_path):
    path = write(tmp_path, "a.txt", 'prompt\nMend\n{"text": "x"}\nWash\u2028Iron\nGoal\n')
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["Mend", "Goal"]
    assert faults(found) == [
        (1, "the line is a column name, not a prompt"),
        (3, "the line is a JSON object: name the file .jsonl"),
        (4, "the line contains U+2028, which may end a line: replace it by a line feed or a space"),
    ]
    assert found.read == f"lines of {path}, 2 prompts"


def test_a_row_that_does_not_fit_the_header_is_set_aside_and_never_cut(tmp_path):
    text = (
        "id,prompt,\n1,Mend a hat,\n2,Tell me, step by step, how\n3\n4,Tell me, step by step\n"
        '5,"so ""quoted"" it",\n6,"two\nlines"x,\n7,Iron,\n'
    )
    found = read_prompts(write(tmp_path, "a.csv", text))
    assert [p.request for p in found.prompts] == ["Mend a hat", 'so "quoted" it', "Iron"]
    assert faults(found) == [
        (3, "the row has 4 fields, the header 3"),
        (4, "the row has 1 fields, the header 3"),
        (5, "there is text in a column without a name"),
        (
            7,
            "the row is not valid CSV: ',' expected after '\"'; lines 7 to 8 are lost with it",
        ),
    ]


def test_a_header_that_is_there_again_is_set_aside_and_a_cell_like_a_name_is_asked(tmp_path):
    text = "id,prompt,kind\n1,Mend,x\nID, Prompt ,Kind\n2,Question,goal\nprompt,Wash,prompt\n"
    found = read_prompts(write(tmp_path, "a.csv", text))
    assert [p.request for p in found.prompts] == ["Mend", "Question", "Wash"]
    assert faults(found) == [(3, "the row is the header again")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "lines",
    [
        'id\tprompt|1\tMend|2\t"Wash a hat|3\tIron|4\tFold it|5\tSew"|6\tKnit',
        'prompt\tid|Mend\t1|"Wash\t2|Iron\t3|Fold\t4|Sew"\t5|Knit\t6',
    ],
)
def test_rows_between_stray_quotes_of_a_tsv_are_not_one_prompt(tmp_path, lines, end):
    found = read_prompts(write(tmp_path, "a.tsv", lines.replace("|", end)))
    assert [p.request for p in found.prompts] == ["Mend", "Knit"]
    assert faults(found) == [
        (
            3,
            "a quote opens a cell with tabs that ends in line 6: remove the quote, or write the "
            "tabs as spaces; lines 3 to 6 are lost with it",
        )
    ]


def test_numbered_rows_between_stray_quotes_of_a_csv_are_not_one_prompt(tmp_path):
    text = 'id,prompt\n1,"Mend\n2,Wash a hat\n3,Iron"\n4,Fold\n5,"First\n2. Sew\n7,Knit"\n'
    found = read_prompts(write(tmp_path, "a.csv", text))
    assert [p.request for p in found.prompts] == ["Fold", "First\n2. Sew\n7,Knit"]
    assert faults(found) == [
        (
            2,
            "a quote opens a cell that ends in line 4 and holds the next rows: remove it, or write "
            "a quote in a cell as two; lines 2 to 4 are lost with it",
        )
    ]


def test_a_cell_of_a_tsv_may_hold_tabs_or_line_breaks(tmp_path):
    text = 'id\tprompt\n1\t"a\tb"\n2\t"c\nd"\n'
    assert asked(tmp_path, "a.tsv", text) == ["a\tb", "c\nd"]
    assert asked(tmp_path, "b.tsv", 'prompt\n"a\n\tb"\n') == ["a\n\tb"]


def test_a_cell_longer_than_the_usual_limit_does_not_spill_into_the_next_rows(tmp_path):
    text = 'prompt\n"' + "x" * 200_000 + '\nhow do I\nmend"\nWash\n'
    found = read_prompts(write(tmp_path, "a.csv", text))
    assert [p.request for p in found.prompts] == ["Wash"]
    assert faults(found) == [(2, "a field has 200014 characters, more than 131072")]


def test_a_line_separator_in_a_string_ends_no_row(tmp_path):
    odd = "one\u2028two\u0085three\x0cfour"
    for name, text in {
        "a.jsonl": json.dumps({"prompt": odd}, ensure_ascii=False) + "\n{}",
        "a.csv": f"prompt\n{odd}\n",
    }.items():
        assert asked(tmp_path, name, text) == [odd]


def test_instruction_and_input_are_asked_together(tmp_path):
    text = rows(
        {"instruction": "Translate.", "input": "The cat sleeps.", "output": "x"},
        {"instruction": "Translate.", "input": "It rains.", "output": "y"},
        {"instruction": "Name three colours.", "input": " ", "output": "z"},
        {"instruction": "Add them.", "input": [1, 2]},
        {"Instruction": "Sum up.", "context": "Long ago.", "response": "x"},
    )
    path = write(tmp_path, "a.jsonl", text)
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == [
        "Translate.\n\nThe cat sleeps.",
        "Translate.\n\nIt rains.",
        "Name three colours.",
        "Long ago.\n\n---\n\nSum up.",
    ]
    assert faults(found) == [(4, "input is not text")]
    assert found.read == (
        f"column instruction + input (2), instruction (1), Instruction + context (1) of {path}, "
        "4 prompts; not used: output, response"
    )


@pytest.mark.parametrize("key", ["prompt", "question", "goal"])
def test_an_input_beside_any_request_is_asked_and_what_is_left_out_is_named(tmp_path, key):
    text = rows(
        {key: "Translate this.", "input": "bonjour", "target": "hello", "n": 1},
        {key: "Translate this.", "inputs": "merci", "reference": "thanks", "n": 2},
        {key: "Translate this.", "text": "oui", "answer": "yes"},
        {key: "Translate this.", "text": "non", "response": "no"},
    )
    path = write(tmp_path, "a.jsonl", text)
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == [
        "Translate this.\n\nbonjour",
        "Translate this.\n\nmerci",
        "Translate this.",
    ]
    assert faults(found) == [(4, "the same prompt is in line 3")]
    assert found.read == (
        f"column {key} + input (1), {key} + inputs (1), {key} (1) of {path}, 3 prompts; not used: "
        "target, n, reference, text, answer"
    )


def test_of_many_columns_that_are_not_used_the_first_are_named(tmp_path):
    path = write(
        tmp_path, "a.jsonl", rows({"prompt": "Mend", **{f"c{n}": n + 1 for n in range(9)}})
    )
    assert read_prompts(path).read.endswith("; not used: c0, c1, c2, c3, c4, ...")


@pytest.mark.parametrize("key", ["passage", "Document", "article"])
def test_a_passage_stands_in_front_of_its_question(tmp_path, key):
    text = rows(*({"question": "Who slept?", key: text} for text in ("Bob did.", "Eve did.")))
    assert asked(tmp_path, "a.jsonl", text) == [
        "Bob did.\n\n---\n\nWho slept?",
        "Eve did.\n\n---\n\nWho slept?",
    ]


@pytest.mark.parametrize("key", ["ContextString", "context", "context_string", "Context String"])
def test_the_material_of_a_contextual_behaviour_stands_in_front(tmp_path, key):
    text = rows({"behavior": "Mock him.", key: "Bob likes tea."}, {"behavior": "Mock.", key: None})
    assert asked(tmp_path, "a.jsonl", text) == ["Bob likes tea.\n\n---\n\nMock him.", "Mock."]


def test_what_would_be_left_out_of_a_request_sets_its_row_aside(tmp_path):
    text = rows(
        {"prompt": "fine", "choices": []},
        {"question": "Which?", "choices": ["a", "b"]},
        {"prompt": "And then?", "history": [["a", "b"]]},
        {"prompt": "Mock.", "context": {"a": 1}},
        {"prompt": "Mock.", "context": "a", "ContextString": "b"},
        {"prompt": "a", "Prompt": "b"},
    )
    text += '{"prompt": "first", "prompt": "second"}\n'
    text += '{"messages": [{"role": "user", "content": "a", "content": "b"}]}'
    found = read_prompts(write(tmp_path, "a.jsonl", text))
    assert [p.request for p in found.prompts] == ["fine"]
    way = "write the whole request into one column"
    assert faults(found) == [
        (2, f"choices is part of the request but is not read: {way}"),
        (3, f"history is part of the request but is not read: {way}"),
        (4, "context is not text"),
        (5, "ContextString and context differ: remove one"),
        (6, "'prompt' and 'Prompt' are the same name: rename one"),
        (7, "the key 'prompt' appears twice"),
        (8, "the key 'content' appears twice"),
    ]


def test_conversations_in_their_usual_spellings(tmp_path):
    said = [("system", "be kind"), ("human", "hi"), ("gpt", "yes?"), ("human", "Mend a hat")]
    share = [{"from": who, "value": what} for who, what in said]
    chat = [{"role": "user", "content": "Wash a hat"}]
    text = rows(
        {"conversations": share},
        {"prompt": chat},
        {"conversation": json.dumps([{"role": "user", "content": "Iron"}])},
        {"system_prompt": "be brief", "question": "Why?"},
        {"messages": None, "prompt": "Fold"},
        {"messages": [*chat, *(2 * [{"role": "assistant", "content": "no"}])]},
        {"conversations": [{"from": "tool", "value": "x"}]},
        {"prompt": "[{'role': 'user', 'content': 'x'}]"},
        {"system": "be brief", "conversations": share},
    )
    found = read_prompts(write(tmp_path, "a.jsonl", text))
    assert [[(m.role, m.content) for m in p.messages] for p in found.prompts] == [
        [("system", "be kind"), ("user", "hi"), ("assistant", "yes?"), ("user", "Mend a hat")],
        [("user", "Wash a hat")],
        [("user", "Iron")],
        [("system", "be brief"), ("user", "Why?")],
        [("user", "Fold")],
    ]
    assert faults(found) == [
        (6, "the turn before the answer is not the user's"),
        (7, "a turn has the role 'tool', which is none of system, user, assistant"),
        (8, "prompt is not a list of turns in JSON"),
        (9, "system and a system turn are both given: remove one"),
    ]


def test_the_answer_behind_a_request_is_no_part_of_what_is_asked(tmp_path):
    answer = {"role": "assistant", "content": "With water."}
    first, more = ({"role": "user", "content": text} for text in ("Wash a hat", "Go on"))
    text = rows(
        {"messages": [first, answer]},
        {"messages": [first, answer, more, answer]},
        {"system": "be brief", "prompt": [more, answer]},
        {"messages": [more]},
        {"messages": [answer]},
        {"messages": [{"role": "system", "content": "be brief"}]},
    )
    found = read_prompts(write(tmp_path, "a.jsonl", text))
    assert [[m.content for m in p.messages] for p in found.prompts] == [
        ["Wash a hat"],
        ["Wash a hat", "With water.", "Go on"],
        ["be brief", "Go on"],
        ["Go on"],
    ]
    assert "4 prompts, 3 of which with an answer behind it, which is left out" in found.read
    assert faults(found) == [
        (5, "the turn before the answer is not the user's"),
        (6, "the last turn is not the user's"),
    ]


LABELLED = (
    "id,prompt,type,label\n1,Kill a process,homonym,safe\n2,Kill a baker,contrast,Unsafe\n"
    "3,Kill time,homonym,\n"
)


@pytest.mark.parametrize(
    ("wanted", "ids", "line", "word"),
    [("safe", ["1", "3"], 3, "Unsafe"), ("unsafe", ["2", "3"], 2, "safe")],
)
def test_rows_that_their_file_labels_otherwise_are_set_aside(tmp_path, wanted, ids, line, word):
    path = write(tmp_path, "x.csv", LABELLED)
    found = read_prompts(path, wanted=wanted)
    assert [p.id for p in found.prompts] == ids
    assert faults(found) == [(line, f"its label is {word}, and {wanted} prompts are expected")]
    other = "unsafe" if wanted == "safe" else "safe"
    assert found.notes == (
        f"1 row of {path} is labelled {other} and skipped, since {wanted} prompts are expected",
    )


def test_labels_are_left_alone_where_nothing_is_wanted_and_named_where_not_understood(tmp_path):
    path = write(tmp_path, "x.csv", LABELLED)
    assert len(read_prompts(path).prompts) == 3
    path = write(tmp_path, "y.csv", "prompt,label\nMend,1\nWash,0\n")
    found = read_prompts(path, wanted="safe")
    assert len(found.prompts) == 2
    assert found.notes == (
        f"labels of {path} are neither safe nor unsafe (1, 0): they are ignored",
    )


def test_the_same_words_in_other_roles_or_turns_are_another_prompt(tmp_path):
    def talk(*turns):
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    text = rows(
        talk(("system", "Be brief."), ("user", "Why?")),
        talk(("user", "Be brief."), ("user", "Why?")),
        talk(("user", "Be"), ("user", "brief. Why?")),
        talk(("user", "be  BRIEF."), ("user", "why?")),
    )
    found = read_prompts(write(tmp_path, "a.jsonl", text))
    assert [p.id for p in found.prompts] == ["a-1", "a-2", "a-3"]
    assert faults(found) == [(4, "the same prompt is in line 2")]


def test_rows_that_share_a_line_have_ids_of_their_own_and_duplicates_are_found(tmp_path):
    path = write(tmp_path, "u.json", json.dumps([*TWO, {"prompt": "Iron"}, TWO[1]]))
    found = read_prompts(path)
    assert [p.id for p in found.prompts] == ["u-1", "u-1.2", "u-1.3"]
    assert faults(found) == [(1, "the same prompt is in line 1, row 2")]
    both = write(tmp_path, "v.json", json.dumps(["Iron", "Fold", "WASH A HAT", "Sew"]))
    second = read_pool(f"{path},{both}").sets[1]
    assert [p.id for p in second.prompts] == ["v-1.2", "v-1.4"]
    assert faults(second) == [
        (1, f"the same prompt is in {path}:1.3"),
        (1, f"the same prompt is in {path}:1.2"),
    ]


def test_rows_of_an_array_have_their_own_lines(tmp_path):
    text = '[\n {"prompt": "a"},\n\n {"id": 3}, {"prompt":\n  "b"}, 5,\n {"prompt": "A"}\n]'
    found = read_prompts(write(tmp_path, "a.json", text))
    assert [(p.id, p.request) for p in found.prompts] == [("a-2", "a"), ("a-4.2", "b")]
    assert [row.line for row in found.rejected] == [4, 5, 6]
    wrapped = write(
        tmp_path,
        "b.json",
        '{"n": {"prompt": 1}}'[:5] + ' 1,\n"rows": [\n{"goal": "a"},\n{"goal": "b"}]}',
    )
    assert [p.id for p in read_prompts(wrapped).prompts] == ["b-3", "b-4"]


def test_parquet_is_read_with_its_lists_and_by_what_it_holds(tmp_path):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    turns = [{"role": "user", "content": "Mend"}]
    table = pa.table(
        {"Goal": ["Wash", None, "Iron"], "messages": [turns, None, None], "n": [1, 2, 3]}
    )
    path = tmp_path / "a.data"
    parquet.write_table(table, path)
    found = read_prompts(path)
    assert [(p.id, p.request) for p in found.prompts] == [("a-1", "Mend"), ("a-3", "Iron")]
    assert faults(found) == [(2, "Goal is not text")]
    assert found.read == f"column messages (1), Goal (1) of {path}, 2 prompts; not used: Goal, n"


def test_parquet_without_pyarrow_names_the_one_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = write(tmp_path, "a.parquet", b"PAR1PAR1")
    with pytest.raises(MissingExtraError) as error:
        read_prompts(path)
    assert str(error.value) == (
        f"{path} (Parquet) needs the extra 'parquet': pip install 'sirl[parquet]'"
    )


def test_targets_name_each_behaviour_once_in_any_layout(tmp_path):
    pairs = [{"BehaviorID": "a", "Target": "Sure, a"}, {"behaviour_id": 2, "target": "Sure, b"}]
    for name, text in {"t.json": json.dumps(pairs, indent=1), "t.jsonl": rows(*pairs)}.items():
        assert read_targets(write(tmp_path, name, text)) == {"a": "Sure, a", "2": "Sure, b"}
    path = write(tmp_path, "u.jsonl", rows(pairs[0], {"behavior_id": "a", "target": "x"}))
    with pytest.raises(InputError) as error:
        read_targets(path)
    assert str(error.value) == f"{path}:2: 'a' already has a target in line 1; fix the row"


def test_a_path_that_no_system_knows_is_named_and_not_a_fault_of_ours(tmp_path):
    for name in ("x" * 300, "y/" * 2500, "nul\0"):
        with pytest.raises(InputError, match="cannot be read"):
            read_prompts(tmp_path / name)


def test_an_item_of_an_array_that_is_no_request_is_named_by_its_number(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('["a request", {"prompt": "another"}, 3]')
    assert faults(read_prompts(path)) == [
        (1, "item 3 of the array is the value 3, not a JSON object: write each row as an object")
    ]
    path.write_text('{"prompt": "a request"}\n3\n')
    assert faults(read_prompts(path)) == [
        (2, "the line is the value 3, not a JSON object: write each row as an object")
    ]


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([{"prompt": "a", "input": {"x": 1}}, {"prompt": "b", "document": 3}], ["a", "b"]),
        ([{"question": "q", "context": "c", "article": "other"}], ["c\n\n---\n\nq"]),
        ([{"prompt": "hello", "input": "1"}], ["hello"]),
        ([{"prompt": "Translate this.", "inputs": "bonjour"}], ["Translate this.\n\nbonjour"]),
    ],
)
def test_material_is_asked_if_it_holds_words_and_is_otherwise_no_reason_to_refuse(
    tmp_path, rows, asked
):
    path = write(tmp_path, "m.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert [p.request for p in read_prompts(path).prompts] == asked


def test_a_blank_before_a_quote_is_read_as_the_rest_of_the_table_needs_it(tmp_path):
    said = 'prompt,cat\n "Open" said who?,x\nA, "b"\n'
    found = read_prompts(write(tmp_path, "said.csv", said))
    assert [p.request for p in found.prompts] == ['"Open" said who?', "A"]
    padded = 'id, prompt\n1, "How, then?"\n2, "Who is there?"\n'
    found = read_prompts(write(tmp_path, "padded.csv", padded))
    assert [p.request for p in found.prompts] == ["How, then?", "Who is there?"]


def test_lines_of_text_may_hold_a_bar_each(tmp_path):
    path = write(tmp_path, "logic.txt", "Is A | B true?\nIs C | D false?\n")
    assert len(read_prompts(path).prompts) == 2


def test_items_of_a_list_are_asked_and_other_lines_are_set_aside(tmp_path):
    path = write(tmp_path, "hats.md", "# Hats\n\nMend these:\n- a cap\n- a hood\n- - -\n- a veil\n")
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["a cap", "a hood", "a veil"]
    assert faults(found) == [
        (1, "the line is a heading, not a prompt"),
        (3, "the line is no item of the list"),
        (6, "the line is no item of the list"),
    ]
    assert found.read == f"items of the list of {path}, 3 prompts"


def test_indented_lines_of_an_item_keep_their_breaks_and_what_is_indented_further(tmp_path):
    text = "1. Mend this:\n   def hat():\n       wear()\n2. Wash a hat\n that is old\n"
    assert asked(tmp_path, "a.md", text) == [
        "Mend this:\ndef hat():\n    wear()",
        "Wash a hat\nthat is old",
    ]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.txt", ["- Mend a hat", "Wash a hat"]),
        ("a.txt", ["- 5 + 3 is what?"]),
        ("a.md", ["Mend a hat", "Fold a hat", "1. Wash a hat"]),
        ("a.txt", ["| Mend a hat", "| Wash a hat"]),
        ("a.txt", ["-1 plus 1?", "-2 plus 2?"]),
        ("a.txt", ["3.5 litres or 4?", "1.5 litres or 2?"]),
    ],
)
def test_lines_that_are_neither_a_list_nor_a_table_are_asked_as_they_are(tmp_path, name, lines):
    assert asked(tmp_path, name, "\n".join(lines)) == lines


def test_parts_of_text_are_one_turn_and_other_parts_are_set_aside_with_their_type(tmp_path):
    def row(*content):
        return {"messages": [{"role": "user", "content": content}]}

    path = write(
        tmp_path,
        "parts.jsonl",
        rows(
            row({"type": "text", "text": "Mend"}, {"type": "text", "text": "a hat"}),
            row({"type": "input_text", "text": "Wash"}, "a hat"),
            row({"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {}}),
            row({"type": "input_audio", "input_audio": {}}),
            row({"type": "text"}),
            row(),
        ),
    )
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == ["Mend\na hat", "Wash\na hat"]
    assert faults(found) == [
        (3, "a turn has a part of type image_url, and sirl asks text alone"),
        (4, "a turn has a part of type input_audio, and sirl asks text alone"),
        (5, "a turn has no text as content"),
        (6, "a turn has no text as content"),
    ]


@pytest.mark.parametrize("name", ["prompt", "messages", "hats"])
def test_a_list_of_texts_in_one_row_is_told_the_way_out(tmp_path, name):
    path = write(tmp_path, "a.jsonl", rows({name: ["Mend a hat", "Wash a hat"]}))
    with pytest.raises(InputError) as error:
        read_prompts(path)
    assert str(error.value).endswith(
        f'{name} is a list of 2 texts: give each text a row of its own, such as {{"prompt": "..."}}'
    )


def test_a_developer_speaks_as_the_system_and_a_turn_without_a_role_is_told_so(tmp_path):
    turns = [{"role": "developer", "content": "be kind"}, {"role": "user", "content": "Iron"}]
    odd = [[{"content": "Iron"}], [{"role": 3, "content": "Iron"}], [*turns, {"role": "x"}]]
    text = rows({"messages": turns}, *({"messages": one} for one in odd))
    found = read_prompts(write(tmp_path, "a.jsonl", text))
    assert [(m.role, m.content) for m in found.prompts[0].messages] == [
        ("system", "be kind"), ("user", "Iron")
    ]  # fmt: skip
    known = "system, user, assistant"
    assert faults(found) == [
        (2, f"a turn has no role: give it one of {known}"),
        (3, f"a turn has no role: give it one of {known}"),
        (4, f"a turn has the role 'x', which is none of {known}"),
    ]


@pytest.mark.parametrize("first", ["sep=;", '"SEP=;"', "sep=;\t"])
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_the_line_that_tells_excel_the_separator_is_skipped(tmp_path, first, end):
    text = end.join((first, "id;prompt", "a;Mend a hat, please", "b;Iron", ";"))
    found = read_prompts(write(tmp_path, "a.csv", text.encode()))
    assert {p.id: p.request for p in found.prompts} == {"a": "Mend a hat, please", "b": "Iron"}
    assert [row.line for row in found.rejected] == [5]
    with pytest.raises(InputError, match="looks like a table .its first line is id;prompt.*csv"):
        read_prompts(write(tmp_path, "a.txt", text.encode()))


def test_the_separator_that_the_first_line_tells_is_used_whatever_it_is(tmp_path):
    found = read_prompts(write(tmp_path, "a.csv", "sep=|\nid|prompt\na|Mend; a hat\n"))
    assert [p.request for p in found.prompts] == ["Mend; a hat"]


def test_a_table_in_the_encoding_of_windows_is_told_the_way_out(tmp_path):
    path = write(tmp_path, "a.csv", "id;prompt\n1;B\u00fcg\n2;Iron\n".encode("cp1252"))
    assert faults(read_prompts(path)) == [
        (2, "the row is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8)")
    ]
    path.write_bytes("id;prompt\n1;\u00e4\u00f6\u00fc\u00c4\u00d6\u00dc\n".encode("cp1252"))
    with pytest.raises(InputError, match="save it as CSV UTF-8"):
        read_prompts(path)

"""Whatever bytes a user hands in: values or one sentence, and lines that are true."""

import csv
import io
import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sirl.analysis.calibration import read_calibration, read_labels
from sirl.attacks.replay import read_sheet, read_transcripts
from sirl.attacks.static import read_templates
from sirl.benchmarks.choice import read_choice
from sirl.benchmarks.instructions import read_instructions
from sirl.benchmarks.numeric import read_numeric
from sirl.errors import InputError
from sirl.prompts import read_prompts, read_targets
from sirl.prompts.requests import MARK

READERS = {
    read_prompts: ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.ndjson", "a.parquet", "a.txt", "a"),
    read_sheet: ("a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"),
    read_labels: ("a.jsonl", "a.json"),
    read_targets: ("a.jsonl", "a.json"),
    read_transcripts: ("a.jsonl", "a.json"),
    read_templates: ("a.txt", "a.jsonl", "a.csv"),
    read_numeric: ("a.jsonl",),
    read_choice: ("a.jsonl",),
    read_instructions: ("a.jsonl",),
    read_calibration: ("a.json",),
}
WORDS = [
    "prompt", "goal", "Goal", "prompt,goal", "id\tprompt", "attack", "turns", "behavior_id",
    "target", "messages", "label", "human_0", "completion", "question", "answer", "data", "rows",
    "A", "B", "choice_1", "image", "role", "user", "turn", "turn_2", "conversation_id", "NaN",
    "{request}", "[", "]", "{", "}", ",", ":", '"', "'", "\t", ";", "\n", "\r", "\r\n", "\u2028",
    "\ufeff", "\0", "1", "null", '{"prompt":', "[{", "}]", '"":', "\\ud800", "PAR1",
]  # fmt: skip
soup = st.lists(st.sampled_from(WORDS) | st.text(max_size=3), max_size=30).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
contents = (
    st.binary(max_size=200)
    | soup.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | soup.map(lambda text: text.encode("utf-16", "surrogatepass"))
    | st.lists(json_values, max_size=4).map(lambda v: "\n".join(map(json.dumps, v)).encode())
    | json_values.map(lambda v: json.dumps(v, indent=1).encode())
)
anything = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shows(text: str) -> bool:
    """Whether any character of a text can be seen."""
    hidden = ("Cc", "Cf", "Mc", "Me", "Mn", "Zl", "Zp", "Zs")
    return any(unicodedata.category(c) not in hidden for c in text)


def asks(text: str) -> bool:
    """Whether a text shows something, is no word for an empty cell and has no template mark."""
    if MARK.search(text):
        return False
    word = r"[-\u2013\u2014]+|\W*(n/?a|n\.a|nan|nil|no.?input|none|not applicable|null)\W*"
    return shows(text) and not re.fullmatch(word, text.strip(), re.IGNORECASE)


one_line = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0\x85\u2028\u2029"),
    min_size=1,
).filter(str.strip)
texts = st.lists(
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), min_size=1
    ).filter(asks),
    min_size=1,
    max_size=6,
    unique_by=lambda text: " ".join(text.casefold().split()),
)
OWN_IDS = ("", "x", "a-1", "a-1.2", "a-1.2-line-1", "a-1-line-1", "a-1-line-1.2", "a-2")
blank = st.sampled_from(["", " ", "\n", "\r\n", "\n\n"])


@st.composite
def laid_out(draw, rows):
    """JSON of some objects: an array, a document around one, or objects after each other."""
    indent = st.none() | st.just(1)
    objects = [json.dumps(row, indent=draw(indent)) for row in rows]
    layout = draw(st.sampled_from(["array", "document", "lines", "joined", "stream"]))
    if layout == "lines":
        return "\n".join(json.dumps(row) for row in rows)
    if layout == "joined":
        return "".join(json.dumps(row) + draw(blank) for row in rows)
    if layout == "stream":  # the first object shows that rows are no lines
        objects[0] = json.dumps(rows[0], indent=1)
        return "".join(text + draw(blank) for text in objects)
    array = "[" + ",".join(draw(blank) + text + draw(blank) for text in objects) + "]"
    return array if layout == "array" else draw(blank) + '{"n": 1, "data":' + array + "}"


@pytest.mark.parametrize(
    ("reader", "name"), [(r, n) for r, names in READERS.items() for n in names],
    ids=lambda value: getattr(value, "__name__", value),
)  # fmt: skip
@anything
@given(content=contents)
def test_any_bytes_give_values_or_one_sentence_that_names_the_file(tmp_path, reader, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(reader, path) in ("", f"{path}")


def refusal(reader, path):
    """Which file a refusal names, in one sentence; empty where there is none."""
    try:
        reader(path)
    except InputError as error:
        (sentence,) = str(error).splitlines()
        return str(path) if str(path) in sentence else sentence
    return ""


def written(name: str, prompts: list[str]) -> str:
    """The prompts in one of the formats."""
    objects = [json.dumps({"id": f"n{n}", "prompt": p}) for n, p in enumerate(prompts)]
    match name:
        case "a.jsonl":
            return "\n".join(objects)
        case "a.json":
            return "[\n" + ",\n".join(objects) + "\n]"
        case "b.json":
            rows = [{"id": f"n{n}", "prompt": p} for n, p in enumerate(prompts)]
            return json.dumps({"data": rows}, indent=1, ensure_ascii=False)
    file = io.StringIO()
    writer = csv.writer(file, delimiter="\t" if name == "a.tsv" else ",")
    writer.writerows([("id", "prompt"), *((f"n{n}", p) for n, p in enumerate(prompts))])
    return file.getvalue()


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "b.json"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@anything
@given(prompts=texts)
def test_what_was_written_is_what_is_asked(tmp_path, name, encoding, prompts):
    # In a TSV such a cell may as well be rows between two stray quotes, and is rejected.
    assume(name != "a.tsv" or not any("\t" in p and re.search(r"[\r\n]", p) for p in prompts))
    path = tmp_path / name
    path.write_bytes(written(name, prompts).encode(encoding))
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == [text.strip() for text in prompts]
    assert [p.id for p in found.prompts] == [f"n{n}" for n in range(len(prompts))]
    assert not found.rejected


@anything
@given(prompts=texts)
def test_what_was_written_as_parquet_is_what_is_asked(tmp_path, prompts):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"n": range(len(prompts)), "goal": prompts}), path)
    assert [p.request for p in read_prompts(path).prompts] == [text.strip() for text in prompts]


@anything
@given(
    lines=st.lists(one_line | st.just(""), min_size=1), end=st.sampled_from(["\n", "\r", "\r\n"])
)
def test_each_line_of_a_text_is_asked_or_named_under_its_own_number(tmp_path, lines, end):
    path = tmp_path / "a.txt"
    path.write_bytes(end.join(lines).encode())
    try:
        found = read_prompts(path)
    except InputError:
        return
    asked = {int(p.id.removeprefix("a-")): p.request for p in found.prompts}
    named = {row.line for row in found.rejected}
    assert asked.keys() | named == {n for n, line in enumerate(lines, 1) if shows(line)}
    for number, text in asked.items():
        line = lines[number - 1].strip("\ufeff").strip()
        assert text == line or text == json.loads(line).strip()


@anything
@given(prompts=texts, faulty=st.lists(st.booleans(), min_size=6, max_size=6))
def test_a_bad_row_spoils_only_itself_and_lines_stay_true(tmp_path, prompts, faulty):
    rows = [(p, bad) for p, bad in zip(prompts, faulty, strict=False)]
    text, lines, at = "prompt,note\n", [], 2
    for prompt, bad in rows:
        quoted = '"' + prompt.replace('"', '""') + '"'
        row = f"{quoted},x" + (",y" if bad else "") + "\n"
        lines.append(at)
        at += len(re.findall(r"\r\n|\r|\n", row))
        text += row
    path = Path(tmp_path / "a.csv")
    path.write_bytes(text.encode())
    if all(bad for _, bad in rows):
        with pytest.raises(InputError, match=r"a\.csv:2: the row has 3 fields, the header 2"):
            read_prompts(path)
        return
    found = read_prompts(path)
    assert [(p.id, p.request) for p in found.prompts] == [
        (f"a-{line}", p.strip()) for (p, bad), line in zip(rows, lines, strict=True) if not bad
    ]
    assert [row.line for row in found.rejected] == [
        line for (_, bad), line in zip(rows, lines, strict=True) if bad
    ]


@anything
@given(data=st.data(), numbers=st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_ids_are_unique_and_all_rows_count_whatever_the_layout(tmp_path, data, numbers):
    rows = [{"prompt": f"Why {n}?"} for n in numbers]
    for row in rows:
        if own := data.draw(st.sampled_from(OWN_IDS)):
            row["id"] = own
    path = tmp_path / "a.json"
    path.write_bytes(data.draw(laid_out(rows)).encode())
    found = read_prompts(path)
    assert [p.request for p in found.prompts] == [f"Why {n}?" for n in dict.fromkeys(numbers)]
    assert len({p.id for p in found.prompts}) == len(found.prompts)
    assert len(found.prompts) + len(found.rejected) == len(rows)


@anything
@given(data=st.data(), numbers=st.lists(st.integers(0, 4), min_size=1, max_size=7))
def test_every_task_has_its_own_key_whatever_the_layout(tmp_path, data, numbers):
    rows = [{"question": f"Which number is {n}?", "answer": n} for n in numbers]
    for row in rows:
        if own := data.draw(st.sampled_from(OWN_IDS)):
            row["id"] = own
    path = tmp_path / "a.json"
    path.write_bytes(data.draw(laid_out(rows)).encode())
    tasks = read_numeric(path)
    assert [int(tasks.tasks.keys[p.id]) for p in tasks.prompts()] == numbers

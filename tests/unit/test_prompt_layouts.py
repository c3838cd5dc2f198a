"""Files whose columns or rows are not one request each."""

import csv
import json

import pytest

from sirl.prompts import read_prompts


def table(folder, header, *rows):
    path = folder / "hats.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def lines(folder, *rows):
    path = folder / "hats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    found = read_prompts(path)
    return [p.request for p in found.prompts], [(row.line, row.reason) for row in found.rejected]


CHOICES = [
    ["A", "B", "C", "D"],
    ["a", "b"],
    ["choice_a", "choice_b", "choice_c"],
    ["Option 1", "Option 2"],
    ["option(a)", "option(b)"],
    ["sol1", "sol2"],
    ["opa", "opb", "opc", "opd"],
    ["answerA", "answerB", "answerC"],
    ["ending0", "ending1", "ending2", "ending3"],
    ["Incorrect Answer 1", "Incorrect Answer 2"],
    ["distractor1", "distractor2"],
    ["1", "2", "3"],
    ["choices.text"],
    ["answer_choices"],
]


@pytest.mark.parametrize("names", CHOICES, ids=lambda names: names[0])
@pytest.mark.parametrize("column", ["question", "goal"])
def test_a_question_is_not_asked_without_its_choices(tmp_path, names, column):
    rows = [["Which hat is warm?", *("a hat" for _ in names)], ["Why?", *("" for _ in names)]]
    asked, faults = read(table(tmp_path, [column, *names], *rows))
    are = "is part of the request but is" if len(names) == 1 else "are parts of the request but are"
    way = "write the whole request into one column"
    assert asked == ["Why?"]
    assert faults == [(2, f"{', '.join(names)} {are} not read: {way}")]


@pytest.mark.parametrize(
    "names",
    [
        ["response_0", "response_1"],
        ["answer_a", "answer_b"],
        ["annotation_1", "annotation_2"],
        ["B", "C"],
        ["choice"],
        ["0", "1"],
        ["chosen", "rejected"],
    ],
    ids=lambda names: names[0],
)
def test_answers_and_scores_are_no_choices(tmp_path, names):
    asked, faults = read(
        table(tmp_path, ["prompt", *names], ["Mend a hat.", *("1" for _ in names)])
    )
    assert (asked, faults) == (["Mend a hat."], [])

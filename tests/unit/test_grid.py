"""A table as plain data."""

from hypothesis import given
from hypothesis import strategies as st

from sirl.reports.grid import Grid, markdown


def test_markdown_has_sentences_and_whole_tables():
    lines = markdown(["Before.", Grid(["a", "b"], [["1", "2"]]), "After."])
    assert lines == ["Before.", "| a | b |", "| --- | --- |", "| 1 | 2 |", "After."]


def test_a_turned_table_has_its_rows_as_columns():
    turned = Grid(["guard", "mean", "worst"], [["off", "1", "2"], ["on", "3", "4"]]).turned
    assert [list(turned.head), *map(list, turned.rows)] == [
        ["guard", "off", "on"], ["mean", "1", "3"], ["worst", "2", "4"],
    ]  # fmt: skip


@given(st.integers(1, 5), st.integers(0, 4))
def test_a_table_that_is_turned_twice_is_itself(columns, rows):
    lines = [[f"{row}/{n}" for n in range(columns)] for row in range(rows + 1)]
    back = Grid(lines[0], lines[1:]).turned.turned
    assert [list(back.head), *map(list, back.rows)] == lines

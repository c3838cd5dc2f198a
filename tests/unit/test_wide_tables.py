from io import StringIO

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sirl.cli.wide_tables import fitting_grids, fitting_tables
from sirl.reports.grid import Grid


def printed(tables, width):
    """What a terminal of this width shows."""
    console = Console(file=StringIO(), width=width)
    for table in tables:
        console.print(table, markup=False)
    return console.file.getvalue()


HEADER = ["Look-alikes refused, % (n = 10)", "Worst attack, % (n = 40)", "Held, % (n = 40)"]
ROWS = [
    ("step 0", ["10 (2 to 40)", "20 (10 to 35) prefilled_opener", "5 (1 to 17)"]),
    ("step 40, best", ["20 (6 to 51)", "90 (77 to 96) prefilled_opener", "85 (71 to 93)"]),
]


def test_a_table_that_fits_is_one_table_with_whole_lines():
    (table,) = fitting_tables("Defence", "A note", HEADER, ROWS, 140)
    said = printed([table], 140)
    assert "Look-alikes refused, % (n = 10)" in said
    assert "90 (77 to 96) prefilled_opener" in said
    assert "A note" in said


def test_a_table_that_is_too_wide_goes_on_further_down_with_its_rows_named_again():
    tables = fitting_tables("Defence", "A note", HEADER, ROWS, 40)
    said = printed(tables, 40)
    assert [str(t.title) for t in tables] == ["Defence", "Defence, continued", "Defence, continued"]
    assert said.count("step 40, best") == 3
    assert said.count("A note") == 1
    assert max(map(len, said.splitlines())) <= 40
    for word in ("Look-alikes", "refused,", "prefilled_opener"):
        assert word in said


WORDS = st.text("abcdefgh-_", min_size=1, max_size=15)
CELLS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6), st.integers(40, 160))
def test_no_word_is_ever_broken_and_no_line_too_long(columns, width):
    header, cells = zip(*columns, strict=True)
    tables = fitting_tables("Title", "", list(header), [("step 10", list(cells))], width)
    said = printed(tables, width)
    assert max(map(len, said.splitlines())) <= width
    assert {word for text in (*header, *cells) for word in text.split()} <= set(said.split())


def test_a_grid_is_turned_where_that_needs_fewer_tables():
    wide = Grid(["guard", *(f"measure {n}" for n in range(9))], [["off", *"123456789"]])
    (table,) = fitting_grids(wide, 40)
    assert table.title == "guard"
    assert [column.header for column in table.columns] == ["", "off"]
    assert table.row_count == 9
    (table,) = fitting_grids(Grid(["a", "b", "c"], [["[x]", "1", "2"]]), 80)
    assert [column.header for column in table.columns] == ["", "b", "c"]
    assert "[x]" in printed([table], 80)


def test_a_long_name_of_a_row_goes_on_in_the_next_line():
    said = printed(fitting_grids(Grid(["a", "b"], [["word " * 20, "12345"]]), 60), 60)
    assert max(map(len, said.splitlines())) <= 60
    assert said.count("word") == 20
    assert "12345" in said


def test_a_rate_and_its_interval_stay_in_one_line_where_a_table_is_cut():
    rates = ["100.0 (72.2 to 100.0)", "98.7 (97.0 to 99.5)"] * 3
    grid = Grid(["detector", *(f"false alarms {n}" for n in range(6))], [["probe", *rates]] * 6)
    said = printed(fitting_grids(grid, 80), 80)
    assert [said.count(rate) for rate in rates[:2]] == [18, 18]
    assert max(map(len, said.splitlines())) <= 80

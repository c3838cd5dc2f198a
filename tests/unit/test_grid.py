"""Tables for a terminal: no word is cut, no column is lost, whatever the width."""

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sirl.cli.console import drawn
from sirl.reports.grid import FRAME, LABEL_WIDTH, Grid, markdown

GRID = Grid(
    ["detector", "true positives", "false alarms: look-alikes", "AUROC"],
    [["probe", "98.7 (97.0 to 99.5)", "0.7", "0.999"], ["perplexity", "1.0", "0.3", "0.4"]],
)


def printed(grid, width):
    console = Console(width=width)
    with console.capture() as capture:
        for block in grid.blocks(width):
            console.print(drawn(block))
    return capture.get()


def test_a_table_that_fits_is_one_block_and_heads_break_between_words():
    assert GRID.blocks(80) == [GRID]
    assert GRID.widths == [10, 19, 11, 5]
    text = printed(GRID, 80)
    assert "look-alikes" in text
    assert "98.7 (97.0 to 99.5)" in text


def test_a_wide_table_is_cut_between_columns_and_repeats_its_labels():
    first, second = GRID.blocks(48)  # 1 + 13 + 22 leave 12 characters, and the third needs 14
    assert first == Grid(["detector", "true positives"], [r[:2] for r in GRID.rows])
    assert second.head == ["detector", "false alarms: look-alikes", "AUROC"]
    assert second.rows == [["probe", "0.7", "0.999"], ["perplexity", "0.3", "0.4"]]


def test_a_table_is_turned_where_that_needs_fewer_blocks():
    wide = Grid(["guard", *(f"measure {n}" for n in range(9))], [["off", *"123456789"]])
    (turned,) = wide.blocks(40)
    assert turned.head == ["guard", "off"]
    assert turned.rows[8] == ["measure 8", "9"]


def test_markdown_has_sentences_and_whole_tables():
    lines = markdown(["Before.", Grid(["a", "b"], [["1", "2"]]), "After."])
    assert lines == ["Before.", "| a | b |", "| --- | --- |", "| 1 | 2 |", "After."]


WORDS = st.lists(st.text("abc-", min_size=1, max_size=14), min_size=1, max_size=5).map(" ".join)


LINES = st.integers(2, 7).flatmap(
    lambda n: st.lists(st.lists(WORDS, min_size=n, max_size=n), min_size=2, max_size=6)
)
WIDTHS = st.integers(LABEL_WIDTH + 90, 200)


@given(LINES, WIDTHS)
def test_every_cell_is_in_a_block_and_every_block_fits(lines, width):
    grid = Grid(lines[0], lines[1:])
    blocks = grid.cut(width)
    columns = [col for b in blocks for col in list(zip(b.head, *b.rows, strict=True))[1:]]
    assert columns == list(zip(grid.head, *grid.rows, strict=True))[1:]
    for block in blocks:
        assert sum(block.widths) + FRAME * len(block.head) + 1 <= width
    assert all(len(line) <= width for line in printed(grid, width).splitlines())


@given(LINES, WIDTHS)
def test_no_word_of_a_table_is_cut(lines, width):
    grid = Grid(lines[0], lines[1:])
    text = printed(grid, width)
    for line in lines:
        for cell in line:
            assert all(word in text for word in cell.split())

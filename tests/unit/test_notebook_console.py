"""What the functions of `import sirl` say while they work."""

import logging
import sys

from sirl.workflows.notebook_console import NotebookConsole


def two_stages(tell):
    for done in range(3):
        tell("asking base", done, 2)
    tell("asking base", 2, 2)
    for done in range(2):
        tell(f"training, loss {done}", done, 1)


def test_progress_is_drawn_where_somebody_looks_on(monkeypatch, capsys, caplog):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with caplog.at_level(logging.INFO, "sirl"), NotebookConsole().bar() as tell:
        two_stages(tell)
    drawn = capsys.readouterr().err.removesuffix("\n").split("\n")
    shown = [line.rpartition("\r")[2].partition("|")[0] for line in drawn]
    assert shown == ["asking base: 100%", "training, loss 1: 100%"]
    assert not caplog.records


def test_a_stage_that_begins_again_has_a_new_bar_and_an_unfinished_one_stays(monkeypatch, capsys):
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    with NotebookConsole().working() as work:
        two_stages(work.progress)
        work.progress("asking base", 1, 4)
    assert not work.stop()
    assert "asking base:  25%" in capsys.readouterr().err.splitlines()[-1]


def test_progress_is_logged_where_nobody_looks_on(monkeypatch, capsys, caplog):
    monkeypatch.delattr(sys, "ps1", raising=False)
    with caplog.at_level(logging.INFO, "sirl"), NotebookConsole().bar() as tell:
        tell("asking base", 1, 2)
    assert caplog.messages == ["asking base: 1/2"]
    assert capsys.readouterr().err == ""


def test_warnings_name_keywords(caplog):
    with caplog.at_level(logging.WARNING, "sirl"):
        NotebookConsole().warn(["give --new-tokens 64 or --resume"])
    assert caplog.messages == ["give new_tokens=64 or existing='resume'"]

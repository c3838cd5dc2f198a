import sys

import pytest

from sirl.cli.main import main


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a verb in this process; its exit status and both streams."""

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["sirl", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    return called

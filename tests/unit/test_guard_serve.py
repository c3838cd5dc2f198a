"""What `sirl guard serve` checks before it loads a model."""

import pytest

from sirl.cli.console import Terminal
from sirl.config import GuardServeConfig
from sirl.errors import RunError
from sirl.workflows.guard import serve


def test_a_folder_that_cannot_be_written_is_found_before_a_model_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    loaded = []
    monkeypatch.setattr(serve, "opened_service", lambda *_: loaded.append(1))
    config = GuardServeConfig(
        model="embedded", guard="none", port=0, out=str(tmp_path / "file" / "alarms")
    )
    with pytest.raises(RunError, match="cannot write"):
        serve.serve_guard(config, Terminal())
    assert not loaded

"""Our loss beside TRL's, in TRL's own environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "parity_trl.py"


def test_trl_and_we_make_the_same_of_the_same_completions(tmp_path):
    peer = os.environ.get("SIRL_TRL_PYTHON")
    if not peer:
        pytest.skip("SIRL_TRL_PYTHON names no interpreter with benchmarks/requirements.txt")
    out = tmp_path / "parity.json"
    command = [sys.executable, str(SCRIPT), "--peer", peer, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(out.read_text())
    assert set(found["gaps"]) == {"on-policy", "off-policy"}
    for case, gaps in found["gaps"].items():
        for what, gap in gaps.items():
            assert gap < 1e-5, (case, what)

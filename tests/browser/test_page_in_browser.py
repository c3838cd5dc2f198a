"""The page in a real browser: nothing errs, nothing is fetched, nothing hostile runs."""

import os
import re
import shutil
import subprocess

import pytest

from tests.unit.test_page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--v=0",
]


@pytest.mark.browser
def test_the_page_is_quiet_and_inert(tmp_path):
    if not CHROMIUM:
        if os.environ.get("SIRL_REQUIRE_BROWSER"):
            pytest.fail("chromium is required here and not installed")
        pytest.skip("chromium is not installed")
    file = tmp_path / "report.html"
    file.write_text(page(show_text=True), encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    dom = done.stdout
    assert "<title>sirl demo</title>" in dom
    assert "Defence success from 40% to 90%" in dom
    assert dom.count("<svg") == 6
    assert "\u202e" not in dom
    assert not re.search(r"CONSOLE|Refused to|ERR_", done.stderr), done.stderr
    elsewhere = set(re.findall(r"(?:src|href)=\"(https?://[^\"]+)\"", dom))
    assert not elsewhere

"""The pages of the project agree with the code and with each other."""

import re
from pathlib import Path

import pytest

from sirl.cli.settings import CONFIGS, markdown
from sirl.cli.verbs import VERBS, loaded

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_page_of_settings_is_made_from_the_settings():
    assert (ROOT / "docs/settings.md").read_text() == markdown(), (
        "run python -m sirl.cli.settings > docs/settings.md"
    )


def test_every_verb_that_takes_settings_is_listed():
    taking = set()
    for verb in VERBS:
        command = loaded(verb)
        for name, own in getattr(command, "commands", {"": command}).items():
            if any("--set" in param.opts for param in own.params):
                taking.add(f"{verb} {name}".strip())
    assert {"judge again", "guard serve", "train"} <= taking
    assert taking == {*CONFIGS}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_link_to_a_file_of_the_project_leads_somewhere(page):
    text = page.read_text()
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    gone = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not gone
    named = re.findall(r"\bdocs/[\w-]+\.md\b", text)
    assert not [name for name in named if not (ROOT / name).exists()]

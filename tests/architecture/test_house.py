"""The laws of the house."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import sirl

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "src").rglob("*.py"))
FROZEN = {
    "demo": {"--out", "--seed", "--set", "--resume", "--overwrite", "--json"},
    "train": {
        "--model", "--prompts", "--steps", "--seed", "--group", "--batch", "--learning-rate",
        "--kl", "--lora", "--no-lora", "--checkpoint-every", "--config", "--set", "--out",
        "--resume", "--overwrite", "--strict", "--json",
    },
    "evaluate": {
        "--model", "--behaviours", "--attacks", "--judge", "--attacker", "--sheet", "--templates",
        "--transcripts", "--targets", "--ordinary", "--lookalikes", "--benchmarks", "--limit",
        "--seed", "--config", "--set", "--out", "--strict", "--resume", "--overwrite", "--json",
    },
    "probe": {
        "--model", "--behaviours", "--attacks", "--ordinary", "--lookalikes", "--limit", "--seed",
        "--config", "--set", "--out", "--strict", "--resume", "--overwrite", "--json",
    },
    "plan": {
        "--model", "--gpus", "--gpu", "--gpu-memory", "--prompt-tokens", "--group", "--batch",
        "--steps", "--lora", "--no-lora", "--config", "--set", "--json",
    },
    "doctor": {"--json"},
    "compare": {"--before-model", "--after-model", "--json"},
    "gate": {"--base", "--min-dsr", "--max-overrefusal-rise", "--json"},
    "export": {"--format", "--model", "--attack", "--texts", "--out"},
    "judge again": {"--judge", "--refusals", "--out", "--overwrite", "--json"},
    "judge prefer": {
        "--judge", "--out", "--kind", "--before-model", "--after-model", "--json",
    },
    "judge calibrate": {"--labels", "--judge", "--out", "--json"},
    "judge fit": {"--labels", "--out", "--seed", "--json"},
    "world build": {"--out", "--seed", "--json"},
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 50, node.name


def modules():
    return [m.name for m in pkgutil.walk_packages(sirl.__path__, "sirl.")]


@pytest.mark.parametrize("name", modules())
def test_public_names_are_listed_sorted_and_there(name):
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert all(hasattr(module, n) for n in listed)
    order = [(not n.isupper(), not n[0].isupper(), n) for n in listed]
    assert order == sorted(order)


def test_the_command_line_is_frozen():
    from sirl.cli.verbs import VERBS, loaded

    found = {}
    for name in VERBS:
        verb = loaded(name)
        assert verb.help.splitlines()[0] == VERBS[name]
        members = getattr(verb, "commands", None)
        pairs = {f"{name} {k}": v for k, v in members.items()} if members else {name: verb}
        for label, leaf in pairs.items():
            options = {o for p in leaf.params for o in (*p.opts, *p.secondary_opts)}
            found[label] = {o for o in options if o.startswith("-")} - {"--help", "-h"}
    assert found == FROZEN


def test_imports_keep_their_contracts():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([lint], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_no_weights_but_safetensors_and_no_pickles():
    packaged = {p.suffix for p in (ROOT / "src" / "sirl").rglob("*") if p.is_file()}
    assert not packaged & {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
    for path in FILES:
        text = path.read_text()
        assert "torch.load(" not in text
        assert "import pickle" not in text
        assert "trust_remote_code=True" not in text

"""`sirl doctor`: what works on this machine, and how to install what is missing."""

import os
from json import dumps
from pathlib import Path
from typing import Any

import typer

from sirl.cli.flags import JSON
from sirl.cli.machine import free_disk, free_memory
from sirl.errors import ConfigError
from sirl.planning.memory import GIB

__all__ = ["doctor"]

BROKEN = 1
"""Exit status if the core does not work."""


def doctor(json: bool = JSON) -> None:
    """Check what works here and how to install what is missing."""
    from sirl.registry.environment import caches, environment

    facts = environment()
    facts["memory_free"] = free_memory()
    facts["disk"] = {
        place: {"folder": str(path), "free": free_disk(path)}
        for place, path in (("here", Path.cwd()), ("models of the hub", caches()))
    }
    facts["writable"] = writable(Path("runs"))
    facts["code_sandbox"] = code_sandbox()
    facts["broken"] = broken(facts)
    facts["works"] = works(facts)
    if json:
        typer.echo(dumps(facts))
    else:
        for line in (*lines(facts), *missing(facts), verdict(facts)):
            typer.echo(line)
    if facts["broken"]:
        raise typer.Exit(BROKEN)


def writable(folder: Path) -> bool:
    """Whether a folder can be written to or created."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def code_sandbox() -> str:
    """The sandbox for code that a model writes for humaneval and mbpp."""
    from sirl.benchmarks.fence.running import protection

    try:
        return protection().sentence
    except ConfigError as fault:
        return str(fault)


def broken(facts: dict[str, Any]) -> list[str]:
    """Faults of the core, in sentences."""
    lost = [name for name, found in facts["core"].items() if found is None]
    said = [f"{name} is missing: pip install --force-reinstall sirl" for name in lost]
    if not facts["embedded_model"]:
        said.append("the embedded model is missing: pip install --force-reinstall sirl")
    return said


def works(facts: dict[str, Any]) -> dict[str, bool]:
    """Whether each use of sirl works here."""
    torch = facts["torch"] or {}
    models = complete(facts, "train") and "broken" not in torch
    runs = models and facts["writable"] and not facts["broken"]
    return {
        "demo": runs,
        "train on CPU": runs,
        "train on GPU": runs and bool(torch["gpus"]),
        "distributed": models and any(torch["distributed"].values()),
        "evaluate endpoints": complete(facts, "serve") and facts["writable"],
    }


def complete(facts: dict[str, Any], extra: str) -> bool:
    """Whether all packages of an extra are installed."""
    return None not in facts["extras"][extra]["packages"].values()


def lines(facts: dict[str, Any]) -> list[str]:
    """The findings, one per line."""
    said = [
        f"python {facts['python']} on {facts['platform']}",
        f"sirl {facts['sirl']}",
        f"torch: {torch_line(facts['torch'])}",
    ]
    for gpu in (facts["torch"] or {}).get("gpus", []):
        half = "bfloat16" if gpu["bfloat16"] else "no native bfloat16"
        said.append(f"GPU: {gpu['name']}, {gpu['bytes'] / GIB:.1f} GiB, {half}")
    if facts["memory_free"] is not None:
        said.append(f"memory: {facts['memory_free'] / GIB:.1f} GiB free")
    for place, disk in facts["disk"].items():
        said.append(f"disk: {disk['free'] / GIB:.1f} GiB free for {place} ({disk['folder']})")
    said.append(f"code of humaneval and mbpp: {facts['code_sandbox']}")
    if not facts["writable"]:
        said.append(
            "runs: this folder is not writable; change the folder, or give each verb an --out"
        )
    return said


def torch_line(torch: dict[str, Any] | None) -> str:
    """Torch, in one line."""
    if torch is None:
        return "not installed; not needed to evaluate endpoints or to judge by rules"
    if "broken" in torch:
        return f"installed but fails to import: {torch['broken']}; reinstall it"
    known = {True: "yes", False: "no", None: "unknown"}
    half = ", ".join(f"{name} {known[there]}" for name, there in torch["cpu_bfloat16"].items())
    spread = " and ".join(name for name, there in torch["distributed"].items() if there)
    return (
        f"{torch['version']}, {torch['threads']} threads on {torch['cores']} cores, CPU "
        f"{torch['cpu']} ({half}), {'CUDA' if torch['gpus'] else 'no CUDA'}, "
        f"distributed backends: {spread or 'none'}"
    )


def missing(facts: dict[str, Any]) -> list[str]:
    """Extras: installed, or what is missing and the command that installs it."""
    said = []
    for extra, about in facts["extras"].items():
        lacks = [name for name, found in about["packages"].items() if found is None]
        state = f"missing {', '.join(lacks)}: {about['add']}" if lacks else "installed"
        said.append(f"extra {extra}: {state}")
    there = [f"{name} {found}" for name, found in facts["beside"].items() if found]
    return [*said, f"optional tools: {', '.join(there) or 'none of ' + ', '.join(facts['beside'])}"]


def verdict(facts: dict[str, Any]) -> str:
    """The closing sentence: what works and what does not."""
    if facts["broken"]:
        return f"the core is broken: {'; '.join(facts['broken'])}"
    yes = [name for name, there in facts["works"].items() if there]
    no = [name for name, there in facts["works"].items() if not there]
    return "; ".join(
        part
        for part in (
            f"works here: {', '.join(yes)}" * bool(yes),
            f"not: {', '.join(no)}" * bool(no),
        )
        if part
    )

"""`sirl plan`: estimate the cost of training before it starts."""

from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.table import Table

from sirl import registry
from sirl.cli.console import closing, page
from sirl.cli.flags import JSON, takes
from sirl.cli.machine import free_disk, free_memory
from sirl.config import PlanConfig

if TYPE_CHECKING:
    from sirl.planning.memory import Phase, Shape, Step
    from sirl.planning.throughput import Rates

__all__ = ["plan"]


@takes(
    PlanConfig,
    "model",
    "gpus",
    "gpu",
    "gpu_memory",
    "prompt_tokens",
    "group",
    "batch",
    "steps",
    "new_tokens",
    "lora",
)
def plan(
    settings: PlanConfig,
    json: bool = JSON,
) -> None:
    """Estimate the memory, time and disk that training takes.

    Reads config.json, not the weights. Assumes that every answer has the full --new-tokens.
    """
    registry.require_models("sirl plan")
    registry.check_effects(settings)
    room = registry.gpu_room(settings)  # report an unknown GPU before anything is measured
    shape, step = registry.planned(settings)
    document = planned(settings, shape, step, room, registry.rates(settings, step))
    if json:
        typer.echo(dumps(document))
        return
    show(document)


def checkpoints(config: PlanConfig) -> int:
    """Number of checkpoints: periodic ones, one per mini-evaluation, and the last step."""
    every = [n for n in (config.checkpoint_every, config.eval_every) if n]
    return sum(any(step % n == 0 for n in every) for step in range(1, config.steps)) + 1


def planned(
    config: PlanConfig, shape: "Shape", step: "Step", room: int | None, rates: "Rates | None"
) -> dict[str, Any]:
    """The plan as JSON: bytes, seconds and sentences."""
    from sirl.planning.advice import remedies
    from sirl.planning.memory import checkpoint_bytes, peak, phases
    from sirl.planning.throughput import seconds, seconds_of_points

    there = free_memory() if room is None else room
    worst = peak(shape, step)
    each = checkpoint_bytes(shape, step)
    saved = checkpoints(config)
    disk = {"checkpoint": each, "run": saved * each, "free": free_disk(Path(config.out))}
    changes = remedies(shape, step, there) if there is not None else []
    document = {
        "model": config.model,
        "parameters": shape.parameters,
        "device": f"{step.gpus} x GPU" if step.gpus else "CPU",
        "micro_batches": step.micro_batches,
        "phases": {p.name: {**p.parts, "sum": p.total} for p in phases(shape, step)},
        "peak": {"phase": worst.name, "bytes": worst.total},
        "room": there,
        "host": step.weight_bytes * shape.parameters + shape.stored,
        "seconds": seconds(shape, step, rates) if rates else None,
        "seconds_of_points": (
            seconds_of_points(shape, step, rates) if rates and config.method == "instinct" else None
        ),
        "rates": asdict(rates) if rates else None,
        "disk": disk,
        "remedies": [asdict(change) for change in changes],
    }
    return {**document, "sentences": sentences(config, step, document, worst)}


def sentences(config: PlanConfig, step: "Step", plan: dict[str, Any], worst: "Phase") -> list[str]:
    """Sentences on memory and how to lower it, on time and on disk."""
    from sirl.planning.advice import fits, fitting_sentence, size

    where = "of each GPU" if step.gpus else "free on this machine"
    there, said = plan["room"], []
    if there is None:
        said.append(f"needs {size(worst.total)} while {worst.name}; the free memory is unknown")
    else:
        said.append(fitting_sentence(worst, there, where))
        if not fits(worst, there):
            said += [change_sentence(change) for change in plan["remedies"]] or [
                "no setting lowers it: use a smaller model, or a device with more memory"
            ]
    if step.gpus > 1:
        held = "sharded" if step.shard else "replicated; --set shard=true shards them"
        said.append(
            f"{step.gpus} GPUs: prompts split evenly, the reference model replicated; weights, "
            f"gradients and optimizer moments {held}"
        )
    if step.gpus:
        said.append(f"loading temporarily takes {size(plan['host'])} of host memory")
    said.append(time_sentence(config, plan))
    disk = plan["disk"]
    short = "; that exceeds the free space" if disk["run"] > disk["free"] else ""
    said.append(
        f"disk: {size(disk['checkpoint'])} per checkpoint, {size(disk['run'])} for the run of "
        f"{config.steps} steps, {size(disk['free'])} free{short}"
    )
    if short:
        said.append("change: raise --checkpoint-every, use --lora, or choose another --out")
    return said


def change_sentence(change: dict[str, Any]) -> str:
    """The effect of a change, in words."""
    from sirl.planning.advice import size

    result = "fits" if change["fits"] else "does not fit either"
    return f"change: {change['change']} takes {size(change['peak'])} at most and {result}"


def time_sentence(config: PlanConfig, plan: dict[str, Any]) -> str:
    """Seconds per step, or why they are unknown."""
    if plan["seconds"] is None:
        return "time: unknown; name a known GPU with --gpu (a T4 has no bfloat16)"
    rates = plan["rates"]
    sampled = time_of(plan["seconds"], config.steps)
    if points := plan["seconds_of_points"]:
        said = (
            f"{time_of(points, config.steps)} with decision points; {sampled} if answers must be "
            "sampled, since first tokens do not show the decision"
        )
    else:
        said = f"{sampled} with full-length answers, less if they end sooner"
    return (
        f"time: at least {said}; at {rates['operations'] / 1e9:.3g} GFLOP/s and "
        f"{rates['bytes'] / 1e9:.3g} GB/s ({rates['source']})"
    )


def time_of(seconds: dict[str, float], steps: int) -> str:
    """Time per step, by part, and of all steps."""
    each = sum(seconds.values())
    parts = ", ".join(f"{name} {value:.3g} s" for name, value in seconds.items())
    return f"{each:.3g} s per step ({parts}), {each * steps / 60:.3g} min for {steps} steps"


def show(plan: dict[str, Any]) -> None:
    """Print the memory table, then the sentences."""
    from sirl.planning.advice import size

    found = plan["phases"]
    table = Table()
    table.add_column("memory")
    for name in found:
        table.add_column(f"{name} (peak)" if name == plan["peak"]["phase"] else name)
    parts = dict.fromkeys(part for phase in found.values() for part in phase if part != "sum")
    for part in (*parts, "sum"):
        cells = [phase.get(part, 0) for phase in found.values()]
        if any(cells):
            table.add_row(part, *(size(cell) if cell else "" for cell in cells))
    typer.echo(f"{plan['model']}: {plan['parameters']:,} parameters, {plan['device']}")
    page().print(table)
    closing({}, *plan["sentences"])

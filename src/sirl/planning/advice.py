"""Whether a plan fits in memory, and which single change would make it fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sirl.planning.memory import GIB, Phase, Shape, Step, peak

__all__ = ["Remedy", "fits", "fitting_sentence", "remedies", "size"]

USABLE = 0.9
"""Usable share of free memory; the rest is for libraries and fragmentation."""
RANK = 16
MOST_GPUS = 64


@dataclass(frozen=True)
class Remedy:
    """A change of settings, and the peak memory in bytes with it."""

    change: str
    peak: int
    fits: bool


def size(count: int) -> str:
    """Bytes in a readable unit.

    >>> size(3 * 2**30), size(5 * 2**20), size(1000)
    ('3.0 GiB', '5.0 MiB', '1.0 KiB')
    """
    for unit, name in ((GIB, "GiB"), (1 << 20, "MiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1024:.1f} KiB"


def fits(phase: Phase, room: int) -> bool:
    """Whether a phase fits in `room` bytes of free memory."""
    return phase.total <= USABLE * room


def fitting_sentence(phase: Phase, room: int, where: str) -> str:
    """Whether the peak fits, in a sentence."""
    most = f"{size(phase.total)} while {phase.name}"
    if fits(phase, room):
        return f"fits: {most}, of {size(room)} {where}"
    if phase.total <= room:
        return f"barely fits: {most} leaves less than a tenth of {size(room)} {where}"
    return f"does not fit: {most} exceeds {size(room)} {where}"


def remedies(shape: Shape, step: Step, room: int) -> list[Remedy]:
    """Single changes that lower the peak, fitting ones first; all combined if none fits."""
    now = peak(shape, step).total
    found = []
    every = step
    for change, changed in changes(shape, step, room):
        then = peak(shape, changed)
        if then.total < now:
            found.append(Remedy(change, then.total, fits(then, room)))
            if changed.gpus == step.gpus:
                every = merged(step, every, changed)
    if not any(remedy.fits for remedy in found) and len(found) > 1:
        then = peak(shape, every)
        found.append(Remedy("all of these on one device", then.total, fits(then, room)))
    return sorted(found, key=lambda remedy: (not remedy.fits, remedy.peak))


def merged(step: Step, every: Step, changed: Step) -> Step:
    """The step `every` with the fields that `changed` changes."""
    new: dict[str, Any] = {k: v for k, v in vars(changed).items() if v != getattr(step, k)}
    return replace(every, **new)


def changes(shape: Shape, step: Step, room: int) -> Iterator[tuple[str, Step]]:
    """Candidate changes, each the smallest of its kind that fits, or the largest."""
    if step.lora_rank is None:
        yield "--lora", replace(step, lora_rank=RANK, copied_reference=None)
    elif not step.bfloat16:
        yield "--set dtype=bfloat16", replace(step, bfloat16=True)
    if step.per_micro_batch > 1:
        yield mildest(shape, step, room, "token_budget", step.read(step.per_micro_batch))
    if step.decoded > step.group:
        yield mildest(shape, step, room, "sampling_batch_size", step.decoded)
    count = max(1, step.gpus)
    while step.gpus and count < MOST_GPUS:
        count *= 2
        more = replace(step, gpus=count, shard=True)
        if count == MOST_GPUS or fits(peak(shape, more), room):
            yield f"--gpus {count} --set shard=true", more
            return


def mildest(shape: Shape, step: Step, room: int, name: str, start: int) -> tuple[str, Step]:
    """A setting halved until the step fits; the value with the lowest peak if none fits."""
    least = peak(shape, step).total
    value, found = start, (f"--set {name}={start}", step)
    while value > 1:
        value //= 2
        new: dict[str, Any] = {name: value}
        changed = replace(step, **new)
        then = peak(shape, changed)
        if then.total < least:
            least, found = then.total, (f"--set {name}={value}", changed)
        if fits(then, room):
            break
    return found

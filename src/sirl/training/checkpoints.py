"""Checkpoints: an ordinary model folder plus the state that a resumed run needs.

    checkpoints/step-000030/
    ├── config.json, model.safetensors, tokenizer files     loads with plain transformers
    │   (or adapter_config.json, adapter_model.safetensors  loads with peft)
    ├── trainer/optimizer.safetensors    (of shards: trainer/optimizer/, a file per process)
    ├── trainer/state.json
    └── manifest.json                                       sizes and hashes of all, written last

A checkpoint is written under a temporary name and renamed when complete. One whose manifest does
not match its files is skipped in favour of the one before.
"""

import errno
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import (
    HuggingFaceStorageReader,
    HuggingFaceStorageWriter,
)
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as write_shards
from torch.distributed.tensor import DTensor, distribute_tensor

from sirl.errors import RunError
from sirl.models.chat import ChatModel
from sirl.models.folder import MANIFEST, changed_file, hash_of_file
from sirl.runs.disk import (
    checkpoint_name,
    disk_errors,
    is_checkpoint,
    mapping_in,
    step_of,
    sync_file,
    sync_folder,
)
from sirl.runs.disk import read as bytes_of
from sirl.training.update import PolicyLearner

__all__ = ["Checkpoint", "fault", "newest", "read", "restore_optimizer", "save"]

STATE = "trainer/state.json"
OPTIMIZER, SHARDS = "optimizer.safetensors", "optimizer"


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint."""

    path: Path
    step: int
    """Steps taken when it was written."""
    state: Mapping[str, Any]


def save(folder: Path, step: int, learner: PolicyLearner, state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step atomically; every rank must call it.

    Raises:
        RunError: The disk is full; earlier checkpoints are untouched.
    """
    place = folder / checkpoint_name(step)
    beside = folder / f".writing-{place.name}"
    ranks = learner.ranks
    try:
        if ranks.main:
            shutil.rmtree(beside, ignore_errors=True)
            (beside / "trainer").mkdir(parents=True)
        ranks.barrier()
        weights = learner.parallel.weights()
        if learner.parallel.shards:
            save_shards(learner, beside / "trainer" / SHARDS)
        if ranks.main:
            write(beside, learner, weights, {"step": step, **state})
            make_room(place)
            beside.rename(place)
            sync_folder(folder)
        ranks.barrier()
    except (
        Exception,
        CheckpointException,
    ) as error:  # libraries wrap the disk-full error in their own
        if ranks.main:
            shutil.rmtree(beside, ignore_errors=True)
        if is_disk_full(error):
            raise RunError(
                f"no space left while saving {place}: free some space, then continue with "
                "--resume; "
                "earlier checkpoints are complete"
            ) from error
        with disk_errors(place):
            raise
    return place


def make_room(place: Path) -> None:
    """Free the name of a checkpoint: remove a folder that sirl wrote, rename any other."""
    if is_checkpoint(place):  # left by a run whose manifest no longer agrees
        shutil.rmtree(place)
    elif place.exists() or place.is_symlink():
        aside = place.with_name(f"not-sirl-{place.name}")
        if aside.exists():
            raise RunError(f"cannot write {place}: it is not a checkpoint of sirl; move it away")
        place.rename(aside)


def write(
    folder: Path,
    learner: PolicyLearner,
    weights: Mapping[str, Any] | None,
    document: Mapping[str, Any],
) -> None:
    """What rank 0 writes: everything but sharded optimizer moments."""
    write_model(folder, learner.chat, weights)
    if not learner.parallel.shards:
        save_file(optimizer_tensors(learner), folder / "trainer" / OPTIMIZER)
    (folder / "trainer" / "state.json").write_text(json.dumps(document), "utf-8")
    write_manifest(folder)


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of any library means that the disk is full."""
    if isinstance(error, CheckpointException):
        return any(is_disk_full(failure) for failure, _ in error.failures.values())
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return full or "No space left" in str(error) or "os error 28" in str(error)


def write_model(folder: Path, chat: ChatModel, weights: Mapping[str, Any] | None) -> None:
    """Save model or adapter and tokenizer for transformers or peft.

    `weights` is the full state dict of a sharded model.
    """
    chat.model.save_pretrained(folder, state_dict=weights)
    chat.tokenizer.save_pretrained(folder)


def optimizer_tensors(learner: PolicyLearner) -> dict[str, torch.Tensor]:
    """The optimizer's moments by parameter name."""
    tensors = {}
    for name, parameter in learner.parameters.items():
        for key, value in learner.optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = value.detach().contiguous().cpu()
    return tensors


def save_shards(learner: PolicyLearner, folder: Path) -> None:
    """Each rank writes its shard of the moments as safetensors with their offsets."""
    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    write_shards(moments(learner), storage_writer=writer)


def moments(learner: PolicyLearner) -> dict[str, Any]:
    """The optimizer's moments in place; zeros if it has not stepped."""
    found: dict[str, Any] = {}
    for name, parameter in learner.parameters.items():
        state = learner.optimizer.state[parameter]
        if not state:
            # AdamW keeps its step count on the CPU unless fused.
            home = None if learner.parallel.shards else parameter.device
            state["step"] = torch.zeros((), dtype=torch.float32, device=home)
            state["exp_avg"] = torch.zeros_like(parameter.detach())
            state["exp_avg_sq"] = torch.zeros_like(parameter.detach())
        found |= {f"{name}/{key}": value for key, value in state.items()}
    return found


def restore_optimizer(learner: PolicyLearner, checkpoint: Checkpoint) -> None:
    """Restore the optimizer's moments, whatever the number of ranks that wrote them."""
    here = moments(learner)
    shards = checkpoint.path / "trainer" / SHARDS
    if shards.is_dir():
        reader = HuggingFaceStorageReader(str(shards))
        with warnings.catch_warnings():
            # One process is meant to read what several wrote.
            warnings.filterwarnings("ignore", "torch.distributed is disabled, unavailable")
            load_shards(here, storage_reader=reader, no_dist=not dist.is_initialized())
        return
    for key, value in load_file(checkpoint.path / "trainer" / OPTIMIZER).items():
        mine = here[key]
        if isinstance(mine, DTensor):
            mine.copy_(distribute_tensor(value, mine.device_mesh, mine.placements))
        else:
            mine.copy_(value)


def write_manifest(folder: Path) -> None:
    """Sizes and hashes of every file, written and synced last."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    listing = {str(p.relative_to(folder)): hash_of_file(p) for p in files}
    for path in files:
        sync_file(path)
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"sha256": listing}, indent=1), "utf-8")
    sync_file(manifest)
    sync_folder(folder)


def fault(folder: Path) -> str:
    """The fault of a checkpoint in a few words; empty if it is intact."""
    if not folder.is_dir():
        return "it is not a folder"
    try:
        listing = mapping_in(bytes_of(folder / MANIFEST), MANIFEST)["sha256"]
        files = dict(listing.items())
    except (RunError, KeyError, AttributeError):
        return "its manifest cannot be read"
    if STATE not in files:
        return f"its manifest does not name {STATE}"
    return changed_file(folder, files)


def newest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest intact checkpoint, if any, and a warning for each newer one skipped."""
    passed_over = []
    for place in sorted(folder.glob("step-*"), key=step_of, reverse=True):
        if wrong := fault(place):
            passed_over.append(f"{place} is skipped: {wrong}")
            continue
        return read(place), passed_over
    return None, passed_over


def read(place: Path) -> Checkpoint:
    """A checkpoint known to be intact."""
    state = json.loads((place / STATE).read_text("utf-8"))
    return Checkpoint(place, int(state["step"]), state)

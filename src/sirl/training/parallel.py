"""Data parallelism over torch.distributed, with DDP or FSDP2.

All ranks run the same code path. Prompts are sharded for sampling, groups of completions for the
update; everything else is replicated, so collectives always match. Rank 0 writes the run folder.
"""

import json
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from sirl.errors import ModelError, SirlError
from sirl.models.forward import Scorer, decoder
from sirl.roles import Engine
from sirl.runs import Run
from sirl.types import Completion, Prompt

__all__ = [
    "DataParallel",
    "FullySharded",
    "Parallelism",
    "Ranks",
    "SharedEngine",
    "SharedRun",
    "SingleProcess",
    "shard_rows",
]


REFUSED = b"refused"
"""Broadcast by rank 0 if it could not open the run."""
SHORTEST = Completion("", (0,), (0,), "", (), (), "stop")
"""Dummy input for a rank that must run a pass but has no data."""


@dataclass(frozen=True)
class Ranks:
    """The ranks of a run and their collectives; a single one without torchrun."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    def all_reduce_sum(self, values: Sequence[float]) -> list[float]:
        """All-reduce (sum) of each value."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank (all-reduce)."""
        return self.all_reduce_sum([float(flag)])[0] > 0

    def all_reduce_max(self, count: int) -> int:
        """All-reduce (max) of a count."""
        if self.size == 1:
            return count
        tensor = torch.tensor(count, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def all_gather(self, said: bytes) -> list[bytes]:
        """All-gather, in rank order; of bytes, since `all_gather_object` would send pickles."""
        if self.size == 1:
            return [said]
        width = self.all_reduce_max(len(said))
        mine = torch.zeros(width + 8, dtype=torch.uint8)
        mine[:8] = torch.frombuffer(bytearray(len(said).to_bytes(8, "big")), dtype=torch.uint8)
        if said:
            mine[8 : 8 + len(said)] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        found = [torch.zeros_like(mine, device=self.device) for _ in range(self.size)]
        dist.all_gather(found, mine.to(self.device))
        texts = [bytes(t.cpu().numpy()) for t in found]
        return [text[8 : 8 + int.from_bytes(text[:8], "big")] for text in texts]

    def broadcast(self, said: bytes) -> bytes:
        """Broadcast from rank 0."""
        return self.all_gather(said if self.main else b"")[0]

    def agreed(self, value: Any) -> Any:  # noqa: ANN401 - any JSON
        """The value of rank 0, which must be JSON: all decide by it, as rounding may differ."""
        return json.loads(self.broadcast(json.dumps(value).encode())) if self.size > 1 else value

    def barrier(self) -> None:
        """Barrier."""
        if self.size > 1:
            dist.barrier()

    def close(self) -> None:
        """End the process group, at the end of a run.

        Its threads may outlive it, since DTensor's caches refer to it. They drop the tensors of the
        last collective once they get the interpreter's lock, which is why this waits: a thread that
        gets it only while the interpreter exits aborts the process (pytorch/pytorch#179291).
        """
        if self.size > 1:
            dist.destroy_process_group()
            time.sleep(0.2)

    @property
    def device(self) -> torch.device:
        """Device of the tensors of collectives: the GPU for NCCL, else the CPU."""
        nccl = self.size > 1 and dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def shard_rows(completions: Sequence[Completion], ranks: Ranks) -> list[int]:
    """This rank's share of the completions, whole groups, balanced by tokens.

    Greedy: largest groups first, each to the rank with the fewest tokens; the same on every rank.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, completion in enumerate(completions):
        groups.setdefault(completion.prompt_ids, []).append(i)
    loads = [0] * ranks.size
    mine: list[int] = []

    def tokens(rows: Sequence[int]) -> int:
        return sum(len(completions[i].token_ids) for i in rows)

    for prompt, rows in sorted(groups.items(), key=lambda g: (-tokens(g[1]), g[1])):
        lightest = loads.index(min(loads))
        loads[lightest] += len(prompt) + tokens(rows)
        if lightest == ranks.rank:
            mine += rows
    return sorted(mine)


class SharedRun(Run):
    """A run folder shared by all ranks: rank 0 reads and writes, and broadcasts what it read."""

    def __init__(self, path: Path, run: Run | None, ranks: Ranks, *, resumed: bool) -> None:
        super().__init__(path)
        self.run = run
        """The folder as rank 0 writes it; None on the other ranks."""
        self.ranks = ranks
        self.resumed = resumed

    @classmethod
    def opened(cls, path: Path, ranks: Ranks, opener: Callable[[], Run]) -> "SharedRun":
        """Open the run on rank 0; if that fails, the other ranks exit quietly."""
        try:
            run = opener() if ranks.main else None
        except SirlError:
            ranks.broadcast(REFUSED)
            raise
        said = ranks.broadcast(json.dumps(bool(run and run.resumed)).encode())
        if said == REFUSED:
            sys.exit(2)
        return cls(path, run, ranks, resumed=json.loads(said))

    def begin(self, keeps: Collection[str] = ()) -> None:
        """Write the settings; no rank goes on before."""
        if self.run:
            self.run.begin(keeps)
        self.ranks.barrier()

    def close(self) -> None:
        """Release the lock, if held."""
        if self.run:
            self.run.close()

    def forget_if_empty(self) -> None:
        """Remove a folder without results."""
        if self.run:
            self.run.forget_if_empty()

    def append(self, name: str, *rows: Mapping[str, Any]) -> None:
        """Add lines to a log."""
        if self.run:
            self.run.append(name, *rows)

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replace a log."""
        if self.run:
            self.run.keep(name, rows)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a document."""
        if self.run:
            self.run.write(name, document)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log, read by rank 0."""
        found: list[dict[str, Any]] = self.ranks.agreed(self.run.rows(name) if self.run else [])
        return found

    def read(self, name: str) -> dict[str, Any]:
        """A document, read by rank 0."""
        found: dict[str, Any] = self.ranks.agreed(self.run.read(name) if self.run else {})
        return found


class SingleProcess:
    """A single process: no synchronisation."""

    shards = False

    def __init__(self, scorer: Scorer) -> None:
        self.scorer: nn.Module = scorer

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - the interface of the others
        """Context of a micro-batch; gradients are synchronised with the last one."""
        return nullcontext()

    def sync_gradients(self) -> None:
        """Average the gradients over the ranks, after the last micro-batch."""

    def dummy_pass(self) -> None:
        """A dummy forward and backward pass while other ranks still have data."""
        loss, _ = self.scorer([SHORTEST], nothing)
        torch.autograd.backward(loss)

    def unsharded(self) -> AbstractContextManager[Any]:
        """Context with unsharded weights and without collectives."""
        return nullcontext()

    def weights(self) -> dict[str, Any] | None:
        """The full state dict, if the weights are sharded."""
        return None


class DataParallel(SingleProcess):
    """Replicated weights; DDP averages the gradients."""

    def __init__(self, scorer: Scorer) -> None:
        # Ranks compare whether one ran out of memory between passes, and a rank without data runs
        # no pass, so only the passes of `agree` may run collectives: no buffer broadcast, and two
        # warm-up passes here, since DDP rebuilds its buckets after the second backward pass.
        self.scorer = self.replicas = DistributedDataParallel(scorer, forward_sync_buffers=False)
        self.dummy_pass()
        self.dummy_pass()
        self.scorer.zero_grad(set_to_none=True)

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - never synchronises
        """Do not synchronise, so a rank that runs out of memory can retry alone."""
        return self.replicas.no_sync()

    def sync_gradients(self) -> None:
        """Average the gradients: DDP does so in the next backward pass."""
        self.dummy_pass()


class FullySharded(SingleProcess):
    """Sharded weights, gradients and optimizer moments (FSDP2)."""

    shards = True

    def __init__(self, scorer: Scorer, ranks: Ranks) -> None:
        device = scorer.chat.device.type
        mesh = init_device_mesh(device, (ranks.size,))
        layers = getattr(decoder(scorer.model), "layers", None)
        if layers is None:
            raise ModelError(
                f"{scorer.chat.name} has layers that sirl does not recognise and cannot be "
                "sharded: leave shard out"
            )
        for layer in layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(scorer, mesh=mesh)
        self.scorer = scorer
        self.model: nn.Module = scorer.model
        self.parts = [m for m in scorer.modules() if isinstance(m, FSDPModule)]
        with torch.no_grad():  # FSDP takes the first module called as the root
            scorer([SHORTEST], nothing)
        self.reshard()

    def reshard(self) -> None:
        """Reshard: keep this rank's shard, free the rest."""
        for part in self.parts:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)

    def accumulating(self, *, last: bool) -> AbstractContextManager[Any]:
        """Synchronise gradients with the last micro-batch."""
        self.parts[0].set_requires_gradient_sync(last)
        return nullcontext()

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """Unshard all weights; ranks may run different code meanwhile."""
        for part in self.parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            self.reshard()

    def weights(self) -> dict[str, Any]:
        """The full state dict on rank 0; a collective, so every rank must call it."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(self.model, options=options)


Parallelism = SingleProcess | DataParallel | FullySharded


def nothing(logprobs: Tensor, _: slice) -> Tensor:
    """A loss with zero gradient."""
    return (logprobs * 0.0).sum()


@dataclass(frozen=True)
class SharedEngine:
    """Shards prompts over the ranks and gathers the completions; satisfies `Engine`.

    Sampling does not depend on the batch, so the result equals that of one process.
    """

    engine: Engine
    ranks: Ranks
    parallel: Parallelism | None = None
    """The parallelism of the weights."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts."""
        size, mine = self.ranks.size, list(prompts[self.ranks.rank :: self.ranks.size])
        with self.parallel.unsharded() if self.parallel else nullcontext():
            found = self.engine.sample(mine, group=group, step=step) if mine else []
        said = json.dumps([asdict(c) for c in found]).encode()
        all_gather = [json.loads(text) for text in self.ranks.all_gather(said)]
        return [
            Completion.revived(all_gather[i % size][i // size * group + s])
            for i in range(len(prompts))
            for s in range(group)
        ]

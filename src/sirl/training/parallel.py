"""Many processes as one: who does what, and what they tell each other.

`torchrun` starts the processes, `torch.distributed` carries what they say, DDP or FSDP2 keep the
weights in step. Every process takes the same way through the same code: prompts of a step are
dealt out for sampling and completions for learning, and all else is done by each alike, so that
nobody waits for a message that nobody sends. The first process writes the run folder.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
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

__all__ = ["Ranks", "Replicas", "Shards", "SharedEngine", "SharedRun", "Solo", "Team", "dealt"]


REFUSED = b"refused"
"""Said in the place of what could not be opened."""
SHORTEST = Completion("", (0,), (0,), "", (), (), "stop")
"""Read where there is nothing to read and yet a pass to be made."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run; one alone where nobody launched more."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """The sum over processes of each value."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(v) for v in tensor.tolist()]

    def any(self, flag: bool) -> bool:
        """Whether it is so for at least one process."""
        return self.total([float(flag)])[0] > 0

    def most(self, count: int) -> int:
        """The largest count of all processes."""
        if self.size == 1:
            return count
        tensor = torch.tensor(count, device=self.device)
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def everyones(self, said: bytes) -> list[bytes]:
        """What each process says, in order of rank."""
        if self.size == 1:
            return [said]
        width = self.most(len(said))
        mine = torch.zeros(width + 8, dtype=torch.uint8)
        mine[:8] = torch.frombuffer(bytearray(len(said).to_bytes(8, "big")), dtype=torch.uint8)
        if said:
            mine[8 : 8 + len(said)] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
        found = [torch.zeros_like(mine, device=self.device) for _ in range(self.size)]
        dist.all_gather(found, mine.to(self.device))
        texts = [bytes(t.cpu().numpy()) for t in found]
        return [text[8 : 8 + int.from_bytes(text[:8], "big")] for text in texts]

    def mains(self, said: bytes) -> bytes:
        """What the first process says."""
        return self.everyones(said if self.main else b"")[0]

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()

    @property
    def device(self) -> torch.device:
        """Where messages lie: on the GPU that NCCL sends from, or in memory."""
        nccl = self.size > 1 and dist.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


def dealt(completions: Sequence[Completion], ranks: Ranks) -> list[int]:
    """The completions that this process learns from: siblings together, tokens balanced.

    Largest groups first, each to the process with the fewest tokens so far: the same everywhere.
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
    """A run folder among many processes: the first writes, all read what it reads."""

    def __init__(self, run: Run, ranks: Ranks) -> None:
        super().__init__(run.path, run._lock, run._config, resumed=run.resumed)
        self.ranks = ranks

    @classmethod
    def opened(cls, path: Path, ranks: Ranks, opener: Callable[[], Run]) -> "SharedRun":
        """The run that the first process opens; where it cannot, the others leave quietly."""
        try:
            run = opener() if ranks.main else None
        except SirlError:
            ranks.mains(REFUSED)
            raise
        said = ranks.mains(json.dumps(bool(run and run.resumed)).encode())
        if said == REFUSED:
            sys.exit(2)
        return cls(run or Run(path, -1, {}, resumed=json.loads(said)), ranks)

    @property
    def local(self) -> Run:
        """The folder as one process reads it by itself, once all is written."""
        return Run(self.path, self._lock, self._config, resumed=True)

    def begin(self) -> None:
        """Write the configuration, once all are here."""
        if self.ranks.main:
            super().begin()
        self.ranks.meet()

    def close(self) -> None:
        """Let go of the lock, where there is one."""
        if self.ranks.main:
            super().close()

    def forget_if_empty(self) -> None:
        """Remove a folder without results."""
        if self.ranks.main:
            super().forget_if_empty()

    def append(self, name: str, *rows: Mapping[str, Any]) -> None:
        """Add lines to a log."""
        if self.ranks.main:
            super().append(name, *rows)

    def keep(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Replace a log."""
        if self.ranks.main:
            super().keep(name, rows)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """Write a document."""
        if self.ranks.main:
            super().write(name, document)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The lines of a log, as the first process finds them."""
        found = super().rows(name) if self.ranks.main else []
        shared: list[dict[str, Any]] = json.loads(self.ranks.mains(json.dumps(found).encode()))
        return shared

    def read(self, name: str) -> dict[str, Any]:
        """A document, as the first process finds it."""
        found = super().read(name) if self.ranks.main else {}
        shared: dict[str, Any] = json.loads(self.ranks.mains(json.dumps(found).encode()))
        return shared


class Solo:
    """One process: nothing to keep in step."""

    shards = False

    def __init__(self, scorer: Scorer) -> None:
        self.scorer: nn.Module = scorer

    def adding(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - as of a team
        """Around a micro-batch; gradients stay where they are until the last."""
        return nullcontext()

    def agree(self) -> None:
        """Average the gradients of all processes, after the last micro-batch."""

    def idle(self) -> None:
        """A forward and a backward pass that add nothing, while others still learn."""
        loss, _ = self.scorer([SHORTEST], nothing)
        torch.autograd.backward(loss)

    def whole(self) -> AbstractContextManager[Any]:
        """Around work on the whole weights, without a word to the others."""
        return nullcontext()

    def weights(self) -> dict[str, Any] | None:
        """The weights to be saved, where the model does not hold them whole."""
        return None


class Replicas(Solo):
    """Every process holds all weights; DDP averages what they learned."""

    def __init__(self, scorer: Scorer) -> None:
        # A process without lessons makes no forward pass before the others ask whether anybody
        # ran out of memory: no pass but those of `agree` may say anything. Buffers are the same
        # everywhere, and DDP tells its order of buckets with the second pass of its life.
        self.scorer = self.replicas = DistributedDataParallel(scorer, forward_sync_buffers=False)
        self.idle()
        self.idle()
        self.scorer.zero_grad(set_to_none=True)

    def adding(self, *, last: bool) -> AbstractContextManager[Any]:  # noqa: ARG002 - never talks
        """Gradients stay here: who runs out of memory can begin again without the others."""
        return self.replicas.no_sync()

    def agree(self) -> None:
        """Average the gradients: DDP does with the next backward pass."""
        self.idle()


class Shards(Solo):
    """Every process holds a part of weights, gradients and moments; FSDP2 fetches the rest."""

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
        with torch.no_grad():  # the first to be called becomes the root
            scorer([SHORTEST], nothing)
        self.apart()

    def apart(self) -> None:
        """Every process keeps its part, the optimizer's parameters, and lets go of the rest."""
        for part in self.parts:
            part.reshard()
            part.set_reshard_after_forward(True, recurse=False)

    def adding(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are added up with the last micro-batch."""
        self.parts[0].set_requires_gradient_sync(last)
        return nullcontext()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All weights here; what runs in between may differ from process to process."""
        for part in self.parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            self.apart()

    def weights(self) -> dict[str, Any]:
        """All weights in the memory of the first process; all have to ask."""
        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(self.model, options=options)


Team = Solo | Replicas | Shards


def nothing(logprobs: Tensor, _: slice) -> Tensor:
    """A loss that moves nothing."""
    return (logprobs * 0.0).sum()


@dataclass(frozen=True)
class SharedEngine:
    """Deals prompts out to all processes and gathers what they sampled; satisfies `Engine`.

    What is sampled depends on no batch, so it is what one process would have sampled.
    """

    engine: Engine
    ranks: Ranks
    team: Team | None = None
    """Who holds the weights, where they move."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """`group` completions of each prompt, siblings adjacent, in the order of the prompts."""
        size, mine = self.ranks.size, list(prompts[self.ranks.rank :: self.ranks.size])
        with self.team.whole() if self.team else nullcontext():
            found = self.engine.sample(mine, group=group, step=step) if mine else []
        said = json.dumps([asdict(c) for c in found]).encode()
        everyones = [json.loads(text) for text in self.ranks.everyones(said)]
        return [
            revived(everyones[i % size][i // size * group + s])
            for i in range(len(prompts))
            for s in range(group)
        ]


def revived(row: Mapping[str, Any]) -> Completion:
    """A completion from its fields."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    return Completion(**fields)

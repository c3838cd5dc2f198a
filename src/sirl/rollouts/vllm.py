"""Samples with vLLM in the trainer's process. EXPERIMENTAL.

Written from the documentation and source of vLLM 0.33 and tested with a fake of its `LLM`; it has
not been run on a GPU.

vLLM returns log-probabilities of the most likely tokens only, but entropy needs all of them.
Therefore the policy scores the completions once more. Entropies and certainties are the policy's;
log-probabilities are vLLM's, so that `sampler/mismatch` shows the difference. Each sample has its
seed, but vLLM's kernels depend on the batch: the same seed gives nearly, not exactly, the same
completions.

Weights are sent as safetensors in a folder, with a tag: the number of batches they were updated
with and a hash of the trained weights. The tag that vLLM returns is compared with the policy's;
since a tag can be set without loading the weights, the log-probabilities are compared too.
"""

import hashlib
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol, runtime_checkable

import torch

from sirl.errors import ModelError
from sirl.models.chat import ChatModel
from sirl.models.forward import score
from sirl.rollouts.local import check_room
from sirl.rollouts.token_draws import row_key
from sirl.types import Completion, Finish, Prompt, Sampling

__all__ = ["AdapterByFolder", "Delivery", "VllmEngine", "WeightsByFolder", "weights_tag"]

FINISHES: Mapping[str | None, Finish] = {"stop": "stop", "length": "length"}
FARTHEST = 0.5
"""Largest mean |delta log-prob| per token between vLLM and the policy, in nats.

Rounding to bfloat16 causes a few hundredths.
"""


@runtime_checkable
class Delivery(Protocol):
    """Sends the policy's weights to vLLM, and reads which weights vLLM has."""

    def deliver(self, tag: str) -> Any:  # noqa: ANN401 - a vLLM type
        """Send the weights unless vLLM has them; return the adapter of requests, if any."""
        ...

    def reported(self, output: Any) -> str:  # noqa: ANN401 - a vLLM type
        """The tag of the weights that produced an output, reported by vLLM."""
        ...


@dataclass(frozen=True)
class VllmEngine:
    """Samples from `vllm.LLM`; satisfies `sirl.roles.Engine`."""

    llm: Any
    params: Callable[..., Any]
    """`vllm.SamplingParams`."""
    chat: ChatModel
    """The policy: renders the prompts and scores the completions."""
    delivery: Delivery
    seed: int
    new_tokens: int
    sampling: Sampling = Sampling()
    token_budget: int = 8192
    """Tokens per micro-batch of the policy's scoring."""

    def sample(
        self, prompts: Sequence[Prompt], *, group: int = 1, step: int = 0
    ) -> list[Completion]:
        """Sample `group` completions per prompt, grouped in the order of the prompts.

        Raises:
            InputError: A prompt leaves no room for an answer; prompts are never cut.
            ModelError: vLLM sampled from other weights than the policy's, used another prompt,
                or returned an incomplete completion.
        """
        rendered = [self.chat.render(p.messages) for p in prompts]
        for prompt, ids in zip(prompts, rendered, strict=True):
            check_room(self.chat, self.new_tokens, prompt, ids)
        tag = weights_tag(self.chat)
        adapter = self.delivery.deliver(tag)
        asked = [
            (prompt, ids, s)
            for prompt, ids in zip(prompts, rendered, strict=True)
            for s in range(group)
        ]
        outputs = self.llm.generate(
            [{"prompt_token_ids": list(ids)} for _, ids, _ in asked],
            [self.settings(row_key(self.seed, step, p.id, s)) for p, _, s in asked],
            lora_request=adapter,
            use_tqdm=False,
        )
        if len(outputs) != len(asked):
            raise ModelError(f"vLLM answered {len(outputs)} of {len(asked)} requests")
        for output in outputs:
            check_tag(self.delivery.reported(output), tag)
        return self.read_again(
            [self.completion(*one, output) for one, output in zip(asked, outputs, strict=True)]
        )

    def settings(self, key: int) -> Any:  # noqa: ANN401 - a vLLM type
        """Sampling parameters of one completion, with its seed."""
        return self.params(
            n=1,
            seed=key >> 1,  # torch's generators take 63 bits
            temperature=self.sampling.temperature,
            top_p=self.sampling.top_p,
            top_k=self.sampling.top_k,
            max_tokens=self.new_tokens,
            stop_token_ids=sorted(self.chat.end_ids),
            logprobs=0,  # of the sampled token only
            detokenize=False,
        )

    def completion(
        self,
        prompt: Prompt,
        prompt_ids: tuple[int, ...],
        sample: int,
        output: Any,  # noqa: ANN401 - a vLLM type
    ) -> Completion:
        """The completion of an output, without entropies."""
        if tuple(output.prompt_token_ids) != prompt_ids:
            raise ModelError(
                f"vLLM read {len(output.prompt_token_ids)} tokens of prompt {prompt.id}, not the "
                f"{len(prompt_ids)} that it was given: shorten the prompt, or use sampler=native"
            )
        written = output.outputs[0]
        ids = tuple(written.token_ids)
        finish = ending(prompt.id, ids, written.finish_reason, self.chat.end_ids, self.new_tokens)
        columns = zip(ids, written.logprobs, strict=True)
        return Completion(
            prompt_id=prompt.id,
            prompt_ids=prompt_ids,
            token_ids=ids,
            text=self.chat.decode(ids[: -1 if finish == "stop" else None]),
            logprobs=tuple(float(reported[token].logprob) for token, reported in columns),
            entropies=(),
            finish=finish,
            sample=sample,
            seed=self.seed,
            version=self.chat.version,
        )

    def read_again(self, written: Sequence[Completion]) -> list[Completion]:
        """Add the policy's entropies, after a check that both log-probabilities agree."""
        scored = score(self.chat, written, token_budget=self.token_budget)
        reported = torch.tensor([p for c in written for p in c.logprobs])
        own = torch.cat([numbers.logprobs for numbers in scored]).cpu()
        gap = (own - reported).abs().mean().item()
        if not gap <= FARTHEST:
            raise ModelError(
                f"vLLM says that it samples from version {weights_tag(self.chat)}, but its log-"
                f"probabilities are {gap:.2f} nats per token from the policy's: the weight "
                "update failed; use sampler=native"
            )
        return [
            replace(
                c,
                entropies=tuple(numbers.entropies.tolist()),
                certainties=tuple(numbers.certainties.tolist()),
            )
            for c, numbers in zip(written, scored, strict=True)
        ]


def check_tag(reported: str, wanted: str) -> None:
    """Raise ModelError if other weights produced an output."""
    if reported != wanted:
        raise ModelError(
            f"vLLM sampled from version {reported} of the weights and the policy is at version "
            f"{wanted}: the weight update failed; use sampler=native"
        )


def ending(
    prompt: str, ids: tuple[int, ...], reason: str | None, ends: frozenset[int], longest: int
) -> Finish:
    """How a completion ended; ModelError if it is incomplete.

    The end-of-turn token is part of the completion and of its entropy.
    """
    if reason not in FINISHES:
        raise ModelError(
            f"vLLM ended a completion of prompt {prompt} with {reason!r}, not on its own: try again"
        )
    if reason == "stop" and (not ids or ids[-1] not in ends):
        raise ModelError(
            f"vLLM ended a completion of prompt {prompt} without its end-of-turn token, which "
            "the method needs: use sampler=native"
        )
    if reason == "length" and len(ids) != longest:
        raise ModelError(
            f"vLLM cut a completion of prompt {prompt} after {len(ids)} of {longest} tokens: "
            "lower new_tokens"
        )
    return FINISHES[reason]


def weights_tag(chat: ChatModel) -> str:
    """The number of batches the weights were updated with, and a hash of the trained weights."""
    digest = hashlib.blake2b(digest_size=4)
    for name, parameter in sorted(chat.model.named_parameters()):
        if parameter.requires_grad:
            digest.update(name.encode())
            flat = parameter.detach().cpu().contiguous().flatten()
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return f"{chat.version}-{digest.hexdigest()}"


def scratch(owner: object) -> Path:
    """A temporary folder, deleted with its owner or at the end of the process."""
    folder = mkdtemp(prefix="sirl-weights-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


class AdapterByFolder:
    """Sends only the adapter; every output names the adapter that produced it.

    Each version is a separate adapter for vLLM, with a separate KV cache. vLLM reads the folder at
    the first request, so the newest folder is kept.
    """

    def __init__(self, chat: ChatModel, request: Callable[..., Any]) -> None:
        self.chat = chat
        self.request = request
        """`vllm.lora.request.LoRARequest`."""
        self.home = scratch(self)
        self.count = 0
        self.newest: Any = None

    def deliver(self, tag: str) -> Any:  # noqa: ANN401 - a vLLM type
        """The adapter of this tag; saved to a new folder if the tag is new."""
        if self.newest is None or self.newest.lora_name != tag:
            if self.newest is not None:
                shutil.rmtree(self.newest.lora_path)
            folder = self.home / tag
            self.chat.model.save_pretrained(folder)
            self.count += 1
            self.newest = self.request(lora_name=tag, lora_int_id=self.count, lora_path=str(folder))
        return self.newest

    def reported(self, output: Any) -> str:  # noqa: ANN401 - a vLLM type
        """The name of the adapter that produced an output."""
        return str(output.lora_request.lora_name) if output.lora_request else "base"


class WeightsByFolder:
    """Sends all weights; vLLM reports the tag of the last update."""

    def __init__(self, chat: ChatModel, llm: Any) -> None:  # noqa: ANN401 - a vLLM type
        self.chat = chat
        self.llm = llm
        self.home = scratch(self)

    def deliver(self, tag: str) -> None:
        """Load the weights if vLLM has others, and reset its prefix cache."""
        if self.llm.get_weight_version() == tag:
            return
        self.chat.model.save_pretrained(self.home)
        self.llm.collective_rpc("reload_weights", kwargs={"weights_path": str(self.home)})
        if not self.llm.reset_prefix_cache():
            raise ModelError("vLLM could not clear its prefix cache of earlier weights: try again")
        self.llm.update_weight_version(tag)

    def reported(self, _: Any) -> str:  # noqa: ANN401 - a vLLM type
        """The tag of vLLM's current weights."""
        return str(self.llm.get_weight_version())

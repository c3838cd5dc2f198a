"""Parity with TRL's GRPOTrainer on the same completions: rewards, advantages, loss, gradient.

    python benchmarks/parity_trl.py --peer PEER/bin/python [--out FILE]

TRL prepares its batch and computes its loss in its own environment, from completions sampled by
sirl; the reward is minus the mean token entropy, computed there by a forward pass. The policy is
the embedded model with perturbed weights, the reference is the embedded model, so that the KL
penalty is not zero. One case is on-policy, one has other old log-probabilities, so that the ratio
is clipped. TRL adds 1e-4 to each group's standard deviation, sirl does not, so TRL's advantages
are compared with ours times std / (std + 1e-4), and both losses use TRL's. Exits with status 1 if
a gap, relative to the largest value, is above 1e-5.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from turns import Found, answer, parser, table, titled, write

from sirl.models.chat import ChatModel
from sirl.models.folder import EMBEDDED_PATH
from sirl.models.forward import score_logprobs
from sirl.models.loading import load
from sirl.policy import group_advantages
from sirl.rewards import negative_entropy
from sirl.rollouts.native import NativeEngine
from sirl.training.grading import examples_of
from sirl.training.reference import FrozenCopy
from sirl.training.update import Objective, PolicyLearner, learning_rates
from sirl.types import Completion, Prompt
from sirl.world.language import unsafe_requests

GROUP, PROMPTS, NEW_TOKENS = 4, 4, 24
KL = 0.05
ALLOWED = 1e-5
MOVED = 0.02
"""Standard deviation of the perturbation of the policy's weights, relative to theirs."""


def main() -> None:
    """Compare and print."""
    made = parser(__doc__, "parity_trl", rounds=1)
    made.add_argument("--peer", required=True, help="the Python of the environment with TRL")
    asked = made.parse_args()
    cases = {"on-policy": 0.0, "off-policy": 0.4}
    gaps = {name: compared(asked, noise) for name, noise in cases.items()}
    head = ("case", *next(iter(gaps.values())))
    titled("largest gaps", table(head, [(name, *found.values()) for name, found in gaps.items()]))
    write(asked, {"gaps": gaps, "allowed": ALLOWED})
    if max(max(found.values()) for found in gaps.values()) > ALLOWED:
        raise SystemExit(1)


def compared(asked: argparse.Namespace, noise: float) -> dict[str, float]:
    """The gaps of one case; `noise` is the deviation of old log-probabilities in nats."""
    chat, reference = moved(asked.seed), load("embedded", device="cpu")
    prompts = [Prompt.user(p.id, p.request) for p in unsafe_requests("train")[:PROMPTS]]
    completions = NativeEngine(chat, asked.seed, NEW_TOKENS).sample(prompts, group=GROUP)
    old = older(chat, completions, noise, asked.seed) if noise else []
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(asked, prompts, completions, old, Path(folder))
        save_file(own_tensors(chat), job["policy"])
        theirs = answer(asked.peer, "trl_side.py", job, asked.threads)
        gradients = load_file(job["gradients"])
    if theirs["prompts_rendered"] != [list(c.prompt_ids) for c in completions]:
        raise SystemExit("the sides render the prompts differently")
    return gaps_of(chat, reference, completions, old, (theirs, gradients))


def moved(seed: int) -> ChatModel:
    """The embedded model with perturbed weights."""
    chat = load("embedded", device="cpu")
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in chat.model.parameters():
            parameter.add_(MOVED * parameter.std() * torch.randn_like(parameter))
    return chat


def older(
    chat: ChatModel, completions: Sequence[Completion], noise: float, seed: int
) -> list[Tensor]:
    """Perturbed log-probabilities, as of an earlier policy."""
    torch.manual_seed(seed)
    return [x + noise * torch.randn_like(x) for x in score_logprobs(chat, completions)]


def own_tensors(chat: ChatModel) -> dict[str, Tensor]:
    """The weights by name; shared ones once."""
    return {name: p.detach().contiguous() for name, p in chat.model.named_parameters()}


def job_of(
    asked: argparse.Namespace,
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    old: Sequence[Tensor],
    folder: Path,
) -> Found:
    """The job for TRL."""
    return {
        "arm": "parity",
        "model": str(EMBEDDED_PATH),
        "policy": str(folder / "policy.safetensors"),
        "gradients": str(folder / "gradients.safetensors"),
        "prompts": [p.request for p in prompts],
        "prompt_ids": [c.prompt_ids for c in completions],
        "completion_ids": [c.token_ids for c in completions],
        "old": [x.tolist() for x in old],
        "batch": len(prompts),
        "group": GROUP,
        "new_tokens": NEW_TOKENS,
        "kl": KL,
        "learning_rate": 1e-6,
        "dtype": "float32",
        "lora": False,
        "steps": 1,
        "warmup": 0,
        "seed": asked.seed,
        "peer_rows": len(completions),
    }


def gaps_of(
    chat: ChatModel,
    reference: ChatModel,
    completions: Sequence[Completion],
    old: Sequence[Tensor],
    peer: tuple[Found, dict[str, Tensor]],
) -> dict[str, float]:
    """The differences between the sides, relative to the largest value of each kind."""
    theirs, gradients = peer
    rewards = torch.tensor([negative_entropy(c) for c in completions], dtype=torch.float64)
    std = rewards.view(-1, GROUP).std(dim=1).repeat_interleave(GROUP)
    ours = group_advantages(rewards, GROUP)
    advantages = torch.tensor(theirs["advantages"], dtype=torch.float64)
    loss, own = learned(chat, reference, completions, advantages, old)
    pairs = [(own[name], gradients[name]) for name in own]
    largest = max(b.abs().max().item() for _, b in pairs)
    return {
        "reward": gap(rewards, torch.tensor(theirs["rewards"], dtype=torch.float64)),
        "advantage": gap(ours * std / (std + 1e-4), advantages),
        "loss": abs(loss - theirs["loss"]) / max(abs(theirs["loss"]), KL),
        "gradient": max((a - b).abs().max().item() for a, b in pairs) / largest,
    }


def gap(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def learned(
    chat: ChatModel,
    reference: ChatModel,
    completions: Sequence[Completion],
    advantages: Tensor,
    old: Sequence[Tensor],
) -> tuple[float, dict[str, Tensor]]:
    """Sirl's loss and its gradient."""
    objective = Objective(kl_weight=KL)
    rates = learning_rates(1e-6, "constant", 1)
    learner = PolicyLearner(chat, FrozenCopy(reference), objective, rates)
    found = learner.score(examples_of(completions, advantages), range(len(completions)))
    scored = [*found.values()]
    if old:
        scored = [replace(x, old=y) for x, y in zip(scored, old, strict=True)]
    sums = learner.backward(scored, float(len(scored)))
    named = learner.parameters.items()
    return sums.loss, {name: p.grad for name, p in named if p.grad is not None}


if __name__ == "__main__":
    main()

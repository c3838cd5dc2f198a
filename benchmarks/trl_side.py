"""Runs a benchmark job with TRL's `GRPOTrainer`, in the peer's environment, without sirl.

There are two variants. `ordinary` is the obvious one: transformers' generation, and a reward
function that scores the completions in another forward pass, for minus their mean token entropy.
`fastest` is the best that TRL's public interface allows: a `rollout_func` with a custom decoding
loop (one prefill per prompt, finished rows are removed) that returns the entropies of the logits
it sampled from, so that the reward needs no forward pass.

Both use the same settings of the method as sirl: loss grpo, one iteration, KL k3 without
correction, rewards scaled by group, no activation checkpointing, no logging.
"""

# ruff: noqa: ANN401 - classes of libraries that sirl's environment lacks
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DynamicCache, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from turns import Found, serve

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
Rollout = dict[str, list[Any] | None]
SCORED = 32
"""Rows per forward pass of the reward function."""
ALIVE = 0.9
"""Finished rows are removed once less than this share of a batch is unfinished."""


class Clock(TrainerCallback):
    """Records wall and processor seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.processor: list[float] = []
        self.last = self.now()

    @staticmethod
    def now() -> tuple[float, float]:
        """Wall and processor time in seconds, after the device has finished."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock after the setup."""
        self.last = self.now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Record the seconds of a step."""
        wall, processor = self.now()
        self.seconds.append(wall - self.last[0])
        self.processor.append(processor - self.last[1])
        self.last = self.now()


class Rewards:
    """Minus the mean token entropy; also records the lengths."""

    __name__ = "negative_entropy"

    def __init__(self) -> None:
        self.trainer: Any = None
        self.lengths: list[list[int]] = []
        self.told: list[float] = []

    def __call__(
        self,
        prompts: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        entropies: Sequence[Sequence[float]] | None = None,
        **_: Any,
    ) -> list[float]:
        """The rewards from given entropies, or from a forward pass."""
        self.lengths.append([len(ids) for ids in completion_ids])
        if entropies is not None:
            self.told = [-sum(row) / len(row) for row in entropies]
        else:
            self.told = self.read(rendered(self.trainer, prompts), completion_ids)
        return self.told

    @torch.no_grad()
    def read(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]]
    ) -> list[float]:
        """The rewards from forward passes of the policy."""
        found: list[float] = []
        for start in range(0, len(prompt_ids), SCORED):
            rows = slice(start, start + SCORED)
            found += self.read_rows(prompt_ids[rows], completion_ids[rows])
        return found

    def read_rows(
        self, prompt_ids: Sequence[Sequence[int]], completion_ids: Sequence[Sequence[int]]
    ) -> list[float]:
        """The rewards of a batch: prompts padded on the left, completions on the right."""
        model, pad_id = self.trainer.model, self.trainer.processing_class.pad_token_id
        before, mask_before = padded(prompt_ids, pad_id, left=True)
        after, mask_after = padded(completion_ids, pad_id, left=False)
        width = after.shape[1]
        logits = model(
            input_ids=torch.cat([before, after], dim=1).to(model.device),
            attention_mask=torch.cat([mask_before, mask_after], dim=1).to(model.device),
            use_cache=False,
            logits_to_keep=width + 1,
        ).logits[:, :-1]
        entropies = torch.stack([entropy(row) for row in logits])
        mask = mask_after.to(model.device)
        return (-(entropies * mask).sum(dim=1) / mask.sum(dim=1)).tolist()


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each distribution, in nats."""
    found: Tensor = torch.special.entr(logits.float().softmax(dim=-1)).sum(dim=-1)
    return found


def rendered(trainer: Any, prompts: Sequence[Any]) -> list[list[int]]:
    """Token ids of conversations, as the trainer renders them."""
    found: list[list[int]] = trainer.processing_class.apply_chat_template(
        conversation=list(prompts), add_generation_prompt=True, tokenize=True, return_dict=True
    )["input_ids"]
    return found


def padded(rows: Sequence[Sequence[int]], pad_id: int, *, left: bool) -> tuple[Tensor, Tensor]:
    """Padded rows and their mask."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids, mask


@torch.no_grad()
def sampled(prompts: Sequence[Any], trainer: Any) -> Rollout:
    """Sample completions of the prompts, which the trainer repeats, with entropies."""
    group = trainer.num_generations
    repeated = rendered(trainer, prompts)
    model, pad_id = trainer.model, trainer.processing_class.pad_token_id
    ids, mask = padded(repeated[::group], pad_id, left=True)
    ids, mask = ids.to(model.device), mask.to(model.device)
    cache = DynamicCache(config=model.config)
    position = (mask.cumsum(dim=1) - 1).clamp(min=0)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    with trainer.accelerator.autocast():
        hidden = inner.get_decoder()(
            input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache
        ).last_hidden_state
        # 2-D input: with a 3-D slice torch would multiply row by row.
        logits = inner.get_output_embeddings()(hidden[:, -1])
    cache.batch_repeat_interleave(group)
    logits, mask, position = (
        x.repeat_interleave(group, dim=0) for x in (logits, mask, position[:, -1:])
    )
    written: list[list[int]] = [[] for _ in repeated]
    entropies: list[list[float]] = [[] for _ in repeated]
    alive = list(range(len(repeated)))
    ends = set(trainer.eos_token_ids)
    running = set(alive)
    for step in range(trainer.max_completion_length):
        probs = logits.float().softmax(dim=-1)
        chosen = torch.multinomial(probs, 1)
        surprise = torch.special.entr(probs).sum(dim=-1).tolist()
        for row, token, nats in zip(alive, chosen[:, 0].tolist(), surprise, strict=True):
            if row in running:
                written[row].append(token)
                entropies[row].append(nats)
                if token in ends:
                    running.discard(row)
        if not running or step + 1 == trainer.max_completion_length:
            break
        if len(running) <= ALIVE * len(alive):
            keep = [i for i, row in enumerate(alive) if row in running]
            alive = [alive[i] for i in keep]
            index = torch.tensor(keep, device=model.device)
            cache.batch_select_indices(index)
            chosen, mask, position = chosen[index], mask[index], position[index]
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)
        position = position + 1
        logits = model(
            input_ids=chosen, attention_mask=mask, position_ids=position, past_key_values=cache
        ).logits[:, -1]
    return {
        "prompt_ids": repeated,
        "completion_ids": written,
        "logprobs": None,
        "entropies": entropies,
    }


def weights_of(job: Found) -> str:
    """Precision of the weights: float32 under autocast, as in sirl."""
    return "float32" if job.get("autocast") else str(job["dtype"])


def trainer_of(
    job: Found, rewards: Rewards, rollout: Callable[..., Rollout] | None, model: Any = None
) -> Any:
    """A trainer with the settings of a job."""
    rows = job["batch"] * job["group"]
    micro = min(rows, job["peer_rows"])
    options = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        model_init_kwargs={"dtype": weights_of(job)} if model is None else None,
        use_cpu=not torch.cuda.is_available(),
        bf16=job.get("autocast", False),
        gradient_checkpointing=False,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=rows // micro,
        max_steps=job["warmup"] + job["steps"],
        num_generations=job["group"],
        max_completion_length=job["new_tokens"],
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=job["kl"],
        use_bias_correction_kl=False,
        loss_type="grpo",
        num_iterations=1,
        scale_rewards="group",
        learning_rate=job["learning_rate"],
        lr_scheduler_type="constant",
        weight_decay=0.0,
        max_grad_norm=1.0,
        shuffle_dataset=False,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=job["seed"],
    )
    prompts = [[{"role": "user", "content": text}] for text in job["prompts"]]
    adapter = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = GRPOTrainer(
        model=model if model is not None else job["model"],
        reward_funcs=rewards,
        args=options,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        peft_config=adapter if job["lora"] else None,
        rollout_func=rollout,
    )
    rewards.trainer = trainer
    return trainer


def steps_of(job: Found) -> Found:
    """Run the steps of a job."""
    rewards, clock = Rewards(), Clock()
    trainer = trainer_of(job, rewards, sampled if job["arm"] == "fastest" else None)
    trainer.add_callback(clock)
    trainer.train()
    kept = slice(job["warmup"], None)
    lengths = rewards.lengths[kept]
    prompts = [[{"role": "user", "content": text}] for text in job["prompts"]]
    return {
        "seconds": clock.seconds[kept],
        "processor": clock.processor[kept],
        "tokens": [sum(rows) for rows in lengths],
        "mean_length": [sum(rows) / len(rows) for rows in lengths],
        "longest": [max(rows) for rows in lengths],
        "end_ids": sorted(trainer.eos_token_ids),
        "prompt_tokens": sum(map(len, rendered(trainer, prompts))),
        "peak_bytes": torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0,
    }


def parity_of(job: Found) -> Found:
    """Rewards, advantages, loss and gradient of given completions; tensors are written to a file.

    `GRPOTrainer` prepares the batch and computes the loss; only the completions and, if the job
    has them, the old log-probabilities are given.
    """
    from transformers import AutoModelForCausalLM  # noqa: PLC0415 - only for this job

    rewards = Rewards()
    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32)
    model.load_state_dict(load_file(job["policy"]), strict=False)
    given = {"prompt_ids": job["prompt_ids"], "completion_ids": job["completion_ids"]}
    trainer = trainer_of(job, rewards, lambda *_: {**given, "logprobs": None}, model)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    repeated = [text for text in job["prompts"] for _ in range(job["group"])]
    inputs = [{"prompt": [{"role": "user", "content": text}]} for text in repeated]
    batch = trainer._generate_and_score_completions(inputs)
    if job["old"]:
        old, _ = padded_floats(job["old"])
        batch["old_per_token_logps"] = old
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    named = trainer.model.named_parameters()
    save_file({n: p.grad.contiguous() for n, p in named if p.grad is not None}, job["gradients"])
    return {
        "rewards": rewards.told,
        "advantages": batch["advantages"].tolist(),
        "loss": loss.item(),
        "prompts_rendered": rendered(trainer, [x["prompt"] for x in inputs]),
    }


def padded_floats(rows: Sequence[Sequence[float]]) -> tuple[Tensor, int]:
    """Rows of numbers, padded on the right with 0, and the width."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *([0.0] * (width - len(row)))] for row in rows]), width


if __name__ == "__main__":
    serve(lambda job: parity_of(job) if job["arm"] == "parity" else steps_of(job))

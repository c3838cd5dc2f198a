"""A double of vLLM 0.33 as far as we use it: it samples from the weights that reached it."""

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file

from sirl.models.loading import old_names


@dataclass(frozen=True)
class SamplingParams:
    """Takes what vLLM's takes, by the same names, and nothing else."""

    n: int
    seed: int
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop_token_ids: list
    logprobs: int
    detokenize: bool


@dataclass(frozen=True)
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str

    def __post_init__(self):
        assert self.lora_int_id > 0
        assert (Path(self.lora_path) / "adapter_model.safetensors").is_file()


@dataclass(frozen=True)
class Logprob:
    logprob: float


@dataclass(frozen=True)
class CompletionOutput:
    token_ids: list
    logprobs: list
    finish_reason: str
    text: str = ""


@dataclass(frozen=True)
class RequestOutput:
    prompt_token_ids: list
    outputs: list
    lora_request: LoRARequest | None = None


class FakeLLM:
    """Keeps an adapter by its number, as vLLM does: a number used twice means the first."""

    def __init__(self, chat):
        self.chat = replace(chat, model=copy.deepcopy(chat.model))
        self.version = "default"
        self.adapters = {}
        self.asked = []
        self.forgot = 0

    def generate(self, prompts, sampling_params, *, use_tqdm=True, lora_request=None):
        assert not use_tqdm
        self.asked += sampling_params
        model = self.adapted(lora_request) if lora_request else self.chat.model
        return [
            RequestOutput(
                prompt["prompt_token_ids"], [self.write(model, prompt, params)], lora_request
            )
            for prompt, params in zip(prompts, sampling_params, strict=True)
        ]

    def adapted(self, request):
        if request.lora_int_id not in self.adapters:
            base = copy.deepcopy(self.chat.model)
            with old_names():
                self.adapters[request.lora_int_id] = PeftModel.from_pretrained(
                    base, request.lora_path
                )
        return self.adapters[request.lora_int_id]

    @torch.no_grad()
    def write(self, model, prompt, params):
        ids, logprobs = list(prompt["prompt_token_ids"]), []
        start, chance = len(ids), torch.Generator().manual_seed(params.seed)
        while len(logprobs) < params.max_tokens:
            row = model(torch.tensor([ids])).logits[0, -1].log_softmax(dim=-1)
            token = torch.multinomial(row.exp(), 1, generator=chance).item()
            ids.append(token)
            logprobs.append({token: Logprob(row[token].item())})
            if token in params.stop_token_ids:
                return CompletionOutput(ids[start:], logprobs, "stop")
        return CompletionOutput(ids[start:], logprobs, "length")

    def collective_rpc(self, method, *, kwargs):
        assert method == "reload_weights"
        weights = load_file(Path(kwargs["weights_path"]) / "model.safetensors")
        self.chat.model.load_state_dict(weights, strict=False)  # tied weights are stored once

    def reset_prefix_cache(self):
        self.forgot += 1
        return True

    def update_weight_version(self, version):
        self.version = version

    def get_weight_version(self):
        return self.version


class Unlabelled(FakeLLM):
    """Takes the weights and goes on calling them what it called the first."""

    def update_weight_version(self, version):
        if self.version == "default":
            self.version = version


class Deaf(FakeLLM):
    """Says that it has the weights, and has not."""

    def collective_rpc(self, method, *, kwargs):
        pass


class Faithful(FakeLLM):
    """Stays with the first adapter that it was given."""

    def generate(self, prompts, sampling_params, *, use_tqdm=True, lora_request=None):
        self.first = getattr(self, "first", lora_request)
        return super().generate(
            prompts, sampling_params, use_tqdm=use_tqdm, lora_request=self.first
        )


class Tampered(FakeLLM):
    """Answers as it should, but for one change."""

    def __init__(self, chat, change):
        super().__init__(chat)
        self.change = change

    def generate(self, prompts, sampling_params, **options):
        return self.change(super().generate(prompts, sampling_params, **options))


def rewritten(**fields):
    """A change of what was written; a function of the old value for each field."""

    def change(outputs):
        def new(written):
            values = {name: make(getattr(written, name)) for name, make in fields.items()}
            return replace(written, **values)

        return [replace(o, outputs=[new(o.outputs[0])]) for o in outputs]

    return change

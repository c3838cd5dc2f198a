"""Each script of benchmarks/ runs to its end on a tiny input, in this process."""

import importlib
import json
import os
import runpy
import sys
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean

import pytest
import torch

from sirl.types import Completion

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "attack_throughput": ["--items", "2", "--new-tokens", "4", "--rounds", "1"],
    "startup": ["--rounds", "2"],
    "phases": ["--cases", "embedded", "--rounds", "1", "--steps", "1", "--warmup", "0",
               "--batch", "2", "--new-tokens", "4"],
    "step_time": ["--cases", "embedded", "--rounds", "1", "--steps", "1", "--warmup", "0",
                  "--batch", "2", "--new-tokens", "4"],
    "gpu_step": ["--dry-run", "--rounds", "1", "--steps", "1"],
    "growth": ["--sizes", "1", "--families", "llama", "--groups", "2", "--lengths", "4",
               "--rounds", "1", "--steps", "1"],
    "guard_load": ["--source", "upstream", "--streams", "6", "--seconds", "1.5", "--faults", "0.2",
                   "--token-ms", "5"],
    "head_memory": ["--scale", "0.01", "--width", "64", "--rounds", "1"],
    "long_prompt": ["--size", "1", "--prompt", "60", "--chunk", "16", "--streams", "2",
                    "--rounds", "1"],
    "plan_against_peak": ["2M"],
    "prefill_depth": ["embedded", "--requests", "2"],
}  # fmt: skip
STEP = {"batch": 1, "group": 2, "new_tokens": 4}
"""A step of `growth`, whose flags do not set all of it."""
SHARED = {"frontier_arms", "sirl_side", "trl_side", "turns", "work"}
"""What the others import or run."""
ALONE = {"frontier", "gcg_against_nanogcg", "interval_coverage", "parity_trl"}
"""Those with a test of their own below."""


def in_this_process(folder):
    """Answers a job as a fresh process would."""

    def answer(_python, script, job, _threads=0):
        asked, told = folder / "job.json", folder / "answer.json"
        asked.write_text(json.dumps(job))
        before, sys.argv = sys.argv, [script, str(asked), str(told)]
        try:
            runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        finally:
            sys.argv = before
        return json.loads(told.read_text())

    return answer


@pytest.fixture
def script(monkeypatch, tmp_path):
    """Imports a script by name and gives back what runs it; torch stays as it was."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, known = torch.get_num_threads(), set(sys.modules)

    def run(name, words, **others):
        module = importlib.import_module(name)
        if hasattr(module, "answer"):
            others.setdefault("answer", in_this_process(tmp_path))
        if name == "growth":
            others["BASE"] = STEP
        for attribute, value in others.items():
            monkeypatch.setattr(module, attribute, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *words])
        module.main()

    yield run
    torch.set_num_threads(threads)
    for name in set(sys.modules) - known:
        if (
            getattr(sys.modules[name], "__file__", None)
            and BENCHMARKS in Path(sys.modules[name].__file__).parents
        ):
            del sys.modules[name]


def test_every_script_is_run_here():
    there = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert there == set(SMALL) | ALONE | SHARED


LONG = {"head_memory", "plan_against_peak"}
"""Two hundred optimizer steps, and a peak that small steps do not move."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in sorted(SMALL)],
)
def test_a_script_runs_to_its_end(script, tmp_path, name):
    out = tmp_path / "out.json"
    script(name, [*SMALL[name], "--out", str(out)])
    assert json.loads(out.read_text())


def test_methods_are_measured_and_drawn_together(script, capsys, tmp_path):
    script(
        "frontier", ["start", "steering", "--dry-run", "--requests", "2", "--out", str(tmp_path)]
    )
    script("frontier", ["--draw", str(tmp_path), "--picture", str(tmp_path / "f.svg")])
    said = capsys.readouterr().out
    assert "| start | start |" in said
    assert "| steering | layer 0 x 0.1 |" in said
    assert (tmp_path / "f.svg").stat().st_size > 1000


def test_coverage_is_printed_for_every_case(script, capsys):
    script("interval_coverage", ["--repeats", "1"])
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["correlation", "behaviours", "attacks", "truth", "coverage", "width"]
    assert len(rows) == 3 * 4 * 3 * 6
    assert {float(row.split()[4]) for row in rows} <= {0.0, 1.0}
    assert last.startswith("several attacks: lowest ")


def test_equal_searches_are_shown_as_equal(script, capsys, tmp_path):
    out = tmp_path / "gcg.json"
    gcg = importlib.import_module("gcg_against_nanogcg")

    def ours_for_both(_python, job):
        return gcg.turn({**job, "who": "sirl"})

    words = ["--seeds", "1", "--steps", "2", "--candidates", "4", "--top-k", "4"]
    script(
        "gcg_against_nanogcg", [*words, "--peer", "any", "--json", str(out)],
        in_process_of=ours_for_both,
    )  # fmt: skip
    found = json.loads(out.read_text())["medians"]
    assert [(row["model"], row["who"]) for row in found] == [
        ("random-llama", "sirl"), ("random-llama", "nanogcg"),
        ("embedded", "sirl"), ("embedded", "nanogcg"),
    ]  # fmt: skip
    for mine, theirs in (found[:2], found[2:]):
        assert mine["loss"] == theirs["loss"] == pytest.approx(mine["claimed"], abs=1e-3)
        assert mine["read"] == theirs["read"]
    assert capsys.readouterr().out.count("| 1 of 1 |") == 2


@pytest.mark.parametrize(("stretch", "status"), [(1.0, None), (1.001, 1)])
def test_a_peer_that_agrees_passes_and_one_whose_gradient_is_off_fails(
    script, tmp_path, stretch, status
):
    """The peer's loss and gradient are ours here; rewards and advantages are taken anew."""
    parity = importlib.import_module("parity_trl")

    def peer(_python, _script, job, _threads):
        job = json.loads(json.dumps(job))  # as it reaches another process
        chat = parity.moved(job["seed"])
        completions = [
            read_plainly(chat, tuple(prompt), tuple(ids))
            for prompt, ids in zip(job["prompt_ids"], job["completion_ids"], strict=True)
        ]
        old = [torch.tensor(x) for x in job["old"]]
        rewards = torch.tensor([-fmean(c.entropies) for c in completions], dtype=torch.float64)
        groups = rewards.view(-1, job["group"])
        spread = groups.std(dim=1, keepdim=True) + 1e-4
        advantages = ((groups - groups.mean(dim=1, keepdim=True)) / spread).flatten()
        reference = parity.load("embedded", device="cpu")
        loss, gradients = parity.learned(chat, reference, completions, advantages, old)
        parity.save_file({k: v * stretch for k, v in gradients.items()}, job["gradients"])
        return {
            "prompts_rendered": job["prompt_ids"],
            "rewards": rewards.tolist(),
            "advantages": advantages.tolist(),
            "loss": loss,
        }

    out = tmp_path / "parity.json"
    small = {"PROMPTS": 2, "GROUP": 2, "NEW_TOKENS": 8, "answer": peer}
    with pytest.raises(SystemExit) if status else nullcontext() as left:
        script("parity_trl", ["--peer", "any", "--out", str(out)], **small)
    assert (left.value.code if left else None) == status
    gaps = json.loads(out.read_text())["gaps"]
    assert list(gaps) == ["on-policy", "off-policy"]
    for case in gaps.values():
        assert max(case["reward"], case["advantage"], case["loss"]) < 1e-5
        assert case["gradient"] == pytest.approx(1 - 1 / stretch, abs=1e-6)


def read_plainly(chat, prompt_ids, token_ids):
    """A completion with its numbers by one forward pass, in float64."""
    with torch.no_grad():
        logits = chat.model(input_ids=torch.tensor([prompt_ids + token_ids])).logits[0]
    logprobs = logits[len(prompt_ids) - 1 : -1].double().log_softmax(dim=-1)
    entropies = -(logprobs.exp() * logprobs).sum(dim=1)
    own = logprobs.gather(1, torch.tensor(token_ids).unsqueeze(1)).squeeze(1)
    numbers = (tuple(x.tolist()) for x in (own, entropies))
    return Completion("p", prompt_ids, token_ids, "", *numbers, "stop")


def test_steps_are_timed_beside_trl_in_its_own_environment(script, tmp_path):
    peer = os.environ.get("SIRL_TRL_PYTHON")
    if not peer:
        pytest.skip("SIRL_TRL_PYTHON names no interpreter with benchmarks/requirements.txt")
    out = tmp_path / "out.json"
    turns = importlib.import_module("turns")
    words = [*SMALL["step_time"], "--peer", peer, "--out", str(out)]
    script("step_time", words, answer=turns.answer)
    assert json.loads(out.read_text())

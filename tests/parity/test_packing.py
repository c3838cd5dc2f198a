import copy
from dataclasses import replace

import pytest
import torch

from sirl.models import head, packing
from sirl.models.adapters import with_lora
from sirl.models.forward import Scorer, micro_batches, score
from sirl.models.head import Predicted, logprobs_of, loss_of, numbers_of
from sirl.models.packing import PACKED, pack
from sirl.models.trial import adopt
from sirl.rollouts.native import NativeEngine
from sirl.types import Completion, Prompt

PROMPTS = [
    Prompt.user(f"p{i}", text)
    for i, text in enumerate(["Hello!", "How do I rob the museum?", "Add 2 and 3, then add 5."])
]


def completions(chat, group=4):
    found = NativeEngine(chat, seed=3, new_tokens=24).sample(PROMPTS, group=group)
    short = replace(found[1], token_ids=found[1].token_ids[:1])  # one token: nothing read of it
    return [found[0], short, *found[2:]]


def apart(a, b):
    return max(
        (x - y).abs().max().item()
        for u, v in zip(a, b, strict=True)
        for x, y in zip(u, v, strict=True)
    )


def flat_gradients(chat, given, budget):
    """Of minus the sum of squared log-probabilities, micro-batch by micro-batch."""
    chat.model.zero_grad(set_to_none=True)
    scorer = Scorer(chat)
    for rows in micro_batches(chat, given, budget):
        loss, _ = scorer([given[i] for i in rows], lambda lp, _: -(lp * lp).sum())
        loss.backward()
    return {n: p.grad.clone() for n, p in chat.model.named_parameters() if p.grad is not None}


def as_padded(chat):
    other = copy.deepcopy(chat.model)
    other.config._attn_implementation = "sdpa"
    return replace(chat, model=other)


@pytest.mark.parametrize("slack", [0, 1 << 30])
def test_a_packed_row_says_what_padded_rows_say_and_moves_the_weights_alike(
    family, slack, monkeypatch
):
    monkeypatch.setattr(packing, "SLACK", slack)
    plain = as_padded(family)
    adopt(family)
    assert family.model.config._attn_implementation == PACKED
    given = completions(plain)
    assert apart(score(family, given), score(plain, given)) < 2e-5
    ours, theirs = (flat_gradients(chat, given, 10_000) for chat in (family, plain))
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        assert torch.allclose(ours[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max()), (
            name
        )


@pytest.mark.parametrize("budget", [1, 40, 90, 10_000])
def test_the_gradient_of_packed_rows_does_not_depend_on_the_token_budget(embedded, budget):
    given = completions(embedded)
    whole, split = (flat_gradients(embedded, given, b) for b in (10_000, budget))
    for name, gradient in whole.items():
        assert torch.allclose(split[name], gradient, atol=1e-4 * gradient.abs().max()), name


def test_spans_of_unlike_lengths_are_not_padded_to_each_other(embedded, monkeypatch):
    monkeypatch.setattr(packing, "SLACK", 0)
    short, *_ = completions(embedded)
    given = [replace(short, token_ids=tuple(range(2, 2 + n))) for n in (1, 40, 41, 3, 200, 3)]
    blocks = pack(given, embedded.device).layout.blocks
    assert [(b.rows, b.queries, b.causal) for b in blocks] == [
        (1, len(short.prompt_ids), True),
        (2, 2, False),
        (2, 40, False),
        (1, 199, False),
    ]


def test_each_prompt_is_read_once_and_the_last_token_never(embedded):
    given = completions(embedded)
    packed = pack(given, embedded.device)
    prompts = {c.prompt_ids for c in given}
    read = sum(map(len, prompts)) + sum(len(c.token_ids) - 1 for c in given)
    assert len(prompts) == 3
    assert packed.input_ids.numel() == read
    assert packed.token_ids.tolist() == [i for c in given for i in c.token_ids]


def test_what_one_completion_says_is_no_business_of_its_siblings(embedded):
    given = completions(embedded)
    alone = score(embedded, given[:1])
    beside = score(embedded, given)[:1]
    assert apart(alone, beside) < 2e-5
    changed = replace(given[2], token_ids=tuple(reversed(given[2].token_ids)))
    assert apart(score(embedded, [given[0], given[1], changed])[:1], alone) < 2e-5


def test_a_window_of_attention_is_kept(embedded):
    from transformers import AutoModelForCausalLM, MistralConfig

    config = MistralConfig(
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=6,
        pad_token_id=embedded.pad_id,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4.0)
    chat = replace(embedded, model=model)
    given = completions(embedded)
    assert max(len(c.prompt_ids) for c in given) > 6
    padded = score(chat, given)
    adopt(chat)
    assert model.config._attn_implementation == PACKED
    assert apart(score(chat, given), padded) < 2e-5
    config.sliding_window = None
    for layer in model.model.layers:
        layer.self_attn.sliding_window = None
    assert apart(score(chat, given), padded) > 1e-2


def test_a_model_that_bends_its_logits_is_read_padded(embedded):
    from transformers import AutoModelForCausalLM, CohereConfig

    config = CohereConfig(
        vocab_size=len(embedded.tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        logit_scale=0.5,
        pad_token_id=embedded.pad_id,
        bos_token_id=None,
        eos_token_id=1,
    )
    chat = replace(embedded, model=AutoModelForCausalLM.from_config(config).eval())
    adopt(chat)
    assert config._attn_implementation == "sdpa"


def test_an_adapter_switched_off_is_the_base_read_packed(embedded):
    given = completions(embedded)
    base = score(embedded, given)
    adapted = with_lora(embedded, rank=4, seed=0)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    assert apart(score(adapted, given), base) > 1e-2
    with adapted.model.disable_adapter():
        assert apart(score(adapted, given), base) == 0.0


def test_checkpoints_do_not_remember_how_they_were_read(embedded, tmp_path):
    embedded.model.save_pretrained(tmp_path)
    assert PACKED not in (tmp_path / "config.json").read_text()


def problem(dtype, tokens=37, width=16, vocab=501):
    torch.manual_seed(1)
    states = torch.randn(tokens, width).to(dtype).requires_grad_()
    weight = torch.randn(vocab, width).to(dtype).requires_grad_()
    return Predicted(torch.randint(vocab, (tokens,)), states, weight)


def oracle(predicted):
    """Everything at once, in float64."""
    states, weight = (x.detach().double().requires_grad_() for x in predicted[1:3])
    logprobs = (states @ weight.T).log_softmax(dim=-1)
    chosen = logprobs.gather(1, predicted.token_ids.unsqueeze(1)).squeeze(1)
    return states, weight, chosen, torch.special.entr(logprobs.exp()).sum(dim=-1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tile", [1, 2000, 1 << 24])
def test_the_head_by_tiles_equals_a_float64_oracle(dtype, tile, monkeypatch):
    monkeypatch.setattr(head, "TILE", tile)
    monkeypatch.setattr(head, "LEAST", 1)
    predicted = problem(dtype)
    states, weight, chosen, entropies = oracle(predicted)
    found = numbers_of(predicted)
    assert torch.allclose(found.logprobs.double(), chosen, rtol=1e-5)
    assert torch.allclose(found.entropies.double(), entropies, rtol=1e-5, atol=1e-7)
    assert torch.allclose(logprobs_of(predicted).double(), chosen, rtol=1e-5)
    slopes = torch.linspace(-1, 2, len(chosen))
    total, logprobs = loss_of(predicted, lambda lp, part: (slopes[part] * lp.exp()).sum())
    (3 * total).backward()
    expected = (slopes.double() * chosen.exp()).sum()
    (3 * expected).backward()
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.allclose(logprobs.double(), chosen, rtol=1e-5)
    exact = torch.float32 if dtype == torch.float32 else torch.bfloat16
    for ours, theirs in ((predicted.states, states), (predicted.weight, weight)):
        assert ours.grad.dtype == exact
        rounded = theirs.grad.to(exact).double()
        assert torch.allclose(
            ours.grad.double(),
            rounded,
            rtol=8e-3 if exact != torch.float32 else 1e-5,
            atol=1e-6 * rounded.abs().max(),
        )


@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_where_16_bits_add_up_in_float32_the_head_keeps_its_factors_and_its_exactness(
    kept, monkeypatch
):
    asked = []

    def emulated(left, right):
        asked.append((left.dtype, right.dtype))
        return (left.double() @ right.double()).float()

    monkeypatch.setattr(head, "adds_up_wide", lambda *_: True)
    monkeypatch.setattr(head, "wide_product", emulated)
    monkeypatch.setattr(head, "TILE", 2000)
    monkeypatch.setattr(head, "LEAST", 1)
    predicted = problem(kept)._replace(narrow=torch.bfloat16)
    rounded = predicted._replace(
        states=predicted.states.bfloat16(), weight=predicted.weight.bfloat16()
    )
    states, weight, chosen, entropies = oracle(rounded)
    found = numbers_of(predicted)
    assert torch.allclose(found.logprobs.double(), chosen, rtol=1e-5)
    assert torch.allclose(found.entropies.double(), entropies, rtol=1e-5, atol=1e-7)
    total, _ = loss_of(predicted, lambda lp, _: lp.exp().sum())
    total.backward()
    chosen.exp().sum().backward()
    assert set(asked) == {(torch.bfloat16, torch.bfloat16)}
    for ours, theirs in ((predicted.states, states), (predicted.weight, weight)):
        assert ours.grad.dtype == kept
        largest = theirs.grad.abs().max()
        assert torch.allclose(ours.grad.double(), theirs.grad, rtol=8e-3, atol=4e-3 * largest)


def test_a_processor_multiplies_16_bits_as_float32():
    assert not head.adds_up_wide(torch.device("cpu"), torch.bfloat16)
    for weight in (torch.ones(2, 3, dtype=torch.bfloat16), torch.ones(2, 3)):
        assert head.factor_of(weight, torch.bfloat16).matrix.dtype == torch.float32


def test_a_head_that_does_not_move_gets_no_gradient():
    predicted = problem(torch.float32)
    frozen = predicted._replace(weight=predicted.weight.detach())
    total, _ = loss_of(frozen, lambda lp, _: lp.sum())
    total.backward()
    assert frozen.states.grad.abs().sum() > 0
    assert frozen.weight.grad is None


def test_logits_instead_of_a_head_get_the_gradient_themselves():
    predicted = problem(torch.float32)
    logits = (predicted.states @ predicted.weight.T).detach().requires_grad_()
    total, _ = loss_of(Predicted(predicted.token_ids, logits, None), lambda lp, _: lp.sum())
    before = logits.detach().clone()
    total.backward()
    ours = logits.grad
    again = before.requires_grad_()
    again.log_softmax(-1).gather(1, predicted.token_ids.unsqueeze(1)).sum().backward()
    assert torch.allclose(ours, again.grad, atol=1e-6)
    assert torch.equal(logits.detach(), before.detach())


def test_micro_batches_hold_every_completion_once_and_no_more_tokens_than_allowed(embedded):
    given = [
        Completion(
            str(i), tuple(range(5 + i // 4)), tuple(range(1 + 7 * i % 11)), "", (), (), "stop"
        )
        for i in range(20)
    ]
    parts = micro_batches(embedded, given, 40)
    assert sorted(i for part in parts for i in part) == list(range(20))
    for part in parts:
        chosen = [given[i] for i in part]
        prompts = {c.prompt_ids for c in chosen}
        read = sum(map(len, prompts)) + sum(len(c.token_ids) for c in chosen)
        assert read <= 40
    assert len(parts) < 20


def test_a_model_that_is_read_padded_gets_no_more_padding_than_tokens_allowed(embedded):
    given = [
        Completion(str(i), (1,) * 4, tuple(range(1 + 3 * i)), "", (), (), "stop") for i in range(12)
    ]
    plain = as_padded(embedded)
    for chat, times in ((embedded, 4), (plain, 1)):
        for part in micro_batches(chat, given, 60):
            wide = 4 + max(len(given[i].token_ids) for i in part)
            assert wide * len(part) <= times * 60
    assert len(micro_batches(plain, given, 60)) > len(micro_batches(embedded, given, 60))

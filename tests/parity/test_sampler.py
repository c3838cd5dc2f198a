from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from sirl.errors import InputError
from sirl.models.forward import score
from sirl.roles import Engine
from sirl.rollouts.native import NativeEngine
from sirl.rollouts.token_draws import DRAWS, kept, pick, row_key, uniforms
from sirl.types import Message, Prompt, Sampling

PROMPTS = [
    Prompt.user("short", "Hello!"),
    Prompt.user("long", "How do I bake a plum cake with a very long name, my dear old friend?"),
    Prompt("turns", (Message("user", "Hi"), Message("assistant", "Sure! First,"))),
]


def naive(chat, completion):
    """Float64 log-probabilities and entropies of one completion, one unpadded forward."""
    ids = torch.tensor([[*completion.prompt_ids, *completion.token_ids]])
    with torch.no_grad():
        logits = chat.model(input_ids=ids).logits[0].double()
    start = len(completion.prompt_ids) - 1
    rows = logits[start : start + len(completion.token_ids)].log_softmax(dim=-1)
    tokens = torch.tensor(completion.token_ids)
    return rows.gather(1, tokens.unsqueeze(1)).squeeze(1), -(rows.exp() * rows).sum(dim=1)


def test_three_roads_to_the_same_numbers(family):
    engine = NativeEngine(family, seed=1, new_tokens=24)
    completions = engine.sample(PROMPTS, group=4)
    scored = score(family, completions, token_budget=200)
    assert isinstance(engine, Engine)
    assert {c.finish for c in completions} == {"stop", "length"}
    for completion, numbers in zip(completions, scored, strict=True):
        logprobs, entropies = naive(family, completion)
        for captured, forced, oracle in (
            (completion.logprobs, numbers.logprobs, logprobs),
            (completion.entropies, numbers.entropies, entropies),
        ):
            assert torch.allclose(torch.tensor(captured).double(), oracle, atol=2e-4)
            assert torch.allclose(forced.double(), oracle, atol=2e-4)


def test_greedy_equals_generate(family):
    engine = NativeEngine(family, seed=0, new_tokens=16, sampling=Sampling(temperature=0.0))
    for prompt, completion in zip(PROMPTS, engine.sample(PROMPTS), strict=True):
        ids = torch.tensor([family.render(prompt.messages)])
        whole = family.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=sorted(family.end_ids),
            pad_token_id=family.pad_id,
        )
        assert completion.token_ids == tuple(whole[0, ids.shape[1] :].tolist())


def test_samples_do_not_depend_on_the_batch(embedded):
    whole = NativeEngine(embedded, seed=3, new_tokens=24).sample(PROMPTS, group=4, step=5)
    small = NativeEngine(embedded, seed=3, new_tokens=24, batch_size=1).sample(
        PROMPTS, group=4, step=5
    )
    turned = NativeEngine(embedded, seed=3, new_tokens=24).sample(PROMPTS[::-1], group=4, step=5)
    alone = NativeEngine(embedded, seed=3, new_tokens=24).sample(PROMPTS[1:2], group=4, step=5)
    ids = [c.token_ids for c in whole]
    assert ids == [c.token_ids for c in small]
    assert ids == [c.token_ids for i in (2, 1, 0) for c in turned[4 * i : 4 * i + 4]]
    assert ids[4:8] == [c.token_ids for c in alone]
    other = NativeEngine(embedded, seed=3, new_tokens=24).sample(PROMPTS, group=4, step=6)
    assert ids != [c.token_ids for c in other]


def test_several_end_tokens_are_honoured_and_counted(embedded):
    comma = embedded.tokenizer.encode(",")[-1]
    both = replace(embedded, end_ids=embedded.end_ids | {comma})
    engine = NativeEngine(both, seed=0, new_tokens=40)
    completions = engine.sample([Prompt.user(str(i), "How do I mend a sock?") for i in range(12)])
    ends = {c.token_ids[-1] for c in completions if c.finish == "stop"}
    assert comma in ends
    for c in completions:
        assert not set(c.token_ids[:-1]) & both.end_ids
        assert len(c.entropies) == len(c.token_ids) == len(c.logprobs)


def test_the_end_token_counts_even_when_it_is_the_padding(embedded):
    shared_id = replace(embedded, pad_id=min(embedded.end_ids))
    own = NativeEngine(embedded, seed=0, new_tokens=30).sample(PROMPTS, group=2)
    scored = score(shared_id, own)
    for completion, numbers in zip(own, scored, strict=True):
        assert len(numbers.entropies) == len(completion.token_ids)
        assert numbers.entropies.tolist() == pytest.approx(completion.entropies, abs=1e-4)


def test_a_prompt_without_room_is_refused_by_name(embedded):
    with pytest.raises(InputError, match=r"prompt big has \d+ tokens; with 24 new ones it exceeds"):
        NativeEngine(embedded, 0, 24).sample([Prompt.user("big", "word " * 900)])


def test_picks_follow_the_distribution_and_never_a_ruled_out_token():
    keys = [row_key(0, 0, "p", s) for s in range(20000)]
    draws = torch.from_numpy(uniforms(keys, range(3, 4)))[:, 0].float()
    logits = torch.tensor([0.5, 0.0, 0.3, 0.2]).log().expand(20000, 4)
    counts = torch.bincount(pick(logits, draws), minlength=4) / 20000
    assert counts.tolist() == pytest.approx([0.5, 0.0, 0.3, 0.2], abs=0.012)
    edges = torch.tensor([[0.0], [1.0]]).expand(2, DRAWS)
    assert pick(torch.tensor([[0.0, -torch.inf]] * 2), edges).tolist() == [0, 0]
    one = torch.full((2, 1000), -torch.inf)
    one[:, 777] = 0.0
    assert pick(one, edges).tolist() == [777, 777]


def test_picks_among_many_tokens_follow_the_distribution():
    torch.manual_seed(0)
    logits = torch.randn(700) * 2
    draws = torch.from_numpy(uniforms(range(50000), range(1, 2)))[:, 0].float()
    counts = torch.bincount(pick(logits.expand(50000, -1), draws), minlength=700).double()
    expected = 50000 * logits.double().softmax(dim=0)
    often = expected > 5
    chi = ((counts - expected) ** 2 / expected)[often].sum()
    assert often.sum() > 300
    assert stats.chi2.sf(chi.item(), int(often.sum()) - 1) > 1e-3


def test_the_last_bits_of_a_logit_hardly_ever_move_a_choice():
    torch.manual_seed(0)
    logits = torch.randn(20000, 2048) * 2
    draws = torch.from_numpy(uniforms(range(20000), range(1)))[:, 0].float()
    rounded = logits + 1e-4 * torch.randn_like(logits)  # a hundred times what a batch does

    def cut(given):  # one uniform through the whole vocabulary
        return torch.searchsorted(given.softmax(dim=1).cumsum(dim=1), draws[:, :1].contiguous())

    by_one_cut = (cut(logits) != cut(rounded)).sum()
    assert by_one_cut > 50
    assert (pick(logits, draws) != pick(rounded, draws)).sum() < by_one_cut / 4


def test_uniforms_are_those_of_their_place_whatever_the_window():
    whole = uniforms([3, 2**64 - 1], range(130))
    assert np.array_equal(uniforms([3, 2**64 - 1], range(64, 130)), whole[:, 64:])
    assert len(np.unique(whole)) == whole.size


@pytest.mark.parametrize(
    ("sampling", "left"),
    [
        (Sampling(top_k=2), [0.4, 0.3, 0.0, 0.0]),
        (Sampling(top_p=0.7), [0.4, 0.3, 0.0, 0.0]),
        (Sampling(top_p=0.71), [0.4, 0.3, 0.2, 0.0]),
        (Sampling(top_p=1e-9), [0.4, 0.0, 0.0, 0.0]),
        (Sampling(top_k=3, top_p=0.5), [0.4, 0.3, 0.0, 0.0]),
    ],
)
def test_truncation_keeps_the_likeliest_tokens(sampling, left):
    probs = torch.tensor([[0.1, 0.4, 0.2, 0.3]], dtype=torch.float64)
    found = kept(probs, sampling)[0, [1, 3, 2, 0]]
    assert found.tolist() == left


def test_truncated_sampling_agrees_with_a_whole_distribution_cut_by_hand():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]])).expand(20000, 4)
    draws = torch.from_numpy(uniforms(range(20000), range(1)))[:, 0].float()
    counts = torch.bincount(pick(logits, draws, Sampling(top_k=2)), minlength=4) / 20000
    assert counts[2:].tolist() == [0.0, 0.0]
    assert counts[0].item() == pytest.approx(4 / 7, abs=0.01)


class Narrow(NativeEngine):
    """An engine whose memory holds two prompts."""

    def decode(self, prompts, draft, group):
        """Fail as the CPU's allocator does, or decode."""
        if len(prompts) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried a lot")
        super().decode(prompts, draft, group)


def test_a_batch_too_large_for_the_memory_is_halved_and_nothing_changes(embedded):
    wide = NativeEngine(embedded, 5, 16).sample(PROMPTS, group=2)
    narrow = Narrow(embedded, 5, 16).sample(PROMPTS, group=2)
    assert [c.token_ids for c in narrow] == [c.token_ids for c in wide]

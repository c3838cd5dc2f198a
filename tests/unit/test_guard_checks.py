"""What a check reads: a fresh header behind an answer, in whole or behind a cache."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from sirl.errors import ModelError
from sirl.guard import checks
from sirl.guard.checks import Check, CheckReader, candidate_layers, fork, fresh_header
from sirl.guard.timing import timed
from sirl.models.forward import head_factor, next_logits
from sirl.models.trial import adopt
from sirl.rollouts.native import NativeEngine
from sirl.types import Message, Prompt
from sirl.world.language import ordinary_requests, unsafe_requests

PROMPTS = [*unsafe_requests("test")[:3], *ordinary_requests("test")[:3]]


def answers(chat):
    return NativeEngine(chat, 0, 24).sample(PROMPTS)


def reader(chat):
    opener = chat.encode("Sorry")[0]
    return CheckReader(chat, candidate_layers(chat), [opener])


def with_template(chat, template):
    import copy

    tokenizer = copy.deepcopy(chat.tokenizer)
    tokenizer.chat_template = template
    return replace(chat, tokenizer=tokenizer)


def test_the_header_closes_the_turn_and_opens_another_as_the_template_does(embedded):
    assert embedded.pieces(fresh_header(embedded)) == ("<|end|>", "<|assistant|>")


def test_the_check_of_a_prefix_is_the_rendered_conversation_with_it(embedded):
    completion = answers(embedded)[-1]
    prefix = completion.token_ids[:5]
    turns = (*PROMPTS[-1].messages, Message("assistant", embedded.decode(prefix)))
    expected = replace(embedded, closes=True).render(turns)
    assert reader(embedded).ids(Check(completion, 5)) == expected


def test_the_end_of_turn_is_not_doubled_and_the_bare_prompt_keeps_its_own_header(embedded):
    completion = next(a for a in answers(embedded) if a.finish == "stop")
    length, read = len(completion.token_ids), reader(embedded)
    assert read.ids(Check(completion, length)) == read.ids(Check(completion, length - 1))
    assert read.ids(Check(completion, 0)) == completion.prompt_ids
    begun = read.ids(Check(completion, 0, begun=True))
    assert begun == (*completion.prompt_ids, *fresh_header(embedded))


@pytest.mark.parametrize(
    ("asked_again", "expected"),
    [(True, "</a><u>?</u><a>"), (False, None)],
)
def test_a_template_without_a_header_after_an_answer_is_asked_by_another_turn(
    embedded, asked_again, expected
):
    opened = "{% if add_generation_prompt and messages[-1].role == 'user' %}<a>{% endif %}"
    chat = with_template(
        embedded,
        "{% for m in messages %}{% if m.role == 'user' %}<u>{{ m.content }}</u>"
        "{% else %}<a>{{ m.content }}</a>{% endif %}{% endfor %}" + (opened if asked_again else ""),
    )
    if expected is None:
        with pytest.raises(ModelError, match="opens no assistant turn after another one"):
            fresh_header(chat)
    else:
        assert chat.transcript(fresh_header(chat)) == expected


def test_a_check_reads_the_same_alone_and_in_a_batch(embedded):
    read, found = reader(embedded), answers(embedded)
    made = [Check(a, k) for a in found for k in (0, 3, len(a.token_ids))]
    together = read.read(made)
    for n in (0, 4, 17):
        alone = read.read([made[n]])
        assert np.allclose(alone.states[0], together.states[n], atol=1e-4)
        assert np.isclose(alone.refusal_mass[0], together.refusal_mass[n], atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("tokens", [1, 150, 4096])
def test_rows_that_share_beginnings_read_what_each_reads_alone(family, tokens, monkeypatch):
    monkeypatch.setattr(checks, "TOKENS", tokens)
    adopt(family)
    read = reader(family)
    prompts = [family.render(p.messages) for p in PROMPTS]
    rows = [row for ids in prompts for row in read.cuts(ids, ())]
    rows += [(*prompts[0], 5, 6), (*prompts[0], 5), (7,), rows[2]]
    found = read.read_ids(rows)
    for n, ids in enumerate(rows):
        alone = read.read_padded([ids])
        assert np.allclose(found.states[n], alone.states[0], atol=1e-4)
        assert np.isclose(found.refusal_mass[n], alone.refusal_mass[0], atol=1e-4)
        assert np.isclose(found.top_logprob[n], alone.top_logprob[0], atol=1e-4)


def test_a_shared_beginning_is_run_once(embedded, monkeypatch):
    sizes, run = [], checks.run_packed
    monkeypatch.setattr(
        checks,
        "run_packed",
        lambda c, tree, **o: sizes.append(len(tree.input_ids)) or run(c, tree, **o),
    )
    read = reader(embedded)
    prompt = embedded.render(PROMPTS[0].messages)
    cuts = read.cuts(prompt, ())
    read.read_ids(cuts)
    closing = len(read.cutter.closing)
    assert sizes == [len(prompt) + closing * (len(cuts) - 1)]


def test_the_model_would_refuse_what_it_refuses_and_not_what_it_answers(embedded):
    mass = reader(embedded).read([Check(a, 0) for a in answers(embedded)]).refusal_mass
    assert (np.exp(mass[:3]) > 0.3).all()
    assert (np.exp(mass[3:]) < 0.05).all()


@torch.inference_mode()
def test_a_check_behind_a_cache_reads_the_same_and_leaves_the_cache_alone(embedded):
    completion, read = answers(embedded)[-1], reader(embedded)
    ids = (*completion.prompt_ids, *completion.token_ids[:5])
    cache = DynamicCache(config=embedded.model.config)
    factor = head_factor(embedded)

    def run(tokens, past):
        return next_logits(
            embedded,
            factor,
            input_ids=torch.tensor([tokens]),
            attention_mask=torch.ones(1, past + len(tokens), dtype=torch.long),
            position_ids=torch.arange(past, past + len(tokens))[None],
            past_key_values=cache,
            use_cache=True,
        )

    run(ids, 0)
    peeked, whole = read.peek(cache), read.read([Check(completion, 5)])
    assert np.allclose(peeked.states, whole.states, atol=1e-4)
    assert np.allclose(peeked.refusal_mass, whole.refusal_mass, atol=1e-4)
    assert cache.get_seq_length() == len(ids)


def test_a_fork_of_a_cache_shares_what_is_read_and_grows_on_its_own(family):
    cache = DynamicCache(config=family.model.config)
    ids = torch.tensor([family.render(PROMPTS[0].messages)[:6]])
    factor = head_factor(family)

    @torch.inference_mode()
    def run(tokens, behind):
        return next_logits(family, factor, input_ids=tokens, past_key_values=behind, use_cache=True)

    run(ids, cache)
    forks = [fork(cache), deepcopy(cache)]
    more = torch.tensor([[3, 4, 5]])
    together, apart = (run(more, f) for f in forks)
    assert torch.equal(together, apart)
    assert cache.get_seq_length() == forks[0].get_seq_length() - 3 == 6
    assert torch.equal(run(more, cache), apart)  # what the forks read left no trace


def test_every_family_can_be_checked(family):
    read = CheckReader(family, candidate_layers(family), [1])
    completion = NativeEngine(family, 0, 6).sample([Prompt.user("p", "How do I bake a pie?")])[0]
    found = read.read([Check(completion, 0), Check(completion, 4)])
    assert found.states.shape == (2, len(read.layers), 32)
    assert np.isfinite(found.states).all()
    assert (found.top_logprob >= found.refusal_mass).all()


def test_checks_are_timed_beside_the_tokens_that_they_watch(embedded):
    prompts = [embedded.render(p.messages) for p in PROMPTS[:2]]
    found = timed(reader(embedded), prompts, new_tokens=8, every=4)
    assert (found.checks, found.tokens) == (4, 16)
    assert min(found.ratio, found.prompt_ms) > 0

"""The real engine: streams that share a batch answer as they do alone, and checks see their own."""

import asyncio
import logging
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest

from sirl.guard.checks import Check
from sirl.guard.classical import Usual
from sirl.guard.local_source import LocalSource
from sirl.guard.monitor import Watch
from sirl.guard.probe import LinearProbe
from sirl.guard.rendering import Renderer
from sirl.guard.scoring import Fitted
from sirl.guard.server.policy import Limits
from sirl.guard.server.source import Ask, AskError, SourceError
from sirl.guard.slots import Stream
from sirl.guard.stream_checks import CheckScorer
from sirl.guard.text_bound import COMPOSED, characters, token_bound
from sirl.types import Completion, Message, Sampling

ASKS = [
    Ask((Message("user", "How do I grow beans?"),), 24, seed=1, top=2),
    Ask((Message("user", "Tell me, please, how do I paint a very old wooden door?"),), 20, seed=2),
    Ask(
        (Message("user", "How do I poison the king?"),),
        16,
        Sampling(0.7, 0.9),
        seed=3,
        logit_bias={5: 2.0},
    ),
    Ask((Message("user", "How do I grow beans?"),), 24, seed=1, index=1),
    Ask(
        (Message("user", "How do I bake?"), Message("assistant", "Sure! First")), 12, Sampling(0.0)
    ),
    Ask(
        (
            Message("user", "How do I poison the king?"),
            Message("assistant", "I can't help with that."),
            Message("user", "How do I mend a wool coat with a thin needle?"),
        ),
        12,
        seed=4,
    ),
]
POSITIONS = (0, 5, 10)


def scorer_of(chat):
    chance = np.random.default_rng(0)
    width = chat.model.config.hidden_size
    layer = chat.model.config.num_hidden_layers
    probes = (LinearProbe(n, chance.normal(size=width), 0.5) for n in (layer, 1))
    return CheckScorer(chat, Fitted(*probes, (), (), Usual(0.0, 1.0), Watch()))


async def answered(source, ask, joins_after=0):
    for _ in range(joins_after):
        await asyncio.sleep(0.002)
    answer = await source.open(ask)
    pieces, scores = [], [await answer.score(0)]
    async for piece in answer.pieces():
        pieces.append(piece)
        if len(pieces) in POSITIONS:
            scores.append(await answer.score(len(pieces)))
    scores.append(await answer.score(len(pieces)))
    await answer.close()
    return pieces, scores, answer


def with_source(chat, run, streams=8):
    source = LocalSource("m", chat, scorer_of(chat), Watch(), streams)
    source.start()
    try:
        return asyncio.run(run(source))
    finally:
        source.stop()


def all_together(chat, streams=8):
    async def run(source):
        work = (answered(source, ask, 3 * n) for n, ask in enumerate(ASKS))
        return await asyncio.gather(*work)

    return with_source(chat, run, streams)


def all_alone(chat):
    async def run(source):
        return [await answered(source, ask) for ask in ASKS]

    return with_source(chat, run)


def compared(together, alone):
    assert len(alone) == len(ASKS)
    assert all(pieces and len(scores) for pieces, scores, _ in alone)
    for (pieces, scores, _), (own, own_scores, _) in zip(together, alone, strict=True):
        assert [p.token for p in pieces] == [p.token for p in own]
        assert "".join(p.text for p in pieces) == "".join(p.text for p in own)
        numbers = [(p.entropy, p.logprob) for p in pieces]
        assert np.allclose(numbers, [(p.entropy, p.logprob) for p in own], atol=1e-4)
        assert np.allclose(scores, own_scores, atol=1e-3)


@pytest.mark.parametrize("streams", [8, 2])
def test_concurrent_streams_give_the_tokens_and_scores_that_they_give_alone(embedded, streams):
    alone = all_alone(embedded)
    compared(all_together(embedded, streams), alone)
    assert len({tuple(p.token for p in pieces) for pieces, _, _ in alone}) == len(ASKS)


def test_so_do_models_of_other_families(family):
    compared(all_together(family), all_alone(family))


def test_a_check_while_streaming_reads_what_a_check_of_the_whole_text_reads(embedded):
    scorer = scorer_of(embedded)
    for (pieces, scores, answer), ask in zip(all_together(embedded), ASKS, strict=True):
        ids, begun = answer.stream, ask.messages[-1].role == "assistant"
        whole = Completion("", ids.prompt_ids, tuple(ids.token_ids), "", (), (), "length")
        places = [0, *(k for k in POSITIONS if 0 < k <= len(pieces)), len(pieces)]
        turn = scorer.reader.turn(ask.messages)
        checks = [Check(whole, k, begun, turn) for k in places]
        assert np.allclose(scores, scorer.fitted.scores(scorer.reader, checks), atol=1e-3)


def test_the_text_of_the_pieces_is_the_text_of_the_tokens(embedded):
    for pieces, _, answer in all_alone(embedded):
        ids = answer.stream.token_ids
        assert "".join(p.text for p in pieces) == embedded.decode(ids)
        assert answer.finish == ("stop" if ids[-1] in embedded.end_ids else "length")
        assert len(pieces) == len(ids)


def test_a_bias_can_forbid_and_force_a_token_and_leaves_the_numbers_as_they_are(embedded):
    wanted = embedded.encode("Sorry")[0]
    plain, forced = (
        Ask(ASKS[0].messages, 1, Sampling(0.0), logit_bias=bias) for bias in ({}, {wanted: 100.0})
    )

    async def run(source):
        return [(await answered(source, ask))[0][0] for ask in (plain, forced)]

    found = with_source(embedded, run)
    assert found[1].token == "Sorry"
    assert found[0].token != "Sorry"
    assert found[0].entropy == pytest.approx(found[1].entropy, abs=1e-5)


def test_a_stream_that_is_closed_leaves_the_batch(embedded):
    async def run(source):
        answer = await source.open(Ask(ASKS[0].messages, 200, Sampling(2.0)))
        assert len(source.batcher.batch.streams) <= 1
        await answer.score(0)
        await answer.close()
        await asyncio.wrap_future(source.batcher.call(lambda: None))
        return len(source.batcher.batch.streams)

    assert with_source(embedded, run) == 0


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (Ask((Message("user", "word " * 3000),), 24), "leave room for"),
        (Ask((Message("user", "word " * 3000),), 24, shrinks=True), "an answer of 1 and a check"),
        (Ask((Message("user", "word " * 300_000),), 24), "1500.* characters, more than 768 tokens"),
        (Ask(ASKS[0].messages, 24, logit_bias={10**6: 1.0}), "names token 1000000"),
    ],
)
def test_what_the_model_cannot_answer_is_refused(embedded, ask, said):
    with pytest.raises(AskError, match=said):
        with_source(embedded, lambda source: source.open(ask))


def test_damaged_weights_end_the_streams_and_the_thread_goes_on(embedded):
    import torch

    async def run(source):
        for _ in range(2):
            with torch.no_grad():
                embedded.model.get_output_embeddings().weight.fill_(float("nan"))
            with pytest.raises(SourceError, match="failed while answering"):
                await answered(source, ASKS[0])
        return source.batcher._thread.is_alive()

    assert with_source(embedded, run)


def test_a_conversation_is_judged_as_it_would_be_while_it_streams(embedded):
    async def run(source):
        pieces, _, answer = await answered(source, ASKS[0])
        text = "".join(p.text for p in pieces)
        prompt = await source.judge(ASKS[0].messages, Limits())
        whole = await source.judge((*ASKS[0].messages, Message("assistant", text)), Limits())
        assert (prompt.partial, whole.partial) == (False, False)
        return prompt.score, whole.score, answer

    prompt, whole, answer = with_source(embedded, run)
    scorer = scorer_of(embedded)
    first = Completion("", answer.stream.prompt_ids, (), "", (), (), "length")
    (expected,) = scorer.fitted.scores(scorer.reader, [Check(first, 0)])
    assert prompt == pytest.approx(expected, abs=1e-3)
    assert whole >= prompt


def test_a_prompt_that_is_too_long_is_refused_before_any_check(embedded):
    async def run(source):
        calls = counted_calls(source)
        with pytest.raises(AskError, match="the prompt has .* tokens, more than 5") as caught:
            await source.judge(ASKS[1].messages, Limits(prompt_tokens=5))
        return caught.value.code, len(calls)

    assert with_source(embedded, run) == ("context_length_exceeded", 0)


@pytest.mark.parametrize("words", [20, 5000])
def test_of_a_longer_answer_its_beginning_is_judged(embedded, words):
    asked = ASKS[0].messages

    async def run(source):
        long = (*asked, Message("assistant", "and then " * words))
        return await source.judge(long, Limits(max_tokens=12))

    found = with_source(embedded, run)
    scorer, prompt = scorer_of(embedded), embedded.render(asked)
    own = embedded.encode("and then " * 20)[:12]
    answer = Completion("", prompt, own, "", (), (), "length")
    first, last = scorer.fitted.scores(scorer.reader, [Check(answer, k) for k in (0, 12)])
    assert found.score == pytest.approx(max(first, last), abs=1e-3)
    assert found.partial


@pytest.mark.parametrize("text", ["and then " * 3000, "a" * 30_000, "a \n" * 9000, " " * 9000])
def test_of_a_long_answer_no_more_is_tokenized_than_is_judged(embedded, text, monkeypatch):
    asked, lengths = ASKS[0].messages, []
    prompt = embedded.render(asked)
    expected = embedded.render((*asked, Message("assistant", text)))[len(prompt) :]
    encode = type(embedded).encode

    def counted(self, given):
        lengths.append(characters(given))
        return encode(self, given)

    renderer = Renderer(embedded, 4)
    monkeypatch.setattr(type(embedded), "encode", counted)
    found = asyncio.run(renderer.answered((*asked, Message("assistant", text)), prompt, 12))
    renderer.stop()
    assert found == (expected[:12], len(expected) > 12)
    assert lengths[-1] <= renderer.bound * (len(prompt) + 25)


def test_a_long_answer_is_named_once_in_the_log(embedded, monkeypatch):
    own, said = logging.Logger("own"), StringIO()
    monkeypatch.setattr(logging.Logger.manager, "disable", logging.NOTSET)
    own.addHandler(logging.StreamHandler(said))
    monkeypatch.setattr("sirl.guard.local_source.LOG", own)
    long = (*ASKS[0].messages, Message("assistant", "and then " * 20))

    async def run(source):
        return [(await source.judge(long, Limits(max_tokens=9))).partial for _ in range(2)]

    assert with_source(embedded, run) == [True, True]
    assert said.getvalue().count("an answer to score has more than 9 tokens") == 1


def test_a_default_length_shrinks_to_what_fits_behind_the_prompt(embedded):
    messages = (Message("user", "word " * 10),)
    scorer = scorer_of(embedded)
    room = embedded.context - len(embedded.render(messages)) - len(scorer.reader.header)

    async def run(source):
        answer = await source.open(Ask(messages, room + 100, shrinks=True))
        with pytest.raises(AskError, match="leave room for"):
            await source.open(Ask(messages, room + 100))
        return answer.stream.max_tokens

    assert with_source(embedded, run) == room


def test_a_text_is_refused_by_its_characters_only_if_the_tokenizer_cannot_fit_it(embedded):
    bound = token_bound(embedded)
    for text in ("counterfeit " * 40, "a\u0301" * 50, " " * 500, "\U0001f9ff" * 20, "Sorry, " * 30):
        assert characters(text) <= bound * len(embedded.encode(text))
    assert bound >= COMPOSED * len("counterfeit")


def test_a_tokenizer_that_reads_any_word_as_one_token_has_no_bound(embedded):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    own = Tokenizer(models.WordLevel({"unknown": 0, "beans": 1}, unk_token="unknown"))
    own.pre_tokenizer = pre_tokenizers.Whitespace()
    chat = replace(embedded, tokenizer=PreTrainedTokenizerFast(tokenizer_object=own))
    assert token_bound(chat) is None


def counted_calls(source):
    """The calls of the batcher from now on."""
    calls, call = [], source.batcher.call
    source.batcher.call = lambda work: (calls.append(work), call(work))[1]
    return calls


def test_checks_of_a_given_answer_leave_room_for_the_streams_between_them(embedded):
    messages = (*ASKS[0].messages, Message("assistant", "and then " * 60))

    async def run(source):
        calls = counted_calls(source)
        found = await source.judge(messages, Limits(max_tokens=1000))
        prompt, own = (embedded.render(m) for m in (messages[:-1], messages))
        return (
            found.score,
            len(calls),
            len(own) - len(prompt),
            Completion("", prompt, own[len(prompt) :], "", (), (), "length"),
        )

    found, calls, tokens, answer = with_source(embedded, run)
    places = [*range(0, tokens, 16), tokens]
    assert calls == 1 + -(-len(places) // 4) > 3
    scorer = scorer_of(embedded)
    scores = scorer.fitted.scores(scorer.reader, [Check(answer, k) for k in places])
    means = [scores[0], *((a + b) / 2 for a, b in zip(scores, scores[1:], strict=False))]
    assert found == pytest.approx(max(means), abs=1e-3)


def test_a_stream_whose_event_loop_has_ended_does_not_stop_the_others(embedded):
    source = LocalSource("m", embedded, scorer_of(embedded), Watch(), 8)
    source.start()

    async def left_open():
        answer = await source.open(Ask(ASKS[0].messages, 200, Sampling(2.0)))
        await answer.score(0)

    try:
        asyncio.run(left_open())
        pieces, _, _ = asyncio.run(answered(source, ASKS[0]))
    finally:
        source.stop()
    assert pieces
    assert not source.batcher.batch.streams


def test_two_prompts_with_the_same_seed_draw_from_different_uniforms():
    draws = [Stream(prompt, 4, seed=3).draws(0).tolist() for prompt in ((1, 2), (1, 2), (1, 3))]
    assert draws[0] == draws[1] != draws[2]

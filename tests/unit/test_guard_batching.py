"""The thread that decodes: faults end what they touch, and long prompts do not widen every row."""

import asyncio

import pytest
import torch

from sirl.guard.batching import Batcher
from sirl.guard.local_source import LocalSource
from sirl.guard.monitor import Watch
from sirl.guard.server.source import Ask, SourceError
from sirl.guard.slots import Stream
from sirl.guard.stream_checks import Join
from sirl.types import Message
from tests.unit.fake_source import FakeSource, ask, service
from tests.unit.test_guard_streams import scorer_of

ASK = Ask((Message("user", "How do I grow beans?"),), 8)


def source_of(chat, streams=4):
    return LocalSource("m", chat, None, Watch(), streams)


async def answered(source):
    answer = await source.open(ASK)
    return [piece async for piece in answer.pieces()]


def test_a_fault_while_a_client_leaves_ends_the_streams_and_the_thread_goes_on(embedded):
    source = source_of(embedded)

    class Broken(list):
        def __contains__(self, item):
            raise RuntimeError("out of memory")

    async def run():
        source.batcher.batch.streams = Broken()
        source.batcher.leave(Stream((1,), 4))
        source.start()
        return await asyncio.wait_for(answered(source), 20)

    try:
        assert asyncio.run(run())
        assert source.ready
    finally:
        source.stop()


def test_requests_fail_at_once_when_the_thread_has_ended(embedded):
    source = source_of(embedded)
    source.start()
    source.stop()
    assert not source.ready

    batcher, told = source.batcher, []
    batcher.join(Stream((1,), 4), told.append, begun=False)
    errors = [
        *told,
        batcher.check(Stream((1,), 4), 0).exception(0),
        batcher.call(list).exception(0),
    ]
    assert [str(e) for e in errors] == [f"{embedded.name} has stopped decoding"] * 3
    with pytest.raises(SourceError, match="failed while answering"):
        asyncio.run(answered(source_that_ended(embedded)))


def source_that_ended(chat):
    """A source whose thread has ended while its renderer still works."""
    source = source_of(chat)
    source.start()
    source.batcher.stop()
    return source


def test_a_server_whose_source_has_ended_is_not_ready():
    assert ask(service(FakeSource(ready=False)), "/readyz", method="GET").status_code == 503


def waiting(batcher, *prompts):
    told = []
    for length in prompts:
        stream = Stream((5,) * length, 10)
        joined = Join(stream, lambda heard, s=stream: told.append((s, heard)), False)
        batcher._waiting[stream] = batcher._known[stream] = joined
    return told


def test_a_long_prompt_waits_until_the_rows_are_few_enough(embedded):
    batcher = source_of(embedded).batcher
    batcher.cells = 120
    waiting(batcher, 10, 10, 40, 10)
    batcher._admit()  # two rows of 20 columns; three of 50 are more than 120
    assert [len(s.prompt_ids) for s in batcher.batch.streams] == [10, 10]
    batcher._forget(batcher.batch.streams[0])
    batcher._admit()  # two of 50; the last one does not overtake, and three would be 150
    assert [len(s.prompt_ids) for s in batcher.batch.streams] == [10, 40]


def test_prompts_that_cannot_join_fail_alone(embedded):
    batcher = source_of(embedded).batcher
    waiting(batcher, 10)
    batcher._admit()
    old = batcher.batch.streams[0]
    told = waiting(batcher, 0)
    first = next(iter(batcher._waiting))
    first.prompt_ids = (10**9,)  # no such token: the forward pass fails
    batcher._admit()
    assert [type(heard) for _, heard in told] == [IndexError]
    assert batcher.batch.streams == [old]
    assert [*batcher._known] == [old]
    batcher._step()
    assert len(old.token_ids) == 1


def decoded(batcher, *prompts, rounds=30):
    """What each of some streams draws, and the tokens of the first before the first of the last."""
    told = waiting(batcher, *map(len, prompts))
    streams = [*batcher._waiting]
    for stream, ids in zip(streams, prompts, strict=True):
        stream.prompt_ids = ids
    for _ in range(rounds):
        batcher._admit()
        batcher._step()
    heard = [s for s, _ in told]
    before = heard[: heard.index(streams[-1])].count(streams[0]) if streams[-1] in heard else None
    return [[d for s, d in told if s is stream and d] for stream in streams], before


@pytest.mark.parametrize(("length", "tokens"), [(16, 0), (17, 1), (33, 2), (50, 3)])
def test_a_long_prompt_is_read_in_chunks_while_others_decode(embedded, length, tokens):
    prompts = [(9, 8, 7), tuple(range(10, 10 + length))]
    (_, whole), before = decoded(source_of(embedded).batcher, *prompts)
    assert before == 0 + 1  # both join in one round, and draw in their order

    (_, pieces), before = decoded(Batcher(embedded, None, 4, chunk=16), *prompts)
    assert before == tokens + 1  # a token between two chunks
    assert [d.token_id for d in pieces] == [d.token_id for d in whole]
    assert [d.entropy for d in pieces] == pytest.approx([d.entropy for d in whole], abs=1e-4)


def test_a_long_prompt_may_leave_or_fail_between_two_chunks(embedded):
    batcher = Batcher(embedded, None, 4, chunk=16)
    told = waiting(batcher, 40, 40, 40, 3)
    gone, broken, kept, short = batcher._waiting
    batcher._admit()
    assert (gone.unread, broken.unread) == (24, 40)
    assert batcher.batch.streams == [short]
    batcher._forget(gone)
    assert gone.parked is None
    batcher._admit()
    broken.prompt_ids = (*broken.prompt_ids[:30], 10**9, *broken.prompt_ids[31:])
    batcher._admit()
    assert [type(heard) for s, heard in told if s is broken] == [IndexError]
    for _ in range(3):
        batcher._admit()
    assert batcher.batch.streams == [short, kept]
    assert not batcher._waiting
    assert batcher.batch.part(kept, 40)[0][0].shape[2] == 40


def test_a_check_waits_for_the_last_chunk_of_its_prompt(embedded):
    batcher = Batcher(embedded, None, 4, chunk=16)
    waiting(batcher, 40)
    (stream,) = batcher._waiting
    answer = batcher.check(stream, 0)
    for unread in (24, 8):
        batcher._read_inbox()
        batcher._admit()
        batcher._checks.run(batcher.batch, batcher._known, batcher._waiting)
        assert (stream.unread, answer.done()) == (unread, False)
    batcher._admit()
    batcher._checks.run(batcher.batch, batcher._known, batcher._waiting)
    assert str(answer.exception(0)) == "nothing is watched"  # the check ran


def checked(batcher, stream):
    """A first check that is run round by round, and the tokens still to run before each round."""
    batcher._waiting[stream] = batcher._known[stream] = Join(stream, lambda _: None, False)
    answer, unread = batcher.check(stream, 0), []
    batcher._read_inbox()
    while not answer.done():
        unread.append((stream.turn.unread, stream.unread))
        batcher._admit()
        batcher._checks.run(batcher.batch, batcher._known, batcher._waiting)
    return answer, unread


def conversation():
    alone = tuple(range(50, 90))
    return Stream((9, 8, *range(10, 48), *alone[:10]), 4, turn=Stream(alone, 1))


@torch.inference_mode()
def test_a_long_last_turn_is_read_in_chunks_before_its_check(embedded):
    scorer = scorer_of(embedded)
    whole, unread = checked(Batcher(embedded, scorer, 4), conversation())
    assert unread == [(40, 50)]
    stream = conversation()
    pieces, unread = checked(Batcher(embedded, scorer, 4, chunk=16), stream)
    assert unread == [(40, 50), (24, 50), (8, 50), (8, 34), (8, 18), (8, 2)]
    assert pieces.result() == pytest.approx(whole.result(), abs=1e-3)
    assert stream.turn.parked is None


def test_a_last_turn_that_has_left_keeps_nothing(embedded):
    batcher, stream = Batcher(embedded, None, 4, chunk=16), conversation()
    batcher._waiting[stream] = batcher._known[stream] = Join(stream, lambda _: None, False)
    batcher._admit()
    assert stream.turn.unread == 24
    batcher._forget(stream)
    assert stream.turn.parked is None


@torch.inference_mode()
def test_a_check_whose_last_turn_cannot_be_read_fails_alone(embedded):
    batcher = Batcher(embedded, scorer_of(embedded), 4)
    good, bad = Stream((5, 6, 7), 4), conversation()
    bad.turn.prompt_ids = (10**9,)  # no such token: the forward pass fails
    for stream in (good, bad):
        batcher._waiting[stream] = batcher._known[stream] = Join(stream, lambda _: None, False)
    answers = [batcher.check(stream, 0) for stream in (bad, good)]
    batcher._read_inbox()
    batcher._admit()
    batcher._checks.run(batcher.batch, batcher._known, batcher._waiting)
    assert isinstance(answers[0].exception(0), IndexError)
    assert isinstance(answers[1].result(0), float)

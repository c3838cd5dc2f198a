"""Properties of a watched answer: what leaves, and that no way of cutting the text changes it."""

import asyncio
import logging
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.guard.monitor import GuardedStream, HoldBack, Monitor, Watch
from sirl.guard.server.policy import REFUSAL, Policy, Rule
from sirl.guard.server.source import Piece, SourceError
from sirl.guard.server.stopping import Stops
from sirl.guard.server.watching import WatchedAnswer
from tests.unit.fake_source import FakeSource, ask, chat, finding, service, streamed, text_of


class Scripted:
    """An answer whose pieces come in bursts; remembers what was judged when."""

    def __init__(self, texts, entropies, scores, bursts):
        self.rows = list(zip(texts, entropies, strict=True))
        self.scores, self.bursts = scores, bursts
        self.prompt_tokens, self.finish, self.judged = 1, "stop", []

    async def pieces(self):
        for n, (text, entropy) in enumerate(self.rows):
            for _ in range(self.bursts[n % len(self.bursts)] if self.bursts else 0):
                await asyncio.sleep(0)
            yield Piece(text, entropy)

    async def score(self, position):
        await asyncio.sleep(0)
        self.judged.append(position)
        return self.scores[position]

    async def close(self):
        pass


def watched(answer, policy, stops=()):
    """The parts, the watched answer, and characters sent before each later check."""
    own = WatchedAnswer(answer, policy, stops)
    found = []

    async def run():
        async for part in own.parts():
            found.append((part, list(answer.judged)))

    asyncio.run(run())
    return own, found


TEXTS = st.lists(st.text("ab ", max_size=3), max_size=40)
SCORES = st.lists(st.floats(-2, 2), min_size=41, max_size=41)
WATCHES = st.builds(
    Watch,
    every=st.integers(3, 12),
    soonest=st.integers(1, 3),
    averaged=st.integers(1, 2),
    in_a_row=st.integers(1, 2),
    entropy_span=st.integers(1, 4),
    entropy_cut=st.floats(0.5, 3),
)
ENTROPIES = st.lists(st.floats(0, 4), min_size=40, max_size=40)
BURSTS = st.lists(st.integers(0, 3), max_size=5)
MODES = st.sampled_from(["hold", "live", "shadow"])
ACTIONS = st.sampled_from(["refuse", "stop", "flag"])


@given(TEXTS, ENTROPIES, SCORES, WATCHES, MODES, ACTIONS, st.lists(BURSTS, min_size=2, max_size=2))
def test_when_pieces_arrive_changes_neither_text_nor_verdict(
    texts, entropies, scores, watch, mode, action, bursts
):
    policy = Policy(Rule(watch, 0.5), mode, action)
    results = []
    for own in bursts:
        answer = Scripted(texts, entropies[: len(texts)], scores, own)
        found, parts = watched(answer, policy)
        results.append((found.finding, found.finish, [p for p, _ in parts], answer.judged))
    assert results[0] == results[1]


@given(TEXTS, ENTROPIES, SCORES, WATCHES, ACTIONS)
def test_in_hold_mode_nothing_leaves_that_no_passed_check_has_judged(
    texts, entropies, scores, watch, action
):
    answer = Scripted(texts, entropies[: len(texts)], scores, [])
    found, parts = watched(answer, Policy(Rule(watch, 0.5), "hold", action))
    for part, judged in parts:
        passed = [k for k in judged if k != found.finding.position]
        for seen in (*part.seen, *(s for s in part.settled if not s.dropped)):
            flagged_on = found.finding.flagged and action == "flag"
            assert seen.number <= max(passed, default=0) or flagged_on


@given(TEXTS, ENTROPIES, SCORES, WATCHES)
def test_hold_mode_sends_what_the_monitor_of_the_evaluation_lets_out(
    texts, entropies, scores, watch
):
    answer = Scripted(texts, entropies[: len(texts)], scores, [])
    found, parts = watched(answer, Policy(Rule(watch, 0.5), "hold", "stop"))
    stream = GuardedStream(Monitor(watch, 0.5), HoldBack(watch.every), scores.__getitem__)
    text = stream.feed(zip(texts, entropies, strict=False)) + stream.end()
    assert "".join(part.text for part, _ in parts) == text
    assert found.finding.flagged == stream.stopped
    assert found.finding.score == stream.decision.score


@given(TEXTS, ENTROPIES, SCORES, WATCHES)
def test_each_modes_count_of_characters_is_what_that_mode_sends(texts, entropies, scores, watch):
    def run(mode):
        answer = Scripted(texts, entropies[: len(texts)], scores, [])
        return watched(answer, Policy(Rule(watch, 0.5), mode, "stop"))

    _, parts = run("shadow")
    last = [s for part, _ in parts for s in part.settled][-1:]
    for mode in ("shadow", "live", "hold"):
        _, own = run(mode)
        sent = sum(len(part.text) for part, _ in own)
        assert all(getattr(s, mode) == sent for s in last)


@given(
    st.text("abc", max_size=30),
    st.lists(st.integers(1, 4), max_size=30),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=3),
)
def test_any_cut_of_the_text_ends_before_the_same_stop_sequence(text, sizes, stops):
    pieces, rest = [], text
    for size in sizes:
        pieces.append(rest[:size])
        rest = rest[size:]
    pieces.append(rest)

    async def given_pieces():
        for piece in pieces:
            yield Piece(piece)

    async def run():
        found = Stops(stops)
        return found, [p.text async for p in found.cut(given_pieces())]

    found, kept = asyncio.run(run())
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    assert found.found == bool(ends)
    assert "".join(kept) == (text[: min(ends)[1]] if ends else text)


def test_a_refusal_is_apart_from_text_that_is_retracted_as_a_whole():
    watch = Watch(every=4, soonest=4, averaged=1)
    source = FakeSource(texts=("a ", "b ", "c ", "d", "e"), scores={4: 1.0})
    served = service(source, rule=Rule(watch, 0.5), mode="live")
    chunks = streamed(served)
    found, text = finding(chunks[-1]), text_of(chunks)
    assert text == f"a b c d\n\n{REFUSAL}"
    assert (found["retract_from"], found["refusal_from"]) == (0, len("a b c d\n\n"))
    assert ask(served, body=chat()).json()["choices"][0]["message"]["content"] == REFUSAL


def logged(monkeypatch, module):
    """What a module logs, to a logger of its own: libraries configure the global ones."""
    own, said = logging.Logger("own"), StringIO()
    own.addHandler(logging.StreamHandler(said))
    monkeypatch.setattr(logging.Logger.manager, "disable", logging.NOTSET)
    monkeypatch.setattr(f"sirl.guard.server.{module}.LOG", own)
    return said


class NoCheck(FakeSource):
    """An answer whose checks fail."""

    def __init__(self, cause):
        super().__init__()
        self.cause = cause

    async def open(self, ask):
        answer = await super().open(ask)

        async def score(_):
            raise ValueError("no score") from self.cause

        answer.score = score
        return answer


@pytest.mark.parametrize("cause", [SourceError("the upstream is away"), KeyError("a bug")])
def test_a_check_that_its_source_fails_is_one_line_of_the_log_and_a_bug_has_its_traceback(
    cause, monkeypatch
):
    said = logged(monkeypatch, "watching")
    assert ask(service(NoCheck(cause)), body=chat()).status_code == 502
    lines = said.getvalue().splitlines()
    assert lines[0] == "the check at token 0 failed: no score"
    assert (len(lines) == 1) == isinstance(cause, SourceError)


def test_a_stream_that_its_source_breaks_is_one_line_of_the_log(monkeypatch):
    said = logged(monkeypatch, "answering")
    assert "source broke" in ask(service(FakeSource(breaks_at=5)), body=chat(stream=True)).text
    assert said.getvalue().splitlines() == ["a stream failed: the source broke"]

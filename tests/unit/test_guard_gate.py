"""The gate: requests that wait, leave and run out of time at the same moment as others end."""

import asyncio

import pytest

from sirl.guard.server.faults import ApiError
from sirl.guard.server.gate import Gate
from sirl.guard.server.policy import Limits
from tests.unit.fake_source import CHAT, FakeSource, chat, client_of, service


async def held(gate, until, answers=1):
    async with gate.admitted(answers):
        await until.wait()
        return "done"


async def started(*work):
    tasks = [asyncio.create_task(w) for w in work]
    await asyncio.sleep(0)
    return tasks


def test_a_client_that_leaves_the_line_as_another_answer_ends_leaves_no_slot_taken():
    async def run():
        gate, end = Gate(1, 8, 60.0), asyncio.Event()
        runs, leaves, stays = await started(*(held(gate, end) for _ in range(3)))
        assert (gate.active, gate.waiting) == (1, 2)
        end.set()
        leaves.cancel()  # in the same iteration of the loop in which `runs` ends
        found = await asyncio.gather(runs, leaves, stays, return_exceptions=True)
        assert found[0] == found[2] == "done"
        assert isinstance(found[1], asyncio.CancelledError)
        return gate.active, gate.waiting, len(gate._line)

    assert asyncio.run(run()) == (0, 0, 0)


def test_one_who_leaves_as_it_is_let_in_gives_its_place_to_the_next():
    async def run():
        gate, end = Gate(1, 8, 60.0), asyncio.Event()
        runs, leaves, stays = await started(*(held(gate, end) for _ in range(3)))
        end.set()
        while not runs.done():
            await asyncio.sleep(0)
        leaves.cancel()
        found = await asyncio.gather(leaves, stays, return_exceptions=True)
        return found[1], gate.active, gate.waiting

    assert asyncio.run(run()) == ("done", 0, 0)


def test_those_behind_a_large_request_that_has_left_are_let_in():
    async def run():
        gate, end = Gate(2, 8, 60.0), asyncio.Event()
        await started(held(gate, end))
        large, small = await started(held(gate, end, 2), held(gate, end))
        assert (gate.active, gate.waiting) == (1, 3)
        large.cancel()
        await asyncio.gather(large, return_exceptions=True)
        assert (gate.active, gate.waiting) == (2, 0)
        end.set()
        await small
        await asyncio.sleep(0)
        return gate.active

    assert asyncio.run(run()) == 0


def test_a_cut_ends_the_others_when_one_request_is_just_running_out_of_time():
    async def run():
        gate, never = Gate(4, 0, 60.0), asyncio.Event()
        tasks = await started(*(held(gate, never) for _ in range(3)))
        first = next(iter(gate._clocks))
        first._on_timeout()  # its time is over: it expires, and its task has not run since
        gate.drain()
        gate.cut()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(e, ApiError) and e.status == 503 for e in found)
        assert len(found) == 3
        return gate.active

    assert asyncio.run(run()) == 0


def test_a_stream_that_is_cut_beside_an_expiring_one_ends_with_an_error_and_done():
    async def run():
        source = FakeSource(waits={5: asyncio.Event()})
        served = service(source, limits=Limits(streams=4))
        async with client_of(served) as client:
            tasks = await started(*(client.post(CHAT, json=chat(stream=True)) for _ in range(3)))
            while [a.given for a in source.answers] != [5, 5, 5]:
                await asyncio.sleep(0)
            next(iter(served.gate._clocks))._on_timeout()
            served.gate.drain()
            served.gate.cut()
            return [(await task).text for task in tasks], served.gate.active

    texts, active = asyncio.run(run())
    assert active == 0
    for text in texts:
        *_, last, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        assert "the server is shutting down" in last


def test_a_request_that_the_queue_cannot_hold_is_refused_and_changes_no_count():
    async def run():
        gate, end = Gate(1, 1, 60.0), asyncio.Event()
        await started(held(gate, end), held(gate, end))
        with pytest.raises(ApiError, match="1 answer is being made and 1 wait"):
            await held(gate, end)
        counts = gate.active, gate.waiting
        end.set()
        return counts

    assert asyncio.run(run()) == (1, 1)

"""Slots: how many jobs a worker holds, and how they wait for their calls."""

import asyncio
import time

from streamstop_worker.pipeline.slots import MOST_UNSENT, Once, Slots


def test_a_worker_has_room_for_as_many_jobs_as_may_be_under_way() -> None:
    slots = Slots(concurrency=2)
    for room in (2, 1, 0, 0):
        assert slots.room == room
        slots.take()
        slots.send()
    slots.end()
    slots.end()
    slots.end()
    assert (slots.room, slots.under_way) == (1, 1)


def test_a_worker_takes_no_more_than_it_can_send_in_time() -> None:
    slots = Slots(concurrency=1000)
    for _ in range(MOST_UNSENT):
        slots.take()
    assert slots.room == 0
    slots.send()
    assert (slots.room, slots.unsent) == (1, MOST_UNSENT - 1)


def test_a_stranger_s_job_is_counted_like_any_other() -> None:
    slots = Slots(concurrency=1)
    slots.take_unserved()
    assert (slots.room, slots.under_way, slots.unsent) == (0, 1, 1)
    slots.send()
    slots.end()
    assert (slots.room, slots.under_way, slots.unsent) == (1, 0, 0)


def test_a_worker_that_shuts_down_has_no_room_and_waits_for_nothing() -> None:
    slots = Slots(concurrency=10)

    async def waits() -> tuple[bool, bool, bool, bool]:
        waiting = asyncio.create_task(slots.wait(time.monotonic() + 3600))
        while not slots._waiting:
            await asyncio.sleep(0)
        at_once = await slots.wait(0.0)
        slots.drain()
        return at_once, await waiting, await slots.wait(0.0), await slots.wait(time.monotonic() + 3600)

    assert asyncio.run(waits()) == (True, False, False, False)
    assert slots.room == 0
    assert not slots._waiting


def test_a_wait_that_is_over_is_forgotten() -> None:
    slots = Slots(concurrency=10)
    assert asyncio.run(slots.wait(time.monotonic() + 0.001))
    assert not slots._waiting


def test_once_calls_its_function_once() -> None:
    calls: list[int] = []
    once = Once(lambda: calls.append(1))
    once()
    once()
    assert calls == [1]

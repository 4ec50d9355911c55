"""The pool: Celery's events of jobs that run in the event loop, and the room that they leave."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError

from streamstop import Deferral, Result
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.pipeline.ends import End, GivenBack, StepDone
from tests.support.celery_in_process import LANE, Events, OnCall, Stage, ending, outcome, stage
from tests.support.celery_messages import envelope
from tests.support.hostile_messages import hostile_messages


@pytest.mark.parametrize(
    ("end", "kind", "said"),
    [
        (outcome, "task-succeeded", {"result": "stopped"}),
        (lambda one: outcome(one, Result.NOT_FOUND), "task-failed", {"exception": "JobFailed(not_found)"}),
        (lambda one: outcome(one, Result.REFUSED), "task-failed", {"exception": "JobFailed(refused: Denied)"}),
        (lambda one: outcome(one, Result.CANCELLED), "task-revoked", {"terminated": False}),
        (
            lambda _one: Deferral("Busy", datetime.now(UTC)),
            "task-retried",
            {"exception": "JobDeferred('Busy')"},
        ),
        (lambda _one: StepDone("callback"), "task-succeeded", {"result": "callback"}),
        (lambda _one: GivenBack(), "task-rejected", {"requeue": True}),
    ],
)
def test_celery_hears_what_redis_was_told(end: Callable[[Delivery], End], kind: str, said: dict[str, Any]) -> None:
    with stage(ending(end)) as open_stage:
        job_id = open_stage.deliver()
        assert [request.id for request in state.reserved_requests] == [job_id]
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert open_stage.events.kinds == ["task-received", "task-started", kind]
        assert said.items() <= open_stage.events.sent[-1][1].items()
        assert not state.requests
        assert not state.reserved_requests
        assert not state.active_requests
        assert (open_stage.slots.under_way, open_stage.slots.unsent) == (0, 0)


@pytest.mark.parametrize("error", [RuntimeError("a fault"), RedisConnectionError(), asyncio.QueueFull()])
def test_a_job_that_meets_a_fault_is_over_for_celery_and_leaves_its_room(error: Exception) -> None:
    def fail(_delivery: Delivery) -> End:
        raise error

    with stage(ending(fail)) as open_stage:
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        open_stage.deliver()
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert open_stage.events.kinds[-1] == "task-retried"
        assert open_stage.slots.under_way == 0
        open_stage.turn_until(lambda: rooms[-1:] == [10])


def test_slots_are_free_again_before_the_room_is_announced() -> None:
    with stage(ending(outcome)) as open_stage:
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        for _ in range(10):
            open_stage.deliver()
        assert open_stage.slots.room == 0 or open_stage.slots.under_way < 10
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 10)
        open_stage.turn_until(lambda: rooms[-1:] == [10])


def test_a_job_that_celery_knows_nothing_of_is_run_and_leaves_its_room() -> None:
    seen: list[Delivery] = []

    async def run(open_stage: Stage, delivery: Delivery, on_call: OnCall) -> End:
        open_stage.slots.send()
        on_call()
        seen.append(delivery)
        raise RuntimeError("a fault")

    with stage(run) as open_stage:
        rooms: list[int] = []
        open_stage.pool.on_room = lambda: rooms.append(open_stage.slots.room)
        open_stage.consumer.on_task_request = lambda request: open_stage.pool.run_in_loop(
            lambda: open_stage.pool.run_without_request(request.delivery)
        )
        open_stage.deliver()
        open_stage.turn_until(lambda: rooms[-1:] == [10])
        assert len(seen) == 1


def test_a_failed_acknowledgement_delays_no_other_job() -> None:
    with stage(ending(outcome)) as open_stage:
        acknowledge, failed = open_stage.channel.basic_ack, list[str]()

        def fail_once(tag: str, multiple: bool = False) -> None:
            if not failed:
                failed.append(tag)
                raise ConnectionError("the old connection is gone")
            acknowledge(tag)

        open_stage.channel.basic_ack = fail_once  # type: ignore[method-assign]
        for _ in range(3):
            open_stage.deliver()
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 2)
        assert open_stage.events.kinds.count("task-succeeded") == 3


@pytest.mark.parametrize("params", [None, 5, [1], "text", {"TaskId": "t"}])
def test_a_request_shows_its_parameters_if_it_has_any(params: object) -> None:
    fields = envelope(LANE, "x")
    fields["properties"].pop("body_encoding")
    fields["body"] = json.dumps([[{"v": 1, "params": params}], {}, None])
    with stage(ending(outcome)) as open_stage:
        open_stage.deliver(json.dumps(fields).encode())
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        (received,) = [fields for kind, fields in open_stage.events.sent if kind == "task-received"]
        assert (received["name"], received["args"]) == (LANE.name, "('live-cn',)")
        assert received["kwargs"] == ("{'TaskId': 't'}" if isinstance(params, dict) else "{}")
        assert received["retries"] == 2


def test_every_hostile_message_becomes_a_request_that_celery_can_show() -> None:
    messages = list(hostile_messages(LANE, 200, seed=3))
    with stage(ending(outcome)) as open_stage:
        open_stage.slots.concurrency = 1000
        for message in messages:
            open_stage.deliver(message)
            json.dumps([request.info() for request in state.reserved_requests])
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == len(messages))
        json.dumps(open_stage.events.sent)


def test_the_end_of_a_job_is_told_over_the_connection_that_there_is_then() -> None:
    with stage(ending(outcome)) as open_stage:
        open_stage.deliver()
        before, now = open_stage.events, Events()
        open_stage.consumer.event_dispatcher = now
        open_stage.turn_until(lambda: len(open_stage.channel.acknowledged) == 1)
        assert (before.kinds, now.kinds) == (["task-received"], ["task-started", "task-succeeded"])

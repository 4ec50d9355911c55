"""Idempotency keys without Redis: what a call is known by, and the recording client."""

import asyncio

import pytest

from streamstop import AsyncClient, Command, IdempotencyConflict
from streamstop._core.lane import Lane
from streamstop._core.requests import Request
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient

STOPS = [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account="live-cn") for n in range(3)]


def request(namespace: str = "billing", key: str = "k", commands: list[Command] = STOPS) -> Request:
    return Request.of(namespace, key, commands, unique=False)


def test_a_call_is_known_by_its_namespace_and_key_and_its_commands_by_their_digest() -> None:
    first, again = request(), request()
    assert (first.id, first.digest) == (again.id, again.digest)
    assert request("bill", "ingk").id != first.id
    assert request(commands=STOPS[:2]).digest != first.digest
    assert request(commands=STOPS[::-1]).digest != first.digest
    assert Request.of("billing", "k", STOPS, unique=True).digest != first.digest
    assert "billing" not in repr(first)


def test_the_ids_of_jobs_derive_from_the_call_and_name_their_lanes() -> None:
    first, again = request(), request()
    lanes = [command.lane for command in STOPS]
    ids = first.job_ids(lanes)
    assert again.job_ids(lanes, first.nonce) == ids
    assert again.job_ids(lanes) != ids
    assert len(set(ids)) == 3
    assert [Lane.of_job(one) for one in ids] == lanes


def test_the_recording_client_knows_calls_that_are_made_again() -> None:
    client = RecordingClient()
    jobs = client.enqueue_many(STOPS, idempotency_key="k")
    assert client.enqueue_many(STOPS, idempotency_key="k") == jobs
    assert client.enqueue_many(STOPS, idempotency_key="k", idempotency_namespace="other") != jobs
    with pytest.raises(IdempotencyConflict):
        client.enqueue_many(STOPS[:1], idempotency_key="k")
    assert len(client.enqueued) == 6
    (command,) = STOPS[:1]
    job = client.enqueue(command.operation, account=command.account, idempotency_key="one")
    assert client.enqueue(command.operation, account=command.account, idempotency_key="one") == job


def test_the_async_client_passes_it_on() -> None:
    async def enqueue() -> set[str]:
        async with AsyncClient("redis://unused") as client:
            client.client._backend = RecordingClient()._backend
            jobs = [await client.enqueue_many(STOPS[:1], idempotency_key="k") for _ in range(2)]
            one = await client.enqueue(STOPS[0].operation, account="live-cn", idempotency_key="k")
            return {jobs[0][0].id, jobs[1][0].id, one.id}

    assert len(asyncio.run(enqueue())) == 1

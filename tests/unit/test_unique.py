"""Unique commands: while a job of a command is open, the same command becomes no second job."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from redis import Redis

from streamstop import AsyncClient, Client, Command, InvalidCommand, Outcome, QueueUnavailable, Result
from streamstop._core.constants import UNIQUE
from streamstop._core.lane import result_key
from streamstop._core.unique import digest_of, unique_key
from streamstop.operations import Operation, RtcStopMPUTask
from streamstop.testing import RecordingClient
from tests.support.pipeline import Pipeline, fault

STOP = RtcStopMPUTask(app_id="a", task_id="t")
OTHER = RtcStopMPUTask(app_id="b", task_id="t")
ACCOUNT = "live-cn"


@pytest.fixture
def client(bench: Pipeline) -> Iterator[Client]:
    """Return a client of the pipeline's Redis."""
    with Client("redis://unused") as made:
        opened = made._backend.connections._opened()  # type: ignore[attr-defined]
        for part in (opened.publisher, opened.lanes, opened.known_accounts):
            part._redis = bench.redis
        made._backend.connections._open = replace(opened, redis=bench.redis)  # type: ignore[attr-defined]
        yield made


def enqueue(client: Client, operation: Operation = STOP, **options: object) -> str:
    return client.enqueue(operation, account=ACCOUNT, unique=True, **options).id  # type: ignore[arg-type]


def keys(redis: Redis) -> list[bytes]:
    return sorted(redis.scan_iter(f"{UNIQUE}*"))


def test_a_command_whose_job_is_open_becomes_no_second_job(bench: Pipeline, client: Client) -> None:
    first = enqueue(client)
    assert enqueue(client) == first
    assert enqueue(client, priority=9) == first, "the open job keeps its priority"
    assert enqueue(client, OTHER) != first
    assert client.enqueue(STOP, account="live-eu", unique=True).id != first
    assert client.enqueue(STOP, account=ACCOUNT).id != first, "without unique nothing is looked up"
    (lane,) = {Command(operation=STOP, account=ACCOUNT).lane}
    assert bench.lanes.view(lane).waiting == 3
    assert 0 < bench.redis.ttl(keys(bench.redis)[0]) <= timedelta(days=1).total_seconds()


def test_the_same_command_twice_in_one_call_is_one_job(bench: Pipeline, client: Client) -> None:
    command = Command(operation=STOP, account=ACCOUNT)
    jobs = client.enqueue_many([command, Command(operation=OTHER, account=ACCOUNT), command], unique=True)
    assert jobs[0] == jobs[2] != jobs[1]
    assert bench.lanes.view(command.lane).waiting == 2


def test_the_worker_that_ends_the_job_lets_the_command_be_enqueued_again(bench: Pipeline, client: Client) -> None:
    first = enqueue(client)
    lane = Command(operation=STOP, account=ACCOUNT).lane
    bench.answers = [fault("InternalError")]
    delivery = bench.take_of(lane)
    bench.execute(delivery)
    assert enqueue(client) == first, "it is deferred, and open"
    outcome = bench.execute(bench.again(delivery))
    assert isinstance(outcome, Outcome)
    assert (outcome.job_id, outcome.result, keys(bench.redis)) == (first, Result.STOPPED, [])
    assert enqueue(client) != first


def test_a_job_that_an_earlier_worker_has_ended_is_not_open(bench: Pipeline, client: Client) -> None:
    first = enqueue(client)
    bench.redis.set(result_key(first), '{"status": "SUCCESS", "result": {}}')
    assert enqueue(client) != first


def test_a_cancelled_job_is_not_open(client: Client) -> None:
    first = enqueue(client)
    client.job(first).cancel()
    assert enqueue(client) != first


def test_the_end_of_an_earlier_job_lets_the_open_one_be_found(bench: Pipeline, client: Client) -> None:
    first = enqueue(client, expires_in=60)
    second = enqueue(client)
    assert first != second, "the open job could expire, and the new one may not"
    bench.execute(bench.take_of(Command(operation=STOP, account=ACCOUNT).lane))
    assert enqueue(client) == enqueue(client, expires_in=60) == second


def test_a_job_that_expires_earlier_is_no_substitute(client: Client) -> None:
    first = enqueue(client, expires_in=60)
    assert enqueue(client, expires_in=30) == first
    later = enqueue(client, expires_in=600)
    assert later != first
    assert enqueue(client, expires_in=60) == later


def test_more_than_500_unique_commands_in_one_call_are_refused(bench: Pipeline, client: Client) -> None:
    commands = [Command(operation=RtcStopMPUTask(app_id="a", task_id=str(n)), account=ACCOUNT) for n in range(501)]
    with pytest.raises(InvalidCommand, match="at most 500 commands can be unique") as told:
        client.enqueue_many(commands, unique=True)
    assert (told.value.field, bench.redis.dbsize()) == ("commands", 0)
    assert len(set(client.enqueue_many(commands[:500], unique=True))) == 500


def test_a_message_of_anybody_names_no_other_key() -> None:
    lane = Command(operation=STOP, account=ACCOUNT).lane
    digest = digest_of(Command(operation=STOP, account=ACCOUNT))
    assert unique_key(lane, {"unique": digest}) == f"{UNIQUE}{lane.name}.{digest}"
    for argument in (None, {}, {"unique": True}, {"unique": "../x"}, {"unique": f"{digest}\n"}):
        assert unique_key(lane, argument) is None


def test_a_key_of_another_type_keeps_no_job_from_ending(bench: Pipeline, client: Client) -> None:
    first = enqueue(client)
    bench.redis.delete(*keys(bench.redis))
    bench.redis.set(f"{UNIQUE}{STOP}", "")
    key = unique_key(
        Command(operation=STOP, account=ACCOUNT).lane, {"unique": digest_of(Command(operation=STOP, account=ACCOUNT))}
    )
    bench.redis.set(str(key), "somebody's")
    outcome = bench.execute(bench.take_of(Command(operation=STOP, account=ACCOUNT).lane))
    assert isinstance(outcome, Outcome)
    assert (outcome.job_id, outcome.result) == (first, Result.STOPPED)


def test_the_recording_client_knows_unique_commands() -> None:
    client = RecordingClient(leave_open=True)
    first = enqueue(client)
    assert enqueue(client) == first
    assert enqueue(client, OTHER) != first
    client.end()
    again = enqueue(client, expires_in=60)
    assert again != first
    assert enqueue(client, expires_in=30) == again
    assert enqueue(client) != again
    assert len(client.enqueued) == 4


def test_the_recording_clients_jobs_that_end_at_once_are_never_open() -> None:
    client = RecordingClient()
    assert enqueue(client) != enqueue(client)


def test_the_async_client_passes_it_on() -> None:
    async def enqueue_twice() -> set[str]:
        async with AsyncClient("redis://unused") as client:
            client.client._backend = RecordingClient(leave_open=True)._backend
            jobs = await client.enqueue_many([Command(operation=STOP, account=ACCOUNT)], unique=True)
            return {jobs[0].id, (await client.enqueue(STOP, account=ACCOUNT, unique=True)).id}

    assert len(asyncio.run(enqueue_twice())) == 1


@pytest.mark.parametrize("number", [1, 3, 600])
def test_an_error_that_leaves_it_unknown_has_the_jobs_ids(
    bench: Pipeline, client: Client, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    publisher = client._backend.connections._opened().publisher  # type: ignore[attr-defined]
    for name in ("put", "accept"):
        method = getattr(publisher, name)

        def lose(*arguments: object, method: object = method) -> None:
            method(*arguments)  # type: ignore[operator]
            raise TimeoutError

        monkeypatch.setattr(publisher, name, lose)
    commands = [Command(operation=RtcStopMPUTask(app_id="a", task_id=str(n)), account=ACCOUNT) for n in range(number)]
    with pytest.raises(QueueUnavailable, match="may or may not have been enqueued") as told:
        client.enqueue_many(commands)
    assert len(set(told.value.job_ids)) == number
    assert (f" as job {told.value.job_ids[0]}; " in str(told.value)) == (number == 1)
    if number < 500:
        entries = bench.redis.lrange(commands[0].lane.queue, 0, -1)
        assert all(job.encode() in entry for job, entry in zip(reversed(told.value.job_ids), entries, strict=True))


def test_an_error_before_anything_was_sent_has_no_ids(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    known = client._backend.connections._opened().known_accounts  # type: ignore[attr-defined]

    def fail(_account: str) -> None:
        raise TimeoutError

    monkeypatch.setattr(known, "vendor_of", fail)
    with pytest.raises(QueueUnavailable, match="nothing was enqueued") as told:
        client.enqueue(STOP, account=ACCOUNT)
    assert told.value.job_ids == ()

"""Idempotency keys on a real Redis: a call that is made again enqueues nothing more, whatever happens in between."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from redis import Redis

from streamstop import Client, Command, IdempotencyConflict, InvalidCommand, Job, QueueUnavailable, RequestUnderWay
from streamstop._core.constants import BATCH, BATCHES, REQUEST, STAGED
from streamstop._core.lane import Lane, result_key
from streamstop._core.requests import REQUESTS_KEPT, UNDER_WAY_KEPT
from streamstop._redis.batches import Batches
from streamstop._redis.publishing import Publisher
from streamstop.operations import StopMPUTask
from tests.support.client_connections import connections_of
from tests.support.killed_producers import Killed, kill_at_send
from tests.support.redis_content import keys_without_ttl

LANE = Lane("live-cn", "live.StopMPUTask")
KEY = "order-4711"


def stops(count: int, first: int = 0) -> list[Command]:
    numbers = range(first, first + count)
    return [Command(operation=StopMPUTask(app_id="a", task_id=f"t{n}"), account=LANE.account) for n in numbers]


def url(redis: Redis) -> str:
    return f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}/0"


def waiting(redis: Redis, lane: Lane = LANE) -> int:
    return int(redis.llen(lane.queue))


def request_keys(redis: Redis) -> list[bytes]:
    return list(redis.scan_iter(f"{REQUEST}*"))


@pytest.mark.parametrize("count", [1, 500, 501, 10_000])
def test_a_call_that_is_made_again_returns_the_same_jobs_and_enqueues_nothing(
    client: Client, real_redis: Redis, count: int
) -> None:
    jobs = client.enqueue_many(stops(count), idempotency_key=KEY)
    assert client.enqueue_many(stops(count), idempotency_key=KEY) == jobs
    assert len(set(jobs)) == count == waiting(real_redis)
    assert {Lane.of_job(job.id) for job in jobs} == {LANE}
    (key,) = request_keys(real_redis)
    assert 0 < real_redis.ttl(key) <= REQUESTS_KEPT.total_seconds()
    assert real_redis.ttl(key) > UNDER_WAY_KEPT.total_seconds()


def test_jobs_that_have_ended_are_returned_all_the_same(client: Client, real_redis: Redis) -> None:
    (job,) = client.enqueue_many(stops(1), idempotency_key=KEY)
    job.cancel()
    assert client.enqueue_many(stops(1), idempotency_key=KEY) == [job]
    assert waiting(real_redis) == 1


@pytest.mark.parametrize("count", [1, 501])
def test_of_twenty_callers_at_the_same_time_one_enqueues(client: Client, real_redis: Redis, count: int) -> None:
    def call(_: int) -> list[Job] | None:
        try:
            return client.enqueue_many(stops(count), idempotency_key=KEY)
        except RequestUnderWay:
            return None

    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(call, range(20)))
    accepted = [answer for answer in answers if answer is not None]
    assert accepted
    assert all(answer == accepted[0] for answer in accepted)
    assert len(accepted) == 20 or count > 500, "one step needs no wait"
    assert waiting(real_redis) == count


@pytest.mark.parametrize("count", [1, 501])
def test_other_commands_with_the_same_key_are_refused(client: Client, real_redis: Redis, count: int) -> None:
    jobs = client.enqueue_many(stops(count), idempotency_key=KEY)
    before = waiting(real_redis)
    later = [Command(operation=each.operation, account=each.account, priority=9) for each in stops(count)]
    late = [Command(operation=each.operation, account=each.account, expires_in=60) for each in stops(count)]
    for others in (stops(count, first=1), stops(count + 1), later, late, stops(600)):
        with pytest.raises(IdempotencyConflict):
            client.enqueue_many(others, idempotency_key=KEY)
    with pytest.raises(IdempotencyConflict):
        client.enqueue_many(stops(1), idempotency_key=KEY, unique=True)
    assert waiting(real_redis) == before
    assert client.enqueue_many(stops(count), idempotency_key=KEY) == jobs


def test_keys_of_other_namespaces_are_others(client: Client, real_redis: Redis) -> None:
    jobs = {
        client.enqueue_many(stops(1), idempotency_key=key, idempotency_namespace=namespace)[0]
        for namespace, key in [("", "ab"), ("a", "b"), ("ab", "b"), ("", "b")]
    }
    assert len(jobs) == 4 == waiting(real_redis)


def test_unique_commands_keep_the_jobs_that_they_found(client: Client, real_redis: Redis) -> None:
    first, second = stops(2)
    known = client.enqueue_many([first], unique=True)[0]
    jobs = client.enqueue_many([first, second], unique=True, idempotency_key=KEY)
    assert jobs[0] == known
    jobs[1].cancel()
    assert client.enqueue_many([first, second], unique=True, idempotency_key=KEY) == jobs
    assert waiting(real_redis) == 2


def test_a_key_that_is_used_again_after_a_day_names_new_jobs(client: Client, real_redis: Redis) -> None:
    (job,) = client.enqueue_many(stops(1), idempotency_key=KEY)
    real_redis.set(result_key(job.id), '{"status": "SUCCESS"}', ex=60)  # records can be kept for longer
    real_redis.delete(*request_keys(real_redis))  # as a day does
    assert client.enqueue_many(stops(1), idempotency_key=KEY) != [job]


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä", "a\n", 7])
def test_a_key_has_up_to_255_visible_characters(client: Client, real_redis: Redis, key: str) -> None:
    with pytest.raises(InvalidCommand, match="1 to 255 visible ASCII characters") as told:
        client.enqueue_many(stops(1), idempotency_key=key)
    assert (told.value.field, real_redis.dbsize()) == ("idempotency_key", 0)


def test_while_a_big_call_is_under_way_the_same_one_is_refused_and_others_conflict(
    client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, met = Publisher.stage, []

    def staging(publisher: Publisher, queued: list[object]) -> str:
        monkeypatch.setattr(Publisher, "stage", stage)
        for commands, error in ((stops(501), RequestUnderWay), (stops(502), IdempotencyConflict)):
            with pytest.raises(error):
                client.enqueue_many(commands, idempotency_key=KEY)
            met.append(error)
        (key,) = request_keys(real_redis)
        assert 0 < real_redis.ttl(key) <= UNDER_WAY_KEPT.total_seconds()
        return stage(publisher, queued)  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "stage", staging)
    jobs = client.enqueue_many(stops(501), idempotency_key=KEY)
    assert met == [RequestUnderWay, IdempotencyConflict]
    assert client.enqueue_many(stops(501), idempotency_key=KEY) == jobs


def test_a_failure_before_the_commands_are_accepted_lets_the_call_be_made_again(
    client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> str:
        raise ConnectionResetError

    with monkeypatch.context() as failing:
        failing.setattr(Publisher, "stage", fail)
        with pytest.raises(QueueUnavailable, match="nothing was enqueued"):
            client.enqueue_many(stops(501), idempotency_key=KEY)
    assert request_keys(real_redis) == []
    assert len(client.enqueue_many(stops(502), idempotency_key=KEY)) == 502


def test_a_call_that_stalls_for_longer_than_its_mark_enqueues_nothing_beside_another(
    client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, others = Publisher.stage, []

    def stalling(publisher: Publisher, queued: list[object]) -> str:
        monkeypatch.setattr(Publisher, "stage", stage)
        real_redis.delete(*request_keys(real_redis))  # as a minute does
        others.extend(client.enqueue_many(stops(501), idempotency_key=KEY))
        return stage(publisher, queued)  # type: ignore[arg-type]

    monkeypatch.setattr(Publisher, "stage", stalling)
    assert client.enqueue_many(stops(501), idempotency_key=KEY) == others
    assert waiting(real_redis) == 501
    (staged,) = real_redis.scan_iter(f"{BATCH}*")
    assert real_redis.llen(staged) == 501, "workers discard it"
    assert real_redis.scard(STAGED) == 1
    assert real_redis.llen(BATCHES) == 0


@pytest.mark.parametrize("count", [1, 501])
def test_a_caller_that_is_killed_at_any_step_and_calls_again_enqueues_once(
    client: Client, real_redis: Redis, count: int
) -> None:
    def call(caller: Client) -> None:
        caller.enqueue_many(stops(count), idempotency_key=KEY)

    seen: Counter[str] = Counter()
    call(client)  # the scripts are known to Redis
    for after in (False, True):
        for sends in range(40):
            real_redis.flushdb()
            died = kill_at_send(url(real_redis), call, sends=sends, after=after)
            seen[again(client, real_redis, call)] += 1
            Batches(real_redis).finish()
            assert waiting(real_redis) == count, (after, sends)
            if not died:
                break
        else:
            raise AssertionError("the call makes more sends")
    assert seen["returned"] > 0
    assert (seen["waited"] > 0) == (count > 500), "only a big call can be left under way"


def again(client: Client, redis: Redis, call: Callable[[Client], None]) -> str:
    """Make the call again, after the minute if it counts as under way."""
    try:
        call(client)
    except RequestUnderWay:
        (key,) = request_keys(redis)
        assert 0 < redis.pttl(key) <= UNDER_WAY_KEPT / timedelta(milliseconds=1)
        redis.delete(key)
        call(client)
        return "waited"
    return "returned"


def test_a_kill_before_the_last_step_leaves_no_key_for_ever_but_the_staged_batch(
    client: Client, real_redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as killing:
        killing.setattr(Publisher, "accept_once", killed)
        with pytest.raises(Killed):
            client.enqueue_many(stops(501), idempotency_key=KEY)
    with pytest.raises(RequestUnderWay):
        client.enqueue_many(stops(501), idempotency_key=KEY)
    assert waiting(real_redis) == 0
    assert all(REQUEST not in str(key) for key in keys_without_ttl(real_redis))


def test_a_reply_that_is_lost_names_the_jobs_that_the_next_call_returns(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher = connections_of(client)._opened().publisher
    put = publisher.put_once

    def lose(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        raise TimeoutError

    with monkeypatch.context() as losing:
        losing.setattr(publisher, "put_once", lose)
        with pytest.raises(QueueUnavailable, match="may or may not have been enqueued") as told:
            client.enqueue_many(stops(3), idempotency_key=KEY)
    jobs = client.enqueue_many(stops(3), idempotency_key=KEY)
    assert tuple(job.id for job in jobs) == told.value.job_ids

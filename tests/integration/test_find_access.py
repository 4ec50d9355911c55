"""The documentation's Redis users: the operator finds jobs, and the user of rooms enqueues unique commands."""

from streamstop import Client, Where
from streamstop._core.lane import Lane
from streamstop._wire.messages import celery_message
from tests.support.access_rules import LANE, ROOMS, restricted_redis, stop
from tests.support.world import ALIYUN

OPERATOR = "streamstop-operator"


def test_the_operator_finds_jobs_and_knows_which_never_were() -> None:
    with restricted_redis() as redis:
        with Client(redis.url(ROOMS)) as client:
            job = client.enqueue(stop("t-1"), account=ALIYUN)
            client.register("room", stop("t-1"), account=ALIYUN)
        redis.admin.lpush("streamstop.batches", "b")
        own = Lane("batched", LANE.operation)  # it holds nothing yet
        batched = own.new_job_id()
        argument = {
            "v": 1,
            "operation": own.operation,
            "account": own.account,
            "params": {"AppId": "a", "TaskId": "t-1"},
        }
        message = celery_message(batched, own, argument, priority=0)
        redis.admin.lpush("streamstop.batch.b", f"0 {own.name}\n{message}")
        redis.admin.acl_log_reset()
        with Client(redis.url(OPERATOR)) as client:
            found = [(sighting.where, sighting.job_id) for sighting in client.find({"TaskId": "t-1"})]
            assert found == [(Where.WAITING, job.id), (Where.WAITING, batched), (Where.REGISTERED, None)]
            assert client.job(batched).exists()
            assert client.job(job.id).exists()
            assert not client.job(LANE.new_job_id()).exists()
        assert redis.denied() == []


def test_who_may_stop_rooms_enqueues_unique_commands() -> None:
    with restricted_redis() as redis, Client(redis.url(ROOMS)) as client:
        first, second = (client.enqueue(stop("t-1"), account=ALIYUN, unique=True) for _ in range(2))
        assert first == second
        assert redis.denied() == []

"""What the doctor reads from a real Redis."""

from datetime import UTC, datetime

import pytest
from redis import Redis

from streamstop._redis.assembly import assemble
from streamstop._redis.server_facts import read_facts


def test_facts_are_read_from_redis(real_redis: Redis) -> None:
    real_redis.config_set("slowlog-log-slower-than", 0)
    try:
        real_redis.slowlog_reset()
        real_redis.evalsha(real_redis.script_load(assemble("worker/leave").text), 0, "run", "name")
        real_redis.get("celery-task-meta-x")
        real_redis.get("of another program")
        facts = read_facts(real_redis, replicas_wanted=1, clock=lambda: datetime.now(UTC).timestamp() + 86_400)
    finally:
        real_redis.config_set("slowlog-log-slower-than", 10_000)
        real_redis.slowlog_reset()
    assert (facts.info or {})["redis_version"]
    assert facts.config == {"save": "", "appendfsync": "everysec"}
    names = [command.name for command in facts.slow or ()]
    assert names == ["GET", "worker/leave", *names[2:]], "the newest first, and no command of another program"
    assert {*names[2:]} <= {"HDEL", "DEL"}, "commands inside the script"
    assert facts.clock_ahead.total_seconds() == pytest.approx(86_400, abs=600)
    assert (facts.refused, facts.replicas_wanted) == ({}, 1)

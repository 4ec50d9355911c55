"""``streamstop events`` and ``errors`` of an account that does not exist, over a real Redis without workers."""

import pytest
from click.testing import CliRunner
from redis import Redis

from streamstop import Client
from streamstop._core.journal import EventKind
from streamstop._redis.journal import Journal
from streamstop.cli import main
from tests.support.known_accounts import publish_for_an_hour

COMMANDS = ["events", "events --json", "events --follow", "errors", "errors --json"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_account_is_no_account_without_events_and_errors(
    command: str, redis_url: str, real_redis: Redis
) -> None:
    publish_for_an_hour(real_redis, {"live-cn": "aliyun"})
    done = CliRunner().invoke(main, [*command.split(), "--account", "live-nc", "--redis", redis_url])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "no running worker has account 'live-nc' (did you mean live-cn?" in done.stderr


@pytest.mark.parametrize("command", ["events", "errors"])
def test_an_account_of_a_running_worker_may_have_nothing(command: str, redis_url: str, real_redis: Redis) -> None:
    publish_for_an_hour(real_redis, {"live-cn": "aliyun"})
    assert CliRunner().invoke(main, [command, "--account", "live-cn", "--redis", redis_url]).exit_code == 0


def test_an_account_that_has_gone_keeps_its_events(client: Client, redis_url: str, real_redis: Redis) -> None:
    publish_for_an_hour(real_redis, {"live-cn": "aliyun"})
    Journal(real_redis).add(EventKind.PAUSED, "it happened", account="gone", by="ops@host")
    done = CliRunner().invoke(main, ["events", "--account", "gone", "--redis", redis_url])
    assert (done.exit_code, "it happened" in done.stdout) == (0, True)
    assert [event.account for event in client.events(account="gone")] == ["gone"]

"""Messages: Celery and kombu read every job that we write."""

import ast
import json
from typing import Any

import pytest
from kombu import Connection
from kombu.transport.virtual import Message

from streamstop._core.commands import TASK
from streamstop._core.lane import Lane
from streamstop._wire.messages import celery_message
from streamstop_worker.pipeline.deliveries import read_argument

LANE = Lane("live-cn", "live.StopMPUTask")
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"v": 1, "params": {"TaskId": "t", "SdkAppId": 1}, "enqueued_at": 1767225600.123456},
    {"text": 'quotes " and \\ and \n, ü and 直播 and 🎥, {braces} and %s and @shutdown@'},
    {"half of a pair": "\ud800", "nested": [[None, True, 1.5, {"a": []}]]},
]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_a_message_is_of_celerys_protocol_and_shows_its_account_and_operation(argument: dict[str, Any]) -> None:
    job_id = LANE.new_job_id()
    message = json.loads(celery_message(job_id, LANE, argument, priority=7))
    options = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    assert json.loads(message.pop("body")) == [[argument], {}, options]
    assert message == {
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": TASK,
            "shadow": "live-cn.live.StopMPUTask",
            "id": job_id,
            "root_id": job_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "argsrepr": "('live-cn',)",
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": job_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": LANE.queue},
            "priority": 7,
            "body_encoding": None,
            "delivery_tag": job_id,
        },
    }


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_survives_the_message_unchanged(argument: dict[str, Any]) -> None:
    text = celery_message(LANE.new_job_id(), LANE, argument)
    assert read_argument(text.encode()) == argument
    with Connection("memory://") as connection:
        channel: Any = connection.channel()
        message: Any = Message(json.loads(text), channel=channel, accept=["application/json"])
        assert message.decode()[0] == [argument]


def test_a_message_takes_less_than_a_kilobyte() -> None:
    task = {"AppId": "0123456789", "TaskId": "0a1b2c3d-0000-1111-2222-333344445555"}
    argument = {"v": 1, "operation": LANE.operation, "account": LANE.account, "params": task, "enqueued_at": 1.7e9}
    assert len(celery_message(LANE.new_job_id(), LANE, argument)) < 980


@pytest.mark.parametrize("account", ["a", "it's", 'a"b', "ü"])
def test_a_message_of_any_account_shows_it(account: str) -> None:
    lane = Lane(account, "live.StopMPUTask")
    headers = json.loads(celery_message("id", lane, {}))["headers"]
    assert ast.literal_eval(headers["argsrepr"]) == (account,)
    assert headers["shadow"] == lane.name


def test_a_job_whose_id_needs_escapes_makes_a_message_all_the_same() -> None:
    job_id = 'a.b.C."\\ü'
    assert json.loads(celery_message(job_id, LANE, {}))["headers"]["id"] == job_id

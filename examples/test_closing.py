"""How a service is tested that closes rooms: ``pytest test_closing.py``, without Redis and vendors."""

import pytest

from streamstop import Client, Command, QueueUnavailable, ShutdownStatus
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient

RELAY = StopMPUTask(app_id="yourapp", task_id="t-1")


def close(client: Client, room: str) -> str:
    """Close a room: the code under test."""
    try:
        return client.stop_room(room, [Command(operation=RELAY, account="live-cn")]).progress().status
    except QueueUnavailable:
        return "try again"


def test_a_room_is_stopped() -> None:
    client = RecordingClient(accounts={"live-cn": "aliyun"})
    assert close(client, "room-42") == ShutdownStatus.DONE
    assert client.shutdowns[0].commands == [Command(operation=RELAY, account="live-cn")]


@pytest.mark.parametrize("result", ["refused", "gave_up"])
def test_a_bad_end_needs_attention(result: str) -> None:
    client = RecordingClient()
    client.answer(StopMPUTask, result=result, code="Forbidden.RAM")
    assert close(client, "room-42") == ShutdownStatus.NEEDS_ATTENTION


def test_a_redis_that_is_away_is_tried_again() -> None:
    client = RecordingClient()
    client.fail_with(QueueUnavailable("Redis did not answer"))
    assert close(client, "room-42") == "try again"

"""A client for the unit tests of services. It validates like the real client, records calls, and needs no Redis.

::

    client = RecordingClient(accounts={"live-cn": "aliyun"})
    client.answer(StopMPUTask, result="not_found", code="CodeTaskNotExist")
    close_room(client, …)                       # the code under test
    assert client.enqueued == [Command(operation=StopMPUTask(…), account="live-cn")]
    assert client.shutdowns[0].progress().status is ShutdownStatus.NEEDS_ATTENTION

No call waits. A job has its outcome at once; with ``leave_open``, waiting for it times out at once.
"""

from streamstop.testing.aio import RecordingAsyncClient
from streamstop.testing.answers import Which
from streamstop.testing.recording import RecordingClient
from streamstop.testing.shutdowns import RecordingShutdown

__all__ = ["RecordingAsyncClient", "RecordingClient", "RecordingShutdown", "Which"]

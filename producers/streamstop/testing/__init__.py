"""A client for the unit tests of services: it validates as the real one does, records, and needs no Redis.

::

    client = RecordingClient(accounts={"live-cn": "aliyun"})
    client.answer(StopMPUTask, result="not_found", code="CodeTaskNotExist")
    close_room(client, …)                       # the code under test
    assert client.enqueued == [Command(operation=StopMPUTask(…), account="live-cn")]
    assert client.shutdowns[0].progress().status is ShutdownStatus.NEEDS_ATTENTION

Nothing here waits: an outcome is there at once, or, with ``leave_open``, it is a timeout at once.
"""

from streamstop.testing.aio import RecordingAsyncClient
from streamstop.testing.answers import Which
from streamstop.testing.recording import RecordingClient
from streamstop.testing.shutdowns import RecordingShutdown

__all__ = ["RecordingAsyncClient", "RecordingClient", "RecordingShutdown", "Which"]

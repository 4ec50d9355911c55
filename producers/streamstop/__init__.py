"""streamstop stops stream tasks at cloud vendors: producers enqueue, workers call, at each account's own pace."""

from streamstop.aio import AsyncClient, AsyncDeadLetters, AsyncJob, AsyncShutdown
from streamstop.client import Client
from streamstop.commands import Command
from streamstop.dead import DeadLetter, Matching
from streamstop.dead_letters import DeadLetters
from streamstop.errors import (
    InternalError,
    InvalidCommand,
    InvalidSettings,
    JobDeferred,
    JobFailed,
    NotCancellable,
    NotRequeueable,
    OutcomeTimeout,
    QueueUnavailable,
    StreamstopError,
    UnknownAccount,
    UnknownDeadLetter,
    UnknownOperation,
    UnknownShutdown,
)
from streamstop.jobs import Job
from streamstop.lanes import Lane, LaneView
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result, State, Status
from streamstop.results import Deferral
from streamstop.rooms import LaneProgress, Progress, RoomView, ShutdownStatus
from streamstop.shutdown import Shutdown

__all__ = [
    "AsyncClient",
    "AsyncDeadLetters",
    "AsyncJob",
    "AsyncShutdown",
    "Client",
    "Command",
    "DeadLetter",
    "DeadLetters",
    "Deferral",
    "InternalError",
    "InvalidCommand",
    "InvalidSettings",
    "Job",
    "JobDeferred",
    "JobFailed",
    "Lane",
    "LaneProgress",
    "LaneView",
    "Matching",
    "NotCancellable",
    "NotRequeueable",
    "Operation",
    "Outcome",
    "OutcomeTimeout",
    "Progress",
    "QueueUnavailable",
    "Result",
    "RoomView",
    "Shutdown",
    "ShutdownStatus",
    "State",
    "Status",
    "StreamstopError",
    "UnknownAccount",
    "UnknownDeadLetter",
    "UnknownOperation",
    "UnknownShutdown",
]

"""streamstop stops stream tasks at cloud vendors: producers enqueue, workers call, at each account's own pace."""

from streamstop._core.answers import Became, CallAnswer
from streamstop._core.commands import Command
from streamstop._core.controls import Controls, Hold, Limit, Pause
from streamstop._core.drained import Drained, DrainedJob
from streamstop._core.findings import Diagnosis, Finding, Severity
from streamstop._core.journal import ErrorCount, Event, EventKind
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneError, LaneState, LaneView
from streamstop._core.letters import DeadLetter, LetterCounts, Matching
from streamstop._core.progress import LaneProgress, OutcomePage, Progress, RoomPage, RoomView, ShutdownStatus
from streamstop._core.sightings import JobView, Sighting, Where
from streamstop._core.workers import LimitDifference, WorkerState, WorkerView
from streamstop.aio import AsyncClient, AsyncShutdown
from streamstop.aio_jobs import AsyncDeadLetters, AsyncJob
from streamstop.client import Client
from streamstop.dead_letters import DeadLetters, LetterAct
from streamstop.errors import (
    IdempotencyConflict,
    InternalError,
    InvalidCommand,
    InvalidSettings,
    JobDeferred,
    JobFailed,
    NotCancellable,
    NotRequeueable,
    OutcomeTimeout,
    QueueUnavailable,
    RequestUnderWay,
    StreamstopError,
    UnknownAccount,
    UnknownDeadLetter,
    UnknownOperation,
    UnknownShutdown,
)
from streamstop.jobs import Job
from streamstop.operations import Operation
from streamstop.outcomes import Deferral, Outcome, Result, State, Status
from streamstop.shutdowns import Shutdown

#: The version of the producers' side, the worker and the simulator, which are one distribution.
__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncDeadLetters",
    "AsyncJob",
    "AsyncShutdown",
    "Became",
    "CallAnswer",
    "Client",
    "Command",
    "Controls",
    "DeadLetter",
    "DeadLetters",
    "Deferral",
    "Diagnosis",
    "Drained",
    "DrainedJob",
    "ErrorCount",
    "Event",
    "EventKind",
    "Finding",
    "Hold",
    "IdempotencyConflict",
    "InternalError",
    "InvalidCommand",
    "InvalidSettings",
    "Job",
    "JobDeferred",
    "JobFailed",
    "JobView",
    "Lane",
    "LaneError",
    "LaneProgress",
    "LaneState",
    "LaneView",
    "LetterAct",
    "LetterCounts",
    "Limit",
    "LimitDifference",
    "Matching",
    "NotCancellable",
    "NotRequeueable",
    "Operation",
    "Outcome",
    "OutcomePage",
    "OutcomeTimeout",
    "Pause",
    "Progress",
    "QueueUnavailable",
    "RequestUnderWay",
    "Result",
    "RoomPage",
    "RoomView",
    "Severity",
    "Shutdown",
    "ShutdownStatus",
    "Sighting",
    "State",
    "Status",
    "StreamstopError",
    "UnknownAccount",
    "UnknownDeadLetter",
    "UnknownOperation",
    "UnknownShutdown",
    "Where",
    "WorkerState",
    "WorkerView",
    "__version__",
]

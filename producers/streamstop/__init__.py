"""streamstop stops stream tasks at cloud vendors: producers enqueue, workers call, at each account's own pace."""

from streamstop.aio import AsyncClient, AsyncJob
from streamstop.client import Client, Job
from streamstop.commands import Command
from streamstop.errors import (
    InvalidCommand,
    InvalidSettings,
    JobDeferred,
    JobFailed,
    NotCancellable,
    OutcomeTimeout,
    QueueUnavailable,
    StreamstopError,
    UnknownAccount,
    UnknownOperation,
)
from streamstop.operations import Operation
from streamstop.outcomes import Outcome, Result, State, Status
from streamstop.results import Deferral

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Command",
    "Deferral",
    "InvalidCommand",
    "InvalidSettings",
    "Job",
    "JobDeferred",
    "JobFailed",
    "NotCancellable",
    "Operation",
    "Outcome",
    "OutcomeTimeout",
    "QueueUnavailable",
    "Result",
    "State",
    "Status",
    "StreamstopError",
    "UnknownAccount",
    "UnknownOperation",
]

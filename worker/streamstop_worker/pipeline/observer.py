"""Observer: what metrics, traces and error reports learn of each delivery. Its methods run in the event loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from streamstop_worker.pipeline.conclude import Handling
from streamstop_worker.pipeline.ends import End
from streamstop_worker.vendors.protocol import Answer

_log = structlog.get_logger("streamstop")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a vendor. Moments are in s of the monotonic clock."""

    #: The vendor's name of what was called, the host that was called, and the HTTP method.
    action: str
    host: str
    method: str
    answer: Answer
    #: The HTTP status; None if no response arrived.
    status: int | None
    began_at: float
    ended_at: float
    #: Whether the vendor may have received it. A connection that cannot be opened sends nothing.
    sent: bool


class Observer:
    """Watches deliveries. The methods of this class do nothing. They must not fail, and must not block."""

    def took(self, job: Handling) -> None:
        """Learn that the worker begins to handle a delivery."""

    def called(self, job: Handling, call: Call) -> None:
        """Learn of a call of the vendor, and of its answer or fault."""

    def ended(self, job: Handling, end: End) -> None:
        """Learn how the delivery ended. Redis has recorded it."""

    def left(self, job: Handling) -> None:
        """Learn that Redis could not be reached. The job is taken again after its lease."""


class Observers(Observer):
    """Passes everything on to several observers. If one of them fails, that is logged, and the job goes on."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def took(self, job: Handling) -> None:  # noqa: D102  # as in Observer
        self._tell(lambda observer: observer.took(job))

    def called(self, job: Handling, call: Call) -> None:  # noqa: D102  # as in Observer
        self._tell(lambda observer: observer.called(job, call))

    def ended(self, job: Handling, end: End) -> None:  # noqa: D102  # as in Observer
        self._tell(lambda observer: observer.ended(job, end))

    def left(self, job: Handling) -> None:  # noqa: D102  # as in Observer
        self._tell(lambda observer: observer.left(job))

    def _tell(self, tell: Callable[[Observer], None]) -> None:
        for observer in self._observers:
            try:
                tell(observer)
            except Exception:  # noqa: BLE001  # a sampler or a propagator of the service can raise anything
                _log.exception("a job could not be observed", observer=type(observer).__name__)

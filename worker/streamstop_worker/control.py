"""Control: the jobs that move a shutdown forward and tell its end, in lanes of their own, with leases as any other."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import structlog

from streamstop import callbacks
from streamstop.errors import InvalidCommand
from streamstop.lanes import UNREACHABLE, Claimed, Lane, Lanes, LastCall
from streamstop.results import Deferral, step_record
from streamstop.rooms import check_callback
from streamstop_worker.hold import Hold
from streamstop_worker.pacing import pace_of
from streamstop_worker.retry import Backoff
from streamstop_worker.shutdowns import Shutdowns
from streamstop_worker.transport import Transport, TransportFault
from streamstop_worker.vendors.protocol import Request

#: How long a step may take between two signs of life; a callback may take a call's time.
LEASE = timedelta(seconds=15)

_log = structlog.get_logger("streamstop.control")


class CallbackFailed(Exception):
    """A callback did not reach the service; the message says why."""


class UnknownStep(Exception):
    """A step that a newer worker may know."""


@dataclass(frozen=True)
class Control:
    """Runs the jobs of the control lanes."""

    lanes: Lanes
    shutdowns: Shutdowns
    transport: Transport
    #: Publishes a Celery signature of the service's own, with the progress as its argument.
    send_signature: Callable[[Mapping[str, Any], Mapping[str, Any]], None]
    #: Signs the callbacks that go to a URL; None: such a callback is not sent.
    secret: str | None = field(repr=False)
    random: Callable[[], float]
    lease: timedelta = LEASE
    backoff: Backoff = field(default_factory=Backoff)

    def execute(self, job_id: str, lane: Lane, message: object) -> Deferral | None:
        """Carry a step as far as it goes now. Raises `UNREACHABLE` errors; its lease mends what they leave."""
        hold = Hold(self.lanes, lane, pace_of(lane, None), job_id, self.lease)
        claim = hold.claim()
        if claim.what is not Claimed.GO:
            return None
        step = message if isinstance(message, Mapping) else {}
        log = _log.bind(job_id=job_id, step=step.get("step"), shutdown=step.get("shutdown"))
        try:
            for _batch in self._run(step):
                if hold.claim().what is not Claimed.GO:
                    log.warning("the step is another worker's now")
                    return None
        except UnknownStep as unknown:
            deferral = hold.leave(claim, str(unknown))
            if deferral is not None:
                log.warning("left to another worker", problem=str(unknown))
                return deferral
            log.error("the step is given up", problem=str(unknown))  # noqa: TRY400
        except CallbackFailed as failure:
            attempts = claim.tries.attempts + 1
            delay = self.backoff.delay(attempts, self.random)
            if delay is not None:
                log.warning("the callback failed and is made again", reason=str(failure), attempt=attempts)
                deferral = Deferral(str(failure), datetime.now(UTC) + delay)
                tries = replace(claim.tries, attempts=attempts, calls=attempts)
                hold.defer(deferral, delay, tries, LastCall.WELL)
                return deferral
            log.error("the callback is given up", reason=str(failure), attempt=attempts)  # noqa: TRY400
        hold.finish(step_record(job_id, str(step.get("step")), datetime.now(UTC)), LastCall.NONE)
        return None

    def _run(self, step: Mapping[str, Any]) -> Iterator[int]:
        """Take one step; each yield is a sign of life."""
        shutdown = str(step.get("shutdown"))
        match step.get("step"):
            case "fan_out":
                yield from self.shutdowns.fan_out(shutdown)
            case "cancel":
                yield from self.shutdowns.take_back(shutdown)
            case "callback":
                self._tell(shutdown, step.get("to"))
            case other:
                raise UnknownStep(f"this worker knows no step {other!r} of a shutdown")

    def _tell(self, shutdown: str, to: object) -> None:
        """Tell the service that a shutdown has ended: exactly what its handle tells."""
        progress = self.shutdowns.rooms.progress(shutdown)
        if progress is None or not isinstance(to, Mapping):
            return
        told = progress.model_dump(mode="json")
        url = to.get("url")
        if url is None:
            try:
                self.send_signature(to, told)
            except UNREACHABLE:
                raise
            except Exception as error:  # noqa: BLE001  # what anybody's signature makes Celery raise
                raise CallbackFailed(f"the signature cannot be sent ({type(error).__name__})") from None
            return
        try:
            check_callback(str(url))
        except InvalidCommand as problem:  # whoever can write to Redis can ask for a callback
            _log.error("a callback is not made", reason=str(problem), shutdown=shutdown)
            return
        if self.secret is None:
            _log.error("a callback is not sent unsigned: set STREAMSTOP_CALLBACK_SECRET", shutdown=shutdown)
            return
        body = json.dumps(told, ensure_ascii=False).encode()
        parts = urlsplit(str(url))
        headers = {
            "host": parts.netloc,
            "content-type": "application/json",
            callbacks.HEADER: callbacks.sign(self.secret, int(time.time()), body),
        }
        try:
            response = self.transport.send(Request("POST", str(url), headers, body))
        except TransportFault as fault:
            raise CallbackFailed(f"{parts.hostname}: {fault.answer.code}") from None
        if not 200 <= response.status < 300:
            raise CallbackFailed(f"{parts.hostname} answered HTTP {response.status}")

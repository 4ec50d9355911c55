"""Signals: Celery's task signals, on which instrumentation relies.

They are sent in the event loop's thread, in the context of the job's own coroutine. A context variable that a receiver
of ``task_prerun`` sets is therefore set during the call and in ``task_postrun``. ``task.request`` is the job's request
in every receiver. A receiver must not block: it would block every other job of the worker.

The order is that of Celery's own pools: ``task_prerun``, then ``task_success``, ``task_failure`` or ``task_retry``,
then ``task_postrun``. A job that was cancelled before its call sends ``task_revoked`` only. A job that returned to its
lane without a call sends no signal.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import structlog
from billiard.einfo import ExceptionInfo
from celery import signals, states

from streamstop.errors import JobDeferred, JobFailed
from streamstop.outcomes import Deferral, Outcome, Result
from streamstop_worker.celery_parts.request import JobRequest
from streamstop_worker.pipeline.ends import End, StepDone

_ALL = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_revoked,
)

_log = structlog.get_logger("streamstop")


class TaskSignals:
    """The signals of one delivery. A signal without receivers costs nothing."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self._task: Any = request.task
        self._has_begun = False
        self._made: Any = None

    def begin(self) -> None:
        """Send ``task_prerun``: the job is called now, or it ends without a call."""
        if not self._has_begun:
            self._has_begun = True
            if signals.task_prerun.receivers:
                with _harmless(), self._pushed():
                    signals.task_prerun.send(sender=self._task, **self._named())

    def end(self, end: End, runtime_s: float) -> None:
        """Send the signals of the delivery's end."""
        if not any(signal.receivers for signal in _ALL):
            return
        with _harmless():
            match end:
                case Outcome() if end.ok:
                    self._end(states.SUCCESS, _data(end), runtime_s=runtime_s)
                case StepDone(step):
                    self._end(states.SUCCESS, {"step": step}, runtime_s=runtime_s)
                case Outcome(result=Result.CANCELLED):
                    self._revoke()
                case Outcome():
                    self._end(states.FAILURE, JobFailed(_data(end)))
                case Deferral():
                    self._end(states.RETRY, JobDeferred(end.reason, end.due.isoformat()))
                case _ if self._has_begun:
                    self._end(states.REJECTED, None)

    def fail(self, error: BaseException) -> None:
        """Send ``task_retry``: `error` left the job to its lease, and a worker will take it again."""
        if any(signal.receivers for signal in _ALL):
            with _harmless():
                self._end(states.RETRY, error)

    def _revoke(self) -> None:
        with self._pushed():
            signals.task_revoked.send(
                sender=self._task, request=self._context, terminated=False, signum=None, expired=False
            )
        if self._has_begun:
            self._end(states.REVOKED, None)

    def _end(self, state: str, value: Any, *, runtime_s: float = 0.0) -> None:
        self.begin()
        with self._pushed():
            if state == states.SUCCESS:
                signals.task_success.send(sender=self._task, result=value, runtime=runtime_s)
            elif state == states.FAILURE and signals.task_failure.receivers:
                named = self._named()
                signals.task_failure.send(
                    sender=self._task,
                    task_id=named["task_id"],
                    exception=value,
                    args=named["args"],
                    kwargs=named["kwargs"],
                    traceback=value.__traceback__,
                    einfo=_einfo(value),
                )
            elif state == states.RETRY and signals.task_retry.receivers:
                signals.task_retry.send(sender=self._task, request=self._context, reason=value, einfo=_einfo(value))
            signals.task_postrun.send(sender=self._task, **self._named(), retval=value, state=state)

    def _named(self) -> dict[str, Any]:
        request = self._request
        return {"task_id": request.id, "task": self._task, "args": request.args, "kwargs": request.kwargs}

    @property
    def _context(self) -> Any:
        """The request as tasks see it. Each signal gets the same object, because receivers store attributes on it."""
        if self._made is None:
            self._made = self._request._context  # noqa: SLF001  # as Celery's own request does
        return self._made

    @contextlib.contextmanager
    def _pushed(self) -> Iterator[None]:
        """Make ``task.request`` the job's. Nothing may be awaited inside, because the stack belongs to the thread."""
        self._task.request_stack.push(self._context)
        try:
            yield
        finally:
            self._task.request_stack.pop()


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Log an error of a receiver. It must not change the end of the job."""
    try:
        yield
    except Exception:  # noqa: BLE001  # a receiver, or Celery reading a foreign message, may raise anything
        _log.exception("a Celery signal could not be sent")


def _data(outcome: Outcome) -> dict[str, Any]:
    """Return the outcome as ``AsyncResult.get`` returns it."""
    return outcome.model_dump(mode="json", exclude_none=True)


def _einfo(error: BaseException) -> ExceptionInfo:
    """Return Celery's description of an exception, which may never have been raised."""
    try:
        raise error
    except type(error):
        return ExceptionInfo()

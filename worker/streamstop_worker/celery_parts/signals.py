"""Signals: Celery's, one task at a time, for instrumentation that hangs on them.

They are sent in the event loop's thread, inside the context of the job's own coroutine: what a receiver of
``task_prerun`` sets in a context variable is there during the call, and in ``task_postrun``. ``task.request`` is the
job's while they are sent. A receiver must not wait: every other job of the worker would wait with it.

As with Celery's own pools, ``task_prerun`` comes before ``task_success``, ``task_failure`` or ``task_retry``, and
``task_postrun`` after it. A job that was cancelled before its call has ``task_revoked`` only; one that went back to
its lane uncalled has none.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import structlog
from billiard.einfo import ExceptionInfo
from celery import signals, states

from streamstop.errors import JobDeferred, JobFailed
from streamstop.outcomes import Outcome, Result
from streamstop.results import Deferral
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
    """The signals of one delivery. Where nobody listens, nothing is made."""

    def __init__(self, request: JobRequest) -> None:
        self._request = request
        self._task: Any = request.task
        self._has_begun = False
        self._made: Any = None

    def begin(self) -> None:
        """Tell that the job runs: it is called now, or it ends without a call."""
        if not self._has_begun:
            self._has_begun = True
            if signals.task_prerun.receivers:
                with _harmless(), self._pushed():
                    signals.task_prerun.send(sender=self._task, **self._named())

    def end(self, end: End, runtime_s: float) -> None:
        """Tell what became of it."""
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
        """Tell that the job was left to its lease over `error`, and is called again."""
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
        """The request as tasks see it; the same object in each signal, for receivers keep notes there."""
        if self._made is None:
            self._made = self._request._context  # noqa: SLF001  # as Celery's own request does
        return self._made

    @contextlib.contextmanager
    def _pushed(self) -> Iterator[None]:
        """Have ``task.request`` be the job's. Nothing may be awaited inside: the stack is the thread's."""
        self._task.request_stack.push(self._context)
        try:
            yield
        finally:
            self._task.request_stack.pop()


@contextlib.contextmanager
def _harmless() -> Iterator[None]:
    """Let nothing that is told of a job change what becomes of it."""
    try:
        yield
    except Exception:  # noqa: BLE001  # a message may say of itself what no receiver, or Celery, can read
        _log.exception("a signal of Celery's could not be sent")


def _data(outcome: Outcome) -> dict[str, Any]:
    """Return what ``AsyncResult`` gives."""
    return outcome.model_dump(mode="json", exclude_none=True)


def _einfo(error: BaseException) -> ExceptionInfo:
    """Return what Celery tells of an exception; of one that was never raised too."""
    try:
        raise error
    except type(error):
        return ExceptionInfo()

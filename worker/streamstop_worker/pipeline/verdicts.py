"""Verdicts: decides from a vendor's answer how a delivery ends. Pure: the caller gives chance."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

from streamstop._core.lane_types import AttemptHistory, LastCall
from streamstop.operations import Kind, Meaning
from streamstop.outcomes import Result
from streamstop_worker.pipeline.backoff import Backoff
from streamstop_worker.pipeline.ends import Finish, Retry, Throttle
from streamstop_worker.vendors.protocol import Answer


def judge(  # noqa: PLR0911  # a return for each meaning
    answer: Answer, kind: Kind, history: AttemptHistory, backoff: Backoff, random: Callable[[], float]
) -> Finish | Retry | Throttle:
    """Return how the delivery of a job with `history` ends after a call that got `answer`.

    A throttled call does not count as an attempt, because it says nothing about the job.
    """
    in_doubt = history.in_doubt or (answer.in_doubt and answer.meaning is Meaning.TRANSIENT)
    called = replace(history, calls=history.calls + 1, in_doubt=in_doubt)
    judged = replace(called, attempts=history.attempts + 1)
    reason = ": ".join(part for part in (answer.code, answer.message) if part)
    match answer.meaning:
        case None:
            return Finish(Result.STOPPED if kind is Kind.STOP else Result.STATUS, judged, LastCall.WELL, answer)
        case Meaning.ALREADY_STOPPED:
            return Finish(Result.ALREADY_STOPPED, judged, LastCall.WELL, answer)
        case Meaning.NOT_FOUND if kind is Kind.STOP and (history.lost_deliveries or history.in_doubt):
            # An earlier answer was lost, maybe after the vendor had stopped the task. Some vendors forget ended tasks.
            return Finish(Result.ALREADY_STOPPED, judged, LastCall.WELL, answer)
        case Meaning.NOT_FOUND:
            return Finish(Result.NOT_FOUND, judged, LastCall.WELL, answer)
        case Meaning.REFUSED:
            return Finish(Result.REFUSED, judged, LastCall.WELL, answer)
        case Meaning.KEY_REFUSED:
            return Finish(Result.REFUSED, judged, LastCall.WELL, answer, if_held=called)
        case Meaning.THROTTLED:
            return Throttle(answer.retry_after, called, answer)
        case Meaning.SIGN_AGAIN if not history.signed_again:
            return Retry(timedelta(0), replace(judged, signed_again=True), reason, LastCall.WELL, answer)
        case Meaning.SIGN_AGAIN | Meaning.TRANSIENT:
            delay = backoff.delay(judged.attempts, random)
            if delay is None:
                return Finish(Result.GAVE_UP, judged, LastCall.FAULT, answer)
            # An overloaded gateway may say when to retry.
            return Retry(max(delay, answer.retry_after or delay), judged, reason, LastCall.FAULT, answer)
        case _:
            assert_never(answer.meaning)

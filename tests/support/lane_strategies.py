"""Hypothesis strategies for the lanes' state machine: garbage, reports and moments; and a record of the slots given."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import strategies as st

from streamstop._core.answers import Became, CallAnswer
from streamstop._core.lane import Lane
from streamstop._core.lane_types import AttemptHistory, CallError, LastCall, SendDelay, Taken
from streamstop._wire.reports import Ended, KeptAnswer, Released, Renewed, Report, Retried, Throttled
from tests.support.celery_messages import celery_message
from tests.support.lane_driver import ENDED, KEPT, LEASE, WAITS_AGAIN
from tests.support.lane_invariants import SECOND

OPERATION = "live.StopMPUTask"

LANES = tuple(Lane(account, OPERATION) for account in ("acc-a", "acc-b", "acc-c"))
LIMITS = (0.4, 1.0, 2.5, 10.0, 50.0)
#: The accounts of each worker: two workers share a lane, and no worker serves the last account.
WORKERS = (frozenset({"acc-a"}), frozenset({"acc-a", "acc-b"}), frozenset({"acc-b"}))
GARBAGE = (
    b"",
    b"not JSON",
    b"[]",
    b"\x01",
    b"\x01not a history\n" + celery_message(LANES[0], "forged"),
    b"[" * 2000,
    celery_message(LANES[0], "of another task", task="another.task"),
    celery_message(LANES[0], "of another:owner"),
)
LONGEST_LEASE = 2 * LEASE
#: Priorities that messages carry, including invalid ones of other producers.
PRIORITIES = st.sampled_from([0, 0, 0, 3, 6, 9, -4, 77, "6", "high", None])
WHICH = st.integers(0, 10_000)
LANE = st.sampled_from(LANES)
#: What people pause, and for how many seconds. The last two scopes hold no lane of these.
SCOPE = st.sampled_from(
    ["all", "vendor:aliyun", "acc-a", "acc-b", LANES[0].name, LANES[1].name, "vendor:tencent", "acc"]
)
LASTING = st.sampled_from([None, 1, 30, 3600])
WORKER = st.integers(0, len(WORKERS) - 1)
REFUSAL = CallError("InvalidAccessKeyId.NotFound", "not found", "r-1", is_unknown=False)
#: How late a call was, in µs.
LATE = st.sampled_from([0, 0, 9_999, 12_345, 50_000, 2 * SECOND])
COUNT = st.integers(0, 7)
TRIES = st.builds(AttemptHistory, COUNT, COUNT, COUNT, st.booleans(), COUNT, st.booleans())

#: Makes a report of a job.
Make = Callable[[Taken], Report]


def _send_delay(job: Taken, late: int) -> SendDelay:
    return SendDelay(timedelta(microseconds=late), job.slots_shifted_us)


def us(microseconds: int) -> timedelta:
    return timedelta(microseconds=microseconds)


def answered(history: AttemptHistory, became: Became) -> KeptAnswer:
    return KeptAnswer(CallAnswer(number=history.calls, code="Code", request_id="r-1", became=became), KEPT)


def ended(call: LastCall, late: int) -> Make:
    return lambda job: Ended(job=job, call=call, send_delay=_send_delay(job, late), record=ENDED, kept=KEPT)


def refused(history: AttemptHistory, late: int) -> Make:
    return lambda job: Ended(
        job=job,
        call=LastCall.WELL,
        send_delay=_send_delay(job, late),
        error=REFUSAL,
        answered=answered(history, Became.HELD),
        record=ENDED,
        kept=KEPT,
        if_held=history,
    )


def _retried(delay: int, history: AttemptHistory, late: int, call: LastCall) -> Make:
    return lambda job: Retried(
        job=job,
        call=call,
        send_delay=_send_delay(job, late),
        answered=None if call is LastCall.NONE else answered(history, Became.RETRIED),
        delay=us(delay),
        history=history,
        record=WAITS_AGAIN,
        kept=KEPT,
    )


def _throttled(history: AttemptHistory, hint: int, late: int) -> Make:
    return lambda job: Throttled(
        job=job,
        send_delay=_send_delay(job, late),
        answered=answered(history, Became.THROTTLED),
        hint=us(hint) or None,
        history=history,
    )


REPORT: st.SearchStrategy[Make] = st.one_of(
    st.builds(ended, st.sampled_from(LastCall), LATE),
    st.builds(refused, TRIES, LATE),
    st.builds(
        _retried,
        st.sampled_from([0, 1, SECOND, 60 * SECOND, 7200 * SECOND]),
        TRIES,
        LATE,
        st.sampled_from([LastCall.FAULT, LastCall.FAULT, LastCall.WELL, LastCall.NONE]),
    ),
    st.builds(
        _throttled, TRIES, st.sampled_from([0, 0, 1, SECOND // 2, 7 * SECOND, 300 * SECOND, 7200 * SECOND]), LATE
    ),
    st.just(lambda job: Released(job=job)),
    st.just(lambda job: Renewed(job=job, lease=LEASE)),
)


@dataclass
class Slots:
    """The slots that one lane gave for calls, at one limit and on one run of the clock."""

    limit: float
    given: dict[Taken, int] = field(default_factory=dict)

    def note(self, job: Taken) -> None:
        """Record a slot, and check that no second up to it exceeds the limit."""
        self.given[job] = job.slot_us
        lately = sorted(self.given.values())[-int(self.limit) - 1 :]
        if int(self.limit) == self.limit and len(lately) > self.limit:
            assert lately[-1] - lately[0] > SECOND, f"more than {self.limit} calls in a second"

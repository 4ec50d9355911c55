"""The calls of lanes within five minutes, made of the counters that are read now and then."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from streamstop import LaneView
from streamstop_server.page.call_history import STEP_S, STEPS, CallHistory
from streamstop_server.page.charts import chart_of, spark_of

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
T = AT.timestamp()


def view(calls: int, throttled: int = 0, account: str = "live-cn", limit: float | None = 10) -> LaneView:
    """Return a lane's view; :func:`read` sets its moment."""
    return LaneView(account=account, operation="live.StopMPUTask", at=AT, calls=calls, throttled=throttled, limit=limit)


LANE = view(0).lane


def read(history: CallHistory, views: Sequence[LaneView], at: float, *, ahead: float = 0.0) -> None:
    """Let the history have views that were read at `at`, by a Redis whose clock is ahead."""
    moment = datetime.fromtimestamp(at + ahead, UTC)
    history.add([each.model_copy(update={"at": moment}) for each in views], at)


def test_calls_are_counted_in_the_step_in_which_they_were_read() -> None:
    history = CallHistory()
    read(history, [view(100)], T)
    for second in range(1, 11):
        read(history, [view(100 + 8 * second, second // 5)], T + second)
    steps = history.steps(LANE)
    assert len(steps) == STEPS
    assert [step.calls for step in steps[-4:]] == pytest.approx([0, 40, 40, 0])
    assert [step.throttled for step in steps[-3:]] == [1, 1, 0]
    assert steps[-2].rate == 8
    assert (steps[-1].at, steps[-2].at) == (datetime.fromtimestamp(T + 10, UTC), datetime.fromtimestamp(T + 5, UTC))
    assert history.throttled(LANE) == 2


def test_the_rate_of_now_is_that_of_the_last_ten_seconds() -> None:
    history = CallHistory()
    assert history.rate(LANE) == 0
    for second in range(31):
        read(history, [view(5 * min(second, 20))], T + second)
        if second == 20:
            assert history.rate(LANE) == pytest.approx(5)
    assert history.rate(LANE) == 0


def test_a_long_time_between_two_reads_is_spread_over_its_steps() -> None:
    history = CallHistory()
    read(history, [view(0)], T)
    read(history, [view(60)], T + 30)
    assert [step.calls for step in history.steps(LANE)[-7:]] == [10, 10, 10, 10, 10, 10, 0]


def test_reads_at_odd_moments_put_no_step_above_the_limit() -> None:
    history, moments = CallHistory(), [0.0, 1.4, 2.1, 4.9, 6.2, 7.3, 9.999, 11.1, 14.2, 16.0, 19.7, 23.3, 27.0]
    for moment in moments:
        read(history, [view(round(80 * moment))], T + moment, ahead=7.0)
    rates = [step.rate for step in history.steps(LANE) if step.calls]
    assert max(rates) == pytest.approx(80, abs=0.5)
    assert sum(rates) * STEP_S == pytest.approx(80 * 27)


@pytest.mark.parametrize("calls", [0, 3])
def test_counters_that_begin_again_and_calls_that_were_not_made_count_nothing(calls: int) -> None:
    history = CallHistory()
    read(history, [view(50, 4)], T)
    read(history, [view(calls, 0)], T + 1)
    assert sum(step.calls + step.throttled for step in history.steps(LANE)) == 0
    read(history, [view(calls + 2, 0)], T + 2)
    assert sum(step.calls for step in history.steps(LANE)) == 2


def test_a_lane_that_comes_to_be_between_two_reads_is_counted_and_an_old_one_is_not() -> None:
    history = CallHistory()
    read(history, [], T)
    read(history, [view(20), view(5000, account="old")], T + 5)
    assert sum(step.calls for step in history.steps(LANE)) == 20
    assert sum(step.calls for step in history.steps(view(0, account="old").lane)) == 0
    first = CallHistory()
    read(first, [view(20)], T)
    assert sum(step.calls for step in first.steps(LANE)) == 0, "nobody knows when these were"


def test_memory_is_bounded() -> None:
    history = CallHistory()
    for second in range(0, 3000, 5):
        read(history, [view(second)], T + second)
    counted = history._lanes[LANE]
    assert len(counted.steps) <= STEPS
    assert len(counted.reads) <= 4
    read(history, [], T + 3000 + STEPS * STEP_S)
    assert not history._lanes


def test_a_lane_without_calls_has_no_small_chart_and_an_empty_large_one() -> None:
    history = CallHistory()
    read(history, [view(0)], T)
    assert spark_of(history.steps(LANE), 10) is None
    chart = chart_of(history.steps(LANE), 10)
    assert (chart.bars, chart.throttled, chart.limit_y) == ([], 0, 8)


def test_charts_stay_within_their_size_whatever_the_rate() -> None:
    history = CallHistory()
    read(history, [view(0)], T)
    for second in range(5, 305, 5):
        read(history, [view(second * second, second)], T + second)
    steps = history.steps(LANE)
    spark = spark_of(steps, 2)
    assert spark is not None
    ys = [float(point.split(",")[1]) for point in spark.points.split()]
    assert len(ys) == 30
    assert min(ys) >= 0
    assert max(ys) <= 16
    assert len(spark.throttled) == 30
    chart = chart_of(steps, 2)
    assert all(bar.y >= 0 and bar.y + bar.height <= 130.1 for bar in chart.bars)
    assert all(0 < bar.throttled_height <= bar.height for bar in chart.bars)
    assert chart.throttled == history.throttled(LANE)

"""The simulator's limits hold in any one-second window, and count what arrived over them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop.operations import OPERATIONS, GetMPUTaskStatus, StopMPUTask, StopStreamIngest
from streamstop_simulator.limits import SlidingWindow
from tests.support.simulated_vendors import LIVE, LIVE_STS, TRTC, Vendors, code


def test_as_many_calls_pass_in_a_second_as_the_limit_says() -> None:
    window = SlidingWindow(3)

    assert [window.arrive(at) for at in (0.0, 0.1, 0.2, 0.3)] == [True, True, True, False]


def test_a_call_exactly_a_second_after_another_is_outside_its_window() -> None:
    window = SlidingWindow(1)

    assert [window.arrive(at) for at in (5.0, 5.999, 6.0)] == [True, False, True]


def test_the_window_slides_so_that_a_boundary_between_two_seconds_admits_no_burst() -> None:
    window = SlidingWindow(10)
    late_in_the_first_second = [window.arrive(0.95 + n / 1000) for n in range(10)]
    early_in_the_next = [window.arrive(1.05 + n / 1000) for n in range(10)]

    assert all(late_in_the_first_second)
    assert not any(early_in_the_next)
    assert window.most_in_a_second == 20


def test_a_dropped_call_takes_no_place_but_counts_as_arrived() -> None:
    window = SlidingWindow(1)
    answers = [window.arrive(at) for at in (0.0, 0.5, 0.9, 1.0)]

    assert answers == [True, False, False, True]
    assert window.most_in_a_second == 3


def test_a_limit_below_one_call_a_second_is_one_call_in_a_longer_window() -> None:
    window = SlidingWindow(0.5)

    assert [window.arrive(at) for at in (0.0, 1.5, 2.0)] == [True, False, True]


def test_a_limit_that_is_no_whole_number_admits_its_whole_part() -> None:
    window = SlidingWindow(4000 / 60)

    assert sum(window.arrive(n / 1000) for n in range(100)) == 66


def test_a_limit_can_be_changed_while_calls_come() -> None:
    window = SlidingWindow(1)
    assert window.arrive(0.0)

    window.limit = 2

    assert [window.arrive(at) for at in (0.1, 0.2)] == [True, False]


def test_a_call_that_is_counted_late_counts_in_the_window_of_its_arrival() -> None:
    window = SlidingWindow(10)
    for at in (0.0, 0.9, 1.8):
        window.arrive(at)
    assert window.most_in_a_second == 2

    window.arrive(0.5)

    assert window.most_in_a_second == 3


def test_counts_stay_true_over_many_calls() -> None:
    window = SlidingWindow(10)

    passed = sum(window.arrive(n / 64) for n in range(64 * 200))

    assert passed == 10 * 200
    assert window.most_in_a_second == 64


@given(st.lists(st.integers(0, 5000), max_size=80).map(sorted), st.integers(1, 8))
def test_no_second_ever_passes_more_than_the_limit(milliseconds: list[int], limit: int) -> None:
    window = SlidingWindow(limit)
    # Eighths of a second are exact in binary, so that the model below meets no rounding.
    times = [ms // 125 / 8 for ms in milliseconds]
    passed = [at for at in times if window.arrive(at)]

    def most(arrivals: list[float]) -> int:
        return max((sum(end - 1 < at <= end for at in arrivals) for end in arrivals), default=0)

    assert most(passed) <= limit
    assert window.most_in_a_second == most(times)


@pytest.mark.parametrize("account", [LIVE, TRTC], ids=lambda account: str(account.vendor))
def test_the_vendor_answers_a_call_over_the_limit_in_its_own_way_and_does_not_carry_it_out(account: object) -> None:
    vendors = Vendors(epoch=1_700_000_000.0)
    stop = StopMPUTask(app_id="a", task_id="t") if account is LIVE else StopStreamIngest(sdk_app_id=1, task_id="t")
    user = LIVE if account is LIVE else TRTC
    vendors.simulation.set_limit(user.name, stop.spec.id, 1)
    vendors.call(user, stop)
    vendors.start(user, stop)

    answer = vendors.send(vendors.sign(user, stop))

    expected = (400, "Throttling.User") if user is LIVE else (200, "RequestLimitExceeded")
    assert (answer.status, code(answer)) == expected
    last = list(vendors.simulation.journal.since(0))[-1]
    assert (last.over_limit, last.carried_out) == (True, False)
    counts = vendors.simulation.journal.lanes[user.name, stop.spec.id]
    assert (counts.calls, counts.over_limit, counts.throttled) == (2, 1, 1)


def test_each_account_and_operation_has_a_window_of_its_own() -> None:
    vendors = Vendors(settings=Vendors().settings.model_copy(update={"auto_start": True}))
    stop, status = StopMPUTask(app_id="a", task_id="t"), GetMPUTaskStatus(app_id="a", task_id="t")
    for _ in range(10):
        vendors.call(LIVE, status)

    assert code(vendors.send(vendors.sign(LIVE, status))) == "Throttling.User"
    assert code(vendors.send(vendors.sign(LIVE, stop))) is None
    assert code(vendors.send(vendors.sign(LIVE_STS, status))) is None


def test_limits_are_those_of_the_vendors_pages_until_somebody_sets_others() -> None:
    simulation = Vendors().simulation
    pages = {operation: cls.spec.limit for operation, cls in OPERATIONS.items()}
    assert {operation: simulation.limit(LIVE.name, operation) for operation in OPERATIONS} == pages

    simulation.set_limit(LIVE.name, "live.StopMPUTask", 3)
    assert simulation.limit(LIVE.name, "live.StopMPUTask") == 3
    assert simulation.limit(LIVE_STS.name, "live.StopMPUTask") == 10

    simulation.set_limit(LIVE.name, "live.StopMPUTask", None)
    assert simulation.limit(LIVE.name, "live.StopMPUTask") == 10


def test_the_retry_hint_is_sent_only_where_it_is_asked_for() -> None:
    vendors = Vendors()
    stop = StopMPUTask(app_id="a", task_id="t")
    vendors.simulation.set_limit(LIVE.name, stop.spec.id, 1)
    vendors.call(LIVE, stop)
    assert "x-acs-retry-after" not in dict(vendors.send(vendors.sign(LIVE, stop)).headers)

    vendors.simulation.settings = vendors.simulation.settings.model_copy(update={"retry_after_ms": 1500})

    assert dict(vendors.send(vendors.sign(LIVE, stop)).headers)["x-acs-retry-after"] == "1500"

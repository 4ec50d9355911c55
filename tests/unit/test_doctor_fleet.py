"""The doctor's checks of workers, lanes, controls and dead letters."""

from datetime import timedelta

import pytest

from streamstop import (
    LimitDifference,
    Result,
    Severity,
    WorkerState,
    WorkerView,
)
from streamstop._core.controls import Hold, Limit, Pause
from streamstop._core.lane_view import LaneError, LaneView
from streamstop._doctor import controls, fleet
from tests.support.findings import problems_of
from tests.support.signs_of_life import NOW, STOP, worker_view


def workers_problems(*workers: WorkerView) -> list[tuple[str, str]]:
    return problems_of(finding for check in fleet.WORKERS for finding in check(workers))


def test_of_workers_that_are_well_there_is_no_problem() -> None:
    assert workers_problems(worker_view("w1@h"), worker_view("w2@h", state=WorkerState.STOPPING)) == []


@pytest.mark.parametrize(
    ("workers", "check", "words"),
    [
        ([], "running", "no worker takes jobs"),
        ([worker_view(state=WorkerState.STARTING)], "running", "no worker takes jobs"),
        (
            [worker_view(), worker_view("w2@h", state=WorkerState.LOST, problem="no sign of life for 40 s")],
            "lost",
            "worker w2@h is lost: no sign of life for 40 s",
        ),
        (
            [worker_view(), worker_view("w2@h", state=WorkerState.STUCK, problem="the sweep has not answered")],
            "stuck",
            "worker w2@h is stuck: the sweep has not answered",
        ),
        ([worker_view(), worker_view(pid=8)], "names", "2 workers are called w1@h"),
        ([worker_view(clock_ahead=61.0)], "clocks", "the clock of worker w1@h is 61 s ahead of Redis' clock"),
        ([worker_view(clock_ahead=-300.0)], "clocks", "the clock of worker w1@h is 5 min behind Redis' clock"),
        (
            [
                worker_view(differences=[LimitDifference(account="a", operation=STOP, limits={"w1@h": 8, "w2@h": 4})]),
                worker_view("w2@h"),
            ],
            "limits",
            f"workers disagree about limits (a {STOP}: 8 in w1@h, 4 in w2@h)",
        ),
    ],
)
def test_each_problem_of_workers_is_named(workers: list[WorkerView], check: str, words: str) -> None:
    assert workers_problems(*workers) == [(f"workers.{check}", words)]


def test_different_versions_and_full_workers_are_notes() -> None:
    workers = [worker_view(version="1", busy=256), worker_view("w2@h", version="2", busy=256)]
    notes = [finding for check in fleet.WORKERS for finding in check(workers) if finding.severity is Severity.NOTE]
    assert [(finding.check, finding.text) for finding in notes] == [
        ("workers.slots", "every slot of every worker is busy"),
        ("workers.versions", "the workers have different versions (1: w1@h; 2: w2@h)"),
    ]


def test_a_pause_is_a_problem_once_it_is_older_than_a_day_and_a_hold_at_once() -> None:
    young = Pause(scope="live-cn", by="ann@desk", reason="a change", at=NOW - timedelta(hours=2))
    old = Pause(scope="all", by="ann@desk", at=NOW - timedelta(days=2), until=NOW + timedelta(days=1))
    about_young, about_old = controls.check_pauses([young, old], NOW)
    assert about_young.severity is Severity.NOTE
    assert about_young.text == "live-cn is paused since 2025-12-31 22:00 UTC (2 h) by ann@desk: a change"
    assert (about_old.severity, about_old.do) == (
        Severity.PROBLEM,
        "resume it if nobody needs the pause: streamstop resume all",
    )
    hold = Hold(account="live-cn", at=NOW, operation=STOP, code="InvalidAccessKeyId.NotFound", message="no such key")
    (held,) = controls.check_holds([hold], NOW)
    assert held.severity is Severity.PROBLEM
    assert held.text == (
        "account live-cn is held since 2026-01-01 00:00 UTC (0 s): its vendor refuses the key "
        "(InvalidAccessKeyId.NotFound: no such key); its jobs wait, and one a minute is called as a probe: "
        "the next is due now"
    )
    assert held.do is not None
    assert held.do.endswith("streamstop resume live-cn")
    limit = Limit(account="live-cn", operation=STOP, limit=2, by="ann@desk", at=NOW - timedelta(days=3))
    (limited,) = controls.check_limits([limit], NOW)
    assert (limited.severity, limited.do) == (Severity.NOTE, f"streamstop limit clear live-cn {STOP}")


def test_a_lane_without_a_worker_is_a_problem_and_a_failing_one_is_a_note() -> None:
    served = LaneView(account="live-cn", operation=STOP, at=NOW, waiting=3, served=True)
    unserved = served.model_copy(update={"account": "elsewhere", "served": False, "deferred": 2})
    failing = served.model_copy(
        update={"faults": 5, "rest": timedelta(seconds=8), "last_error": LaneError(code="ConnectTimeout", at=NOW)}
    )
    found = list(fleet.check_lanes([served, unserved, failing]))
    assert [(finding.check, finding.severity) for finding in found] == [
        ("lanes.served", Severity.PROBLEM),
        ("lanes.failing", Severity.NOTE),
    ]
    assert found[0].text == f"lane elsewhere.{STOP} holds 5 jobs, and no running worker has account elsewhere"
    assert found[1].text == f"lane live-cn.{STOP} is failing: probe in 8 s, ConnectTimeout"
    assert [finding.severity for finding in fleet.check_lanes([served])] == [Severity.OK]


def test_dead_letters_are_counted_by_result() -> None:
    (finding,) = controls.check_dead_letters({Result.REFUSED: 8, Result.GAVE_UP: 0, None: 2})
    assert (finding.severity, finding.facts) == (Severity.PROBLEM, {"refused": 8, "unreadable": 2})
    assert finding.text == "jobs wait for a person as dead letters: 8 refused, 2 unreadable"
    assert problems_of(controls.check_dead_letters({})) == []

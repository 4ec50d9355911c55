"""Signs of life: what a worker writes, when it counts as lost or stuck, and lanes with different limits."""

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog
from click.testing import CliRunner
from redis import Redis
from structlog.testing import capture_logs

from streamstop import WorkerState, WorkerView
from streamstop._core.constants import EVENTS, WORKERS
from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop._core.workers import LimitDifference, judge
from streamstop._redis.journal import Journal
from streamstop._redis.schedule import Book, Schedule
from streamstop._redis.workers import Workers
from streamstop.cli import main
from streamstop.cli.worker_output import workers_page
from streamstop.testing import RecordingAsyncClient, RecordingClient
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.upkeep.heartbeat import Disagreement, Heartbeat, Ping, Vitals
from tests.support.manual_clock import ManualClock
from tests.support.signs_of_life import sign_of_life, worker_view

SECOND = timedelta(seconds=1)
STOP = "live.StopMPUTask"


def events(redis: Redis) -> list[tuple[str, str, str]]:
    """Return the events of workers: kind, worker and text."""
    entries: Any = redis.xrange(EVENTS)
    return [tuple(fields[name].decode() for name in (b"kind", b"by", b"text")) for _, fields in entries]


@pytest.fixture
def workers(redis: Redis) -> Workers:
    return Workers(redis)


def write_book(redis: Redis, *accounts: str, limit: float = 10, **limits: float) -> str:
    """Write the book of a worker with a limit for STOP, and others by account; return its digest."""
    own = {Lane(account.replace("_", "-"), STOP): Pace.of_limit(each) for account, each in limits.items()}
    book = Book(dict.fromkeys([*accounts, "_control"], "aliyun"), {STOP: Pace.of_limit(limit)}, Pace.of_limit(1), own)
    Schedule(redis).publish(book)
    return book.digest


def test_a_worker_is_seen_with_what_it_wrote(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    book = write_book(redis, "live-cn", "live-sg")
    clock_s = clock.seconds() + 60
    workers.beat("run", sign_of_life("w1@h", book=book, up=90.0, clock=clock_s), text="version 1")
    clock.advance(3 * SECOND)
    (view,) = workers.views()
    assert (view.name, view.host, view.version, view.state) == ("w1@h", "h", "1.2.3", WorkerState.RUNNING)
    assert (view.accounts, view.busy, view.slots, view.silent) == (("live-cn", "live-sg"), 3, 256, 3)
    assert (view.seen - view.since).total_seconds() == 90
    assert view.clock_ahead == pytest.approx(60)
    assert 0 < redis.ttl(WORKERS) <= 86_400


@pytest.mark.parametrize(
    ("fields", "silent_s", "state", "problem"),
    [
        ({}, 0, WorkerState.RUNNING, None),
        ({}, 29.9, WorkerState.RUNNING, None),
        ({}, 30, WorkerState.LOST, "no sign of life for 30 s"),
        ({"stopping": True}, 400, WorkerState.LOST, "no sign of life for 7 min"),
        ({"stopping": True, "looked": 99.0}, 0, WorkerState.STOPPING, None),
        ({"answered": {"the event loop": 31.0}}, 0, WorkerState.STUCK, "the event loop has not answered for 31 s"),
        ({"answered": {"x": 31.0}, "stopping": True}, 0, WorkerState.STUCK, "x has not answered for 31 s"),
        ({"looked": 31.0}, 0, WorkerState.STUCK, "it has not looked for jobs for 31 s"),
        ({"looked": 31.0, "busy": 256}, 0, WorkerState.RUNNING, None),
        ({"looked": None, "up": 5.0}, 0, WorkerState.STARTING, None),
        ({"looked": None, "up": 45.0}, 0, WorkerState.STUCK, "it has not looked for jobs since its start 45 s ago"),
    ],
)
def test_the_state_of_a_worker(
    fields: dict[str, Any], silent_s: float, state: WorkerState, problem: str | None
) -> None:
    assert judge(sign_of_life(**fields), timedelta(seconds=silent_s)) == (state, problem)


def test_a_silent_worker_is_lost_once_and_forgotten_after_an_hour(
    redis: Redis, workers: Workers, clock: ManualClock
) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    for _ in range(7):
        clock.advance(5 * SECOND)
        workers.beat("2", sign_of_life("w2@h"), text="starts too")
    lost = ("worker_lost", "w1@h", "no sign of life for half a minute")
    assert events(redis) == [("worker_started", "w1@h", "starts"), ("worker_started", "w2@h", "starts too"), lost]
    assert [view.state for view in workers.views()] == [WorkerState.LOST, WorkerState.RUNNING]
    clock.advance(timedelta(hours=1))
    workers.beat("2", sign_of_life("w2@h"), text="")
    assert [view.name for view in workers.views()] == ["w2@h"]
    assert events(redis).count(lost) == 1


def test_a_worker_that_was_lost_shows_signs_of_life_again(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h"), text="starts")
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    assert events(redis)[-1] == ("worker_started", "w1@h", "shows signs of life again")
    assert [view.state for view in workers.views()] == [WorkerState.RUNNING] * 2


def test_a_worker_that_was_killed_and_started_again_leaves_no_lost_one(
    redis: Redis, workers: Workers, clock: ManualClock
) -> None:
    workers.beat("1", sign_of_life("w1@h", pid=1), text="starts")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w1@h", pid=2), text="starts")
    assert [(view.name, view.pid) for view in workers.views()] == [("w1@h", 2)]
    assert [kind for kind, _, _ in events(redis)] == ["worker_started", "worker_lost", "worker_started"]


def test_two_workers_of_one_name_are_both_seen(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    for _ in range(10):
        workers.beat("1", sign_of_life("w1@h", pid=1), text="starts")
        workers.beat("2", sign_of_life("w1@h", pid=2), text="starts")
        clock.advance(5 * SECOND)
    assert sorted(view.pid for view in workers.views()) == [1, 2]
    assert len(events(redis)) == 2


def test_a_worker_that_stops_is_gone_at_once(redis: Redis, workers: Workers) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="starts")
    workers.leave("1", "w1@h")
    workers.leave("1", "w1@h")
    assert workers.views() == []
    assert events(redis) == [("worker_started", "w1@h", "starts"), ("worker_stopped", "w1@h", "")]


def test_a_clock_that_was_set_back_hides_no_lost_worker(workers: Workers, clock: ManualClock) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="")
    clock.advance(timedelta(hours=-2))
    workers.beat("2", sign_of_life("w2@h"), text="")
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h"), text="")
    assert [view.state for view in workers.views()] == [WorkerState.LOST, WorkerState.RUNNING]


@pytest.mark.parametrize("written", [b"", b"{}", b"null", b'{"seen_us":1,"lost":0,"name":3}', b"\xff", b'{"seen_us":1'])
def test_what_another_program_wrote_is_left_out(written: bytes, redis: Redis, workers: Workers) -> None:
    redis.hset(WORKERS, "other", written)
    assert workers.views() == []
    workers.beat("1", sign_of_life("w1@h"), text="")
    assert [view.name for view in workers.views()] == ["w1@h"]
    assert redis.hlen(WORKERS) == 1, "it is removed"


def test_a_beat_is_one_command(redis: Redis, workers: Workers) -> None:
    workers.beat("1", sign_of_life("w1@h"), text="")
    sent: list[str] = []
    execute = redis.execute_command
    redis.execute_command = lambda *words, **options: sent.append(words[0]) or execute(*words, **options)  # type: ignore[method-assign, func-returns-value, no-untyped-call]
    workers.beat("1", sign_of_life("w1@h"), text="")
    assert sent == ["EVALSHA"]


def test_limits_that_differ_are_named_with_the_workers(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    first = write_book(redis, "live-cn", "live-sg", live_cn=8)
    second = write_book(redis, "live-cn", "live-eu", live_cn=4)
    assert workers.beat("1", sign_of_life("w1@h", book=first), text="") == []
    assert workers.beat("2", sign_of_life("w2@h", book=second), text="") == [first]
    assert workers.beat("3", sign_of_life("w3@h", book=second), text="") == [first]
    difference = LimitDifference(account="live-cn", operation=STOP, limits={"w1@h": 8, "w2@h": 4, "w3@h": 4})
    assert [view.differences for view in workers.views()] == [(difference,)] * 3
    clock.advance(31 * SECOND)
    workers.beat("2", sign_of_life("w2@h", book=second), text="")
    workers.beat("3", sign_of_life("w3@h", book=second), text="")
    assert [view.differences for view in workers.views()] == [()] * 3, "a lost worker disagrees with nobody"


@pytest.mark.parametrize(
    ("one", "other", "lanes"),
    [
        ({"limit": 10}, {"limit": 12}, ["live-cn"]),
        ({"live_cn": 5}, {}, ["live-cn"]),
        ({"live_cn": 10}, {}, []),
        ({"live_cn": 5, "live_us": 3}, {"live_cn": 5, "live_us": 4}, []),
    ],
)
def test_lanes_that_both_workers_have_are_compared(
    one: dict[str, float], other: dict[str, float], lanes: list[str], redis: Redis, workers: Workers
) -> None:
    workers.beat("1", sign_of_life("w1@h", book=write_book(redis, "live-cn", "live-us", **one)), text="")
    workers.beat("2", sign_of_life("w2@h", book=write_book(redis, "live-cn", "live-eu", **other)), text="")
    (view, _) = workers.views()
    assert [difference.account for difference in view.differences] == lanes


def test_one_warning_says_that_workers_disagree_once_the_disagreement_lasts(redis: Redis, workers: Workers) -> None:
    structlog.reset_defaults()
    first, second = write_book(redis, "live-cn", live_cn=8), write_book(redis, "live-cn", live_cn=4)
    disagreement = Disagreement(workers, "w1@h")
    workers.beat("2", sign_of_life("w2@h", book=second), text="")
    with capture_logs() as lines:
        for _ in range(2):
            disagreement.note_books(workers.beat("1", sign_of_life("w1@h", book=first), text=""))
        assert lines == []
        for _ in range(5):
            disagreement.note_books(workers.beat("1", sign_of_life("w1@h", book=first), text=""))
    assert [(line["event"], line["lanes"], line["limits"]) for line in lines] == [
        ("workers disagree about limits", 1, [f"live-cn {STOP}: 8 in w1@h, 4 in w2@h"])
    ]


def test_workers_with_different_accounts_are_no_warning(redis: Redis, workers: Workers) -> None:
    structlog.reset_defaults()
    workers.beat("2", sign_of_life("w2@h", book=write_book(redis, "live-sg")), text="")
    disagreement = Disagreement(workers, "w1@h")
    own = write_book(redis, "live-cn")
    with capture_logs() as lines:
        for _ in range(5):
            disagreement.note_books(workers.beat("1", sign_of_life("w1@h", book=own), text=""))
    assert lines == []


def test_a_ping_measures_since_the_last_answer_and_asks_one_question_at_a_time() -> None:
    asked: list[Callable[[], None]] = []
    ping = Ping(asked.append)
    ping.ask()
    ping.ask()
    assert len(asked) == 1
    unanswered = ping.age_s(0)
    asked.pop()()
    assert ping.age_s(0) < unanswered + 1
    ping.ask()
    assert len(asked) == 1


def test_a_ping_waits_for_an_answer_that_comes_soon() -> None:
    answering: list[threading.Thread] = []

    def run_there(call: Callable[[], None]) -> None:
        answering.append(threading.Thread(target=call))
        answering[0].start()

    ping = Ping(run_there)
    ping._answered_at -= 1000
    ping.ask()
    assert ping.age_s(60) < 1000
    answering[0].join()


def test_a_heartbeat_writes_what_its_parts_say(redis: Redis, workers: Workers, clock: ManualClock) -> None:
    slots = Slots(concurrency=8)
    slots.take()
    digest = write_book(redis, "live-cn")
    book = Book(dict.fromkeys(["live-cn", "_control"], "aliyun"), {STOP: Pace.of_limit(10)}, Pace.of_limit(1), {})
    assert book.digest == digest
    loop_calls: list[Callable[[], None]] = []
    loop = Ping(loop_calls.append)
    loop._answered_at -= 40
    vitals = Vitals(slots, lambda: book, lambda: None, lambda: 0.0, {"the event loop": loop})
    heart = Heartbeat(workers, Journal(redis), "w1@h", vitals, clock=lambda: clock.seconds() - 5)
    heart.beat()
    (view,) = workers.views()
    assert (view.state, view.slots, view.busy, view.accounts) == (WorkerState.STUCK, 8, 1, ("live-cn",))
    assert (view.problem or "").startswith("the event loop has not answered for 4")
    assert view.clock_ahead == pytest.approx(-5)
    assert events(redis)[0][2].endswith("accounts: 1, slots: 8")
    slots.drain()
    loop_calls.pop()()
    heart.beat()
    (view,) = workers.views()
    assert (view.state, view.problem) == (WorkerState.STOPPING, None)
    heart.note_account_changes("added: live-sg")
    heart.stop()
    assert workers.views() == []
    assert events(redis)[1:] == [("accounts_changed", "w1@h", "added: live-sg"), ("worker_stopped", "w1@h", "")]


def test_the_page_of_workers_fits_and_names_what_is_wrong() -> None:
    difference = LimitDifference(account="live-cn", operation=STOP, limits={"w2@h": 4, "w1@h": 8})
    long = "celery@streamstop-worker-6d9f7c8b5-x2x4v.production.svc.cluster.local"
    accounts = [f"live-{number}" for number in range(40)]
    views = [
        worker_view("w1@h", differences=[difference]),
        worker_view("w2@h", differences=[difference], state=WorkerState.LOST, problem="no sign of life for 42 s"),
        worker_view(long, accounts=accounts),
    ]
    lines = list(workers_page(views))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["NAME", "HOST", "VERSION", "BUSY", "UP", "SEEN", "ACCOUNTS"]
    assert lines[1].split() == ["w1", "h", "1.2.3", "3/256", "60", "min", "1", "s", "ago", "1:", "live-cn"]
    assert "40: live-" in lines[3]
    assert lines[4:] == [
        "w2@h is lost: no sign of life for 42 s",
        "the workers' files have different limits for 1 lane (calls/s):",
        f"  live-cn {STOP}: 8 in w1@h, 4 in w2@h",
    ]


def test_without_a_worker_the_page_says_how_to_start_one() -> None:
    assert list(workers_page([])) == ["no worker runs; start one with: celery -A streamstop_worker worker"]


def test_a_hostile_name_does_not_reach_the_terminal() -> None:
    (_, line, problem) = workers_page([worker_view("w\x1b[2J@h", state=WorkerState.STUCK, problem="x\x07")])
    assert "\x1b" not in line + problem
    assert "\x07" not in problem


def test_a_recording_client_has_one_worker_or_those_of_the_test() -> None:
    assert RecordingClient().workers() == []
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    (only,) = recording.workers()
    assert (list(only.accounts), only.is_well) == (["live-cn"], True)
    lost: WorkerView = worker_view("w1@h", state=WorkerState.LOST)
    recording.set_workers([lost])
    assert recording.workers() == asyncio.run(RecordingAsyncClient(recording).workers()) == [lost]


def test_the_command_prints_one_worker_a_line_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [worker_view("w1@h"), worker_view("w2@h")]
    recording = RecordingClient()
    recording.set_workers(views)
    monkeypatch.setattr("streamstop.cli.workers.Client", lambda _redis: recording)
    result = CliRunner().invoke(main, ["workers", "--json"])
    lines = result.output.splitlines()
    assert [WorkerView.model_validate_json(line) for line in lines] == views
    assert json.loads(lines[0])["state"] == "running"

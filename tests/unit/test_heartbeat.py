"""The heartbeat: what it asks of a worker's threads and writes, and its warning of different limits."""

import threading
from collections.abc import Callable

import pytest
import structlog
from redis import Redis
from structlog.testing import capture_logs

from streamstop import WorkerState
from streamstop._core.pace import Pace
from streamstop._redis.journal import Journal
from streamstop._redis.schedule import Book
from streamstop._redis.workers import Workers
from streamstop_worker.pipeline.slots import Slots
from streamstop_worker.upkeep.heartbeat import Disagreement, Heartbeat, Ping, Vitals
from tests.support.manual_clock import ManualClock
from tests.support.signs_of_life import STOP, events_of_workers, sign_of_life, write_book


@pytest.fixture
def workers(redis: Redis) -> Workers:
    return Workers(redis)


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
    ping._answered_at -= 1000
    assert ping.age_s(0) >= 1000
    asked.pop()()
    assert ping.age_s(0) < 1000
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
    assert events_of_workers(redis)[0][2].endswith("accounts: 1, slots: 8")
    slots.drain()
    loop_calls.pop()()
    heart.beat()
    (view,) = workers.views()
    assert (view.state, view.problem) == (WorkerState.STOPPING, None)
    heart.note_account_changes("added: live-sg")
    heart.stop()
    assert workers.views() == []
    assert events_of_workers(redis)[1:] == [
        ("accounts_changed", "w1@h", "added: live-sg"),
        ("worker_stopped", "w1@h", ""),
    ]

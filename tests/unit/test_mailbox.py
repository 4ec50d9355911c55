"""The mailbox between threads: it runs every call of any thread, even if another call raises."""

import threading

import pytest

from streamstop_worker.celery_parts.mailbox import Mailbox


def test_the_reader_is_notified_when_two_threads_add_a_call_at_once() -> None:
    calls: list[str] = []
    mailbox = Mailbox(lambda: calls.append("come"))
    mailbox.add(lambda: None)  # the first thread stops here
    mailbox.add(lambda: None)  # the second adds its own
    mailbox.ring()
    assert calls == ["come"]


def test_a_notified_reader_is_not_notified_again_before_it_reads() -> None:
    calls: list[str] = []
    mailbox = Mailbox(lambda: calls.append("come"))
    for _ in range(3):
        mailbox.put(lambda: None)
    assert calls == ["come"]
    mailbox.read()
    mailbox.put(lambda: None)
    assert calls == ["come", "come"]


def test_a_call_that_fails_does_not_keep_others_from_running(capsys: pytest.CaptureFixture[str]) -> None:
    read: list[int] = []

    def fail() -> None:
        raise ConnectionError("gone")

    mailbox = Mailbox(lambda: None)
    for call in (lambda: read.append(1), fail, lambda: read.append(2)):
        mailbox.put(call)
    mailbox.read()
    assert read == [1, 2]
    assert "gone" in "".join(capsys.readouterr())


def test_a_call_that_is_added_during_a_read_notifies_again() -> None:
    calls: list[str] = []
    mailbox = Mailbox(lambda: calls.append("come"))
    mailbox.put(lambda: mailbox.put(lambda: calls.append("read")))
    mailbox.read()
    assert calls == ["come", "come"]
    mailbox.read()
    assert calls == ["come", "come", "read"]


def test_a_signals_handler_may_read_in_the_middle_of_a_reading() -> None:
    read: list[int] = []
    mailbox = Mailbox(lambda: None)
    mailbox.put(mailbox.read)
    mailbox.put(lambda: read.append(1))
    mailbox.read()
    assert read == [1]


def test_no_call_of_many_threads_is_lost() -> None:
    bell = threading.Semaphore(0)
    mailbox = Mailbox(bell.release)
    read: list[int] = []
    threads, each = 4, 5000

    def write() -> None:
        for _ in range(each):
            mailbox.put(lambda: read.append(1))

    writers = [threading.Thread(target=write) for _ in range(threads)]
    for writer in writers:
        writer.start()
    while len(read) < threads * each:
        assert bell.acquire(timeout=60), "the reader was not called for what is there"
        mailbox.read()
    for writer in writers:
        writer.join()
    assert len(read) == threads * each

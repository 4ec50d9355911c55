"""The mailbox between threads: nothing stays unread, whoever puts it in, and whatever a letter does."""

import threading

import pytest

from streamstop_worker.celery_parts.mailbox import Mailbox


def test_two_threads_that_put_in_news_at_once_have_the_reader_come() -> None:
    calls: list[str] = []
    mailbox = Mailbox(lambda: calls.append("come"))
    mailbox.add(lambda: None)  # as far as the one had got
    mailbox.add(lambda: None)  # when the other put its own in
    mailbox.ring()
    assert calls == ["come"]


def test_a_reader_that_was_called_is_not_called_again_before_it_reads() -> None:
    calls: list[str] = []
    mailbox = Mailbox(lambda: calls.append("come"))
    for _ in range(3):
        mailbox.put(lambda: None)
    assert calls == ["come"]
    mailbox.read()
    mailbox.put(lambda: None)
    assert calls == ["come", "come"]


def test_a_letter_that_fails_keeps_no_other_from_being_read(capsys: pytest.CaptureFixture[str]) -> None:
    read: list[int] = []

    def fail() -> None:
        raise ConnectionError("gone")

    mailbox = Mailbox(lambda: None)
    for letter in (lambda: read.append(1), fail, lambda: read.append(2)):
        mailbox.put(letter)
    mailbox.read()
    assert read == [1, 2]
    assert "gone" in "".join(capsys.readouterr())


def test_what_is_put_in_while_letters_are_read_has_the_reader_come_again() -> None:
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


def test_of_many_threads_no_letter_is_lost() -> None:
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

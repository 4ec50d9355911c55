"""Celery's own tools: its command line, an app that knows only Redis' address, and an event monitor."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from celery import Celery
from celery.events import EventReceiver

from tests.support.polling import eventually
from tests.support.world import ALIYUN, World


def celery(made: World, *arguments: str, code: int | None = 0, app: bool = True) -> str:
    """Return the output of ``celery -A streamstop_worker``; it must exit with `code`. None accepts any exit code."""
    own = {"STREAMSTOP_REDIS_URL": made.server.url, "STREAMSTOP_ACCOUNTS": str(made.accounts)}
    done = subprocess.run(
        [sys.executable, "-m", "celery", *(("-A", "streamstop_worker") if app else ()), *arguments],
        env={**os.environ, **own, **made.environ},
        cwd=made.folder,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert code is None or done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def plain_app(made: World) -> Iterator[Celery]:
    """Yield an app that knows nothing of streamstop but Redis' address."""
    app = Celery("any", broker=made.server.url, backend=made.server.url, set_as_current=False)
    app.conf.update(worker_enable_remote_control=True, broker_connection_retry_on_startup=True)
    with app:
        try:
            yield app
        finally:
            backend: Any = app.backend  # its types know only the base
            backend.result_consumer.stop()
            backend.client.connection_pool.disconnect()


def answer(app: Celery, command: str, worker: str = "w1@test", **arguments: Any) -> Any:
    """Return what one worker answers to a remote control command.

    The command is sent until it is answered: what is sent before the worker has subscribed, right after its start, is
    lost.
    """
    control: Any = app.control

    def ask() -> Any:
        return control.broadcast(command, arguments=arguments, destination=[worker], reply=True, limit=1, timeout=5)

    (reply,) = eventually(ask, f"{worker} answers {command}")
    return reply[worker]


def start_worker_that_answers(made: World, *arguments: str) -> None:
    """Start a worker, and wait until producers know its accounts and it answers remote control."""
    made.start_worker(*arguments)
    made.await_account(ALIYUN)
    with plain_app(made) as app:
        answer(app, "ping")


class ReceivedEvents:
    """The events that a monitor has received, in their order."""

    def __init__(self) -> None:
        self.events: list[Mapping[str, Any]] = []

    def of(self, job_id: str) -> list[Mapping[str, Any]]:
        """Return the events of a job, without its deliveries that were too late for their slots.

        On a busy machine a worker may come to a job later than its slot allows. The job then returns to its lane
        without a call, and is delivered again: it is received and rejected, and neither started nor retried between.
        """
        kept: list[Mapping[str, Any]] = []
        for event in [event for event in list(self.events) if event.get("uuid") == job_id]:
            if event["type"] == "task-rejected" and kept and kept[-1]["type"] == "task-received":
                kept.pop()
            else:
                kept.append(event)
        return kept

    def types_of(self, job_id: str) -> list[str]:
        """Return the events' types."""
        return [event["type"] for event in self.of(job_id)]

    def await_last(self, job_id: str, kind: str) -> Mapping[str, Any]:
        """Return the event of that type, as soon as the job has one."""
        return eventually(lambda: [event for event in self.of(job_id) if event["type"] == kind], f"{kind} of {job_id}")[
            -1
        ]


@contextmanager
def monitor(app: Celery) -> Iterator[ReceivedEvents]:
    """Receive events, as Flower does. A worker must run: its heartbeat shows that the monitor is subscribed."""
    heard = ReceivedEvents()
    with app.connection_for_read() as connection:
        receiver: Any = EventReceiver(connection, handlers={"*": heard.events.append}, app=app)

        def listen() -> None:
            # One subscription for the whole time: events that are sent between two subscriptions are lost.
            for _ in receiver.consume(limit=None, timeout=None, safety_interval=0.2, wakeup=False):
                pass

        thread = threading.Thread(target=listen)
        thread.start()
        control: Any = app.control
        try:
            eventually(lambda: heard.events or (control.broadcast("heartbeat"), [])[1], "a heartbeat", interval=0.1)
            yield heard
        finally:
            receiver.should_stop = True
            thread.join()

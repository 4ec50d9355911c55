"""Every fault happens while planted secrets are in use, and no output contains one.

The search covers each account's key id, secret and token, the callbacks' secret and Redis' password: as they are,
percent-encoded, and in base64. It reads every command that Redis received and every key that it holds, the worker's log
at ``DEBUG``, Celery's events and its replies to ``inspect``, the simulator's control API, and the command line.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from redis import Redis

from streamstop import Client
from streamstop.operations import GetMPUTaskStatus, Operation, StopMPUTask, StopStreamIngest
from streamstop_simulator import FaultKind
from streamstop_worker.accounts import Account
from tests.support.accounts import at_vendors
from tests.support.loopback import Connection, LoopbackServer
from tests.support.planted_secrets import (
    ACCOUNTS,
    CALLBACK,
    ECHO,
    EVERY_SECRET,
    MISTAKEN,
    PASSWORD,
    TC3,
    V1,
    V3,
    WRONG,
    contains_secret,
    secrets_in,
)
from tests.support.polling import PATIENT, TIMEOUT_S, eventually
from tests.support.redis_content import everything_in
from tests.support.workers import WorkerProcess, accounts_toml
from tests.support.world import World, world

pytestmark = pytest.mark.long


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_is_found_however_it_is_written(before: str) -> None:
    for secret in EVERY_SECRET:
        for written in (secret, quote(secret), quote(quote(secret, safe=""), safe=""), repr([secret])):
            assert secrets_in(f"{before}{written}c") == [secret]
        assert secrets_in(base64.b64encode(f"{before}{secret}c".encode())) == [secret]
    assert secrets_in("hush+v3/secret") == []


@contextmanager
def listening(redis: Redis) -> Iterator[list[str]]:
    """Collect every command that Redis is sent."""
    heard: list[str] = []
    over = threading.Event()

    def listen(monitor: Any) -> None:
        for command in monitor.listen():
            heard.append(command["command"])
            if over.is_set() and "end of the test" in command["command"]:
                return

    port = redis.connection_pool.connection_kwargs["port"]
    patient: Any = Redis(port=port, socket_timeout=None)  # without commands there is nothing to read
    with patient, patient.monitor() as monitor:
        thread = threading.Thread(target=listen, args=[monitor])
        thread.start()
        try:
            yield heard
        finally:
            over.set()
            redis.echo("end of the test")
            thread.join()


def celery(made: World, *arguments: str) -> str:
    """Return what Celery's own command line tells."""
    command = [sys.executable, "-m", "celery", "-A", "streamstop_worker", *arguments]
    environ = {**os.environ, **made.environ, "STREAMSTOP_ACCOUNTS": str(made.accounts)}
    done = subprocess.run(
        command, env=environ, cwd=made.folder, check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout + done.stderr


def plant(made: World) -> str:
    """Give Redis a user with a password; return the url that has it."""
    redis: Any = made.redis
    redis.execute_command("ACL", "SETUSER", "planted", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    return f"redis://planted:{quote(PASSWORD, safe='')}@127.0.0.1:{made.server.port}/0"


def echoing(connection: Connection) -> None:
    """Answer as Alibaba answers a wrong signature, and as a hostile server might: with what it was sent."""
    for number in range(1_000_000):
        request = connection.request()
        line = request.partition(b"\r\n")[0].decode()
        answer = {
            "Code": "SignatureDoesNotMatch" if number % 3 == 0 else f"Echo.{line.split()[1][-100:]}",
            "Message": line,
        }
        if number % 3 == 2:
            connection.send(request)
            return
        connection.answer(json.dumps({**answer, "RequestId": ECHO.access_key_id}).encode(), status=b"400 Bad Request")


FAULTS: Sequence[dict[str, Any]] = [
    {"kind": FaultKind.ERROR_500},
    {"kind": FaultKind.RESET},
    {"kind": FaultKind.HALF_BODY},
    {"kind": FaultKind.HTML},
    {"kind": FaultKind.HANG},
    {"kind": FaultKind.THROTTLE},
    {"kind": FaultKind.CODE, "code": "NoSuchCode", "message": "you sent {token} and {key}"},
    {"kind": FaultKind.CODE, "code": "SignatureDoesNotMatch", "message": "server string to sign is {token}"},
]


def operation_of(account: Account, name: str) -> Operation:
    if account.vendor == "tencent":
        return StopStreamIngest(sdk_app_id=1, task_id=name)
    return StopMPUTask(app_id="app", task_id=name)


def all_goes_wrong(made: World, client: Client, running: WorkerProcess) -> None:
    """Let every kind of call fail, once, and wait until each job has ended or is deferred."""
    for number, fault in enumerate(FAULTS):
        for account in (V3, V1, TC3):
            own = dict(fault)
            kind = own.pop("kind")
            if "message" in own:
                own["message"] = own["message"].format(token=account.security_token, key=account.access_key_id)
            task = operation_of(account, f"t-{number}").params
            made.simulator.add_fault(kind, account=account.name, task=task, **own)
    jobs = [
        client.enqueue(operation_of(account, f"t-{number}"), account=account.name)
        for number in range(len(FAULTS))
        for account in (V3, V1, TC3)
    ]
    jobs += [client.enqueue(operation_of(account, "refused"), account=account.name) for account in (ECHO, WRONG)]
    jobs.append(client.enqueue(GetMPUTaskStatus(app_id="app", task_id="status"), account=V3.name))
    outcomes = list(client.outcomes(jobs, timeout=120))
    assert len(outcomes) == len(jobs)
    made.redis.delete("streamstop.work.echo.live.StopMPUTask:pace")
    for number in range(3):  # each meets another of the echo's answers
        client.enqueue(operation_of(ECHO, f"again-{number}"), account=ECHO.name)
    running.await_line("RemoteProtocolError", timeout=TIMEOUT_S)


def control_answers(url: str) -> Iterator[str]:
    """Yield what the simulator's control API tells, but for accounts' key ids and the faults that we ordered."""
    for name in ("", "tasks", "settings", "calls", "summary"):
        with urlopen(f"{url}/_control/{name}") as reply:
            yield reply.read().decode()


def test_no_secret_is_written_shown_or_sent_whatever_goes_wrong(tmp_path: Path) -> None:
    with LoopbackServer(echoing) as echo, world(tmp_path, workers=0, accounts=ACCOUNTS) as made:
        url = plant(made)
        made.environ = {
            "STREAMSTOP_REDIS_URL": url,
            "STREAMSTOP_CALLBACK_SECRET": CALLBACK,
            "STREAMSTOP_CALL_TIMEOUT": "6",  # of an answer that came later, the message would not be seen
        }
        made.simulator.settings(auto_start=True)
        made.simulator.add_accounts(at_vendors([replace(WRONG, access_key_secret="another")]))
        toml = accounts_toml([account for account in ACCOUNTS if account is not ECHO], made.simulator.url)
        made.accounts.write_text(toml + accounts_toml([ECHO], echo.origin))
        with Client(url, timeout=PATIENT) as client, listening(made.redis) as heard:
            running = made.start_worker("-l", "DEBUG", "-E", ready=False)
            running.await_line("@test ready.")
            for account in ACCOUNTS:
                made.await_account(account.name)
            all_goes_wrong(made, client, running)

            # Celery's own answers, of a worker that runs.
            asked = ("inspect", "--destination", "w1@test", "--timeout", "60")  # it waits until that one has answered
            texts = [celery(made, *asked, what) for what in ("conf", "report", "stats", "active", "registered")]
            assert all("w1@test" in one for one in texts)

            # A callback that fails.
            shutdown = client.stop_room("room", [], callback=f"{made.simulator.url}/nowhere")
            shutdown.wait(TIMEOUT_S)
            running.await_line("the callback failed and is retried")

            # Stacks, which Celery prints on SIGUSR1; and files with mistakes, which hold secrets.
            running.signal(signal.SIGUSR1)
            running.await_line("MainThread")
            for line in (f'acess_key_secret = "{MISTAKEN}"', f'access_key_secret = "{MISTAKEN}', f"{MISTAKEN}"):
                made.accounts.write_text(f'[accounts.a]\nvendor = "aliyun"\n{line}\n')
                times = running.text().count("the accounts file has an error and is not loaded")
                running.signal(signal.SIGHUP)
                await_more(running, "the accounts file has an error and is not loaded", times)
            texts.append(running.text())
            running.stop()
        texts += heard
        assert any("RemoteProtocolError" in command for command in heard)
        for event in ("task-received", "task-succeeded", "task-failed", "task-retried", "worker-online"):
            assert any(contains_secret(event, command.encode()) for command in heard), event
        texts += control_answers(made.simulator.url)
        texts.append(everything_in(made.redis).decode(errors="surrogateescape"))
        assert running.text().count('"message": "you sent *** and ***"') >= 3
        assert {secret for one in texts for secret in secrets_in(one)} == set()


def await_more(running: WorkerProcess, text: str, times: int) -> None:
    """Wait until the worker has written `text` more than `times` times."""
    eventually(lambda: running.text().count(text) > times, running.text)

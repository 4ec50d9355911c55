"""Secrets are planted, everything goes wrong, and they are looked for wherever something is written, shown or sent.

What is looked for: each account's key id, secret and token, the secret of callbacks and the password of Redis; as they
are, percent-encoded, and in base64. Where: every command that Redis was sent and all that it holds, what workers write
at ``DEBUG``, Celery's events and its answers to ``inspect``, the simulator's control API, the command line.
"""

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
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
from streamstop_simulator.demo.embedded_redis import redis_server
from streamstop_worker.accounts import Account
from tests.support.accounts import at_vendors
from tests.support.loopback import Connection, LoopbackServer
from tests.support.polling import eventually
from tests.support.redis_content import everything_in
from tests.support.workers import WorkerProcess, accounts_toml
from tests.support.world import World, world

V3 = Account("live-v3", "aliyun", "LTAIplanted0v3keyid", "hush+v3/secret==planted", "CAISv3+token/planted==")
V1 = Account(
    "live-v1", "aliyun", "LTAIplanted0v1keyid", "hush+v1/secret==planted", "CAISv1+token/planted==", signature="v1"
)
TC3 = Account(
    "trtc", "tencent", "AKIDplanted0tckeyid", "hush+tc/secret==planted", "tctoken+/planted==", region="ap-singapore"
)
ECHO = Account(
    "echo", "aliyun", "LTAIplanted0echokey", "hush+ec/secret==planted", "CAISec+token/planted==", signature="v1"
)
WRONG = Account("wrong", "aliyun", "LTAIplanted0wrongid", "hush+wr/secret==planted", "CAISwr+token/planted==")
ACCOUNTS = (V3, V1, TC3, ECHO, WRONG)
CALLBACK = "callback+secret/planted=="
PASSWORD = "redis+pass/planted=="
MISTAKEN = "hush+mistaken/planted=="
EVERY_SECRET = [secret for account in ACCOUNTS for secret in account.secrets] + [CALLBACK, PASSWORD, MISTAKEN]


def stands_in(secret: str, text: bytes) -> bool:
    """Return whether a secret stands in a text: any of it percent-encoded any number of times, or in base64."""
    encoded = "".join(f"(?:%(?:25)*(?i:{ord(c):02x})|{re.escape(c)})" for c in secret)
    if re.search(encoded.encode(), text):
        return True
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode())
        # The characters that no neighbour has a part in.
        if coded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6] in text:
            return True
    return False


def found_in(text: str | bytes) -> list[str]:
    """Return the secrets that stand in a text."""
    held = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return [secret for secret in EVERY_SECRET if stands_in(secret, held)]


@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
def test_a_secret_is_found_however_it_is_written(before: str) -> None:
    for secret in EVERY_SECRET:
        for written in (secret, quote(secret), quote(quote(secret, safe=""), safe=""), repr([secret])):
            assert found_in(f"{before}{written}c") == [secret]
        assert found_in(base64.b64encode(f"{before}{secret}c".encode())) == [secret]
    assert found_in("hush+v3/secret") == []


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
    patient: Any = Redis(port=port, socket_timeout=None)  # without commands there is nothing to read, for however long
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
    done = subprocess.run(command, env=environ, cwd=made.folder, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


def streamstop(environ: Mapping[str, str], *arguments: str, code: int) -> str:
    """Return what our command line tells, where it ends with `code`."""
    command = [sys.executable, "-m", "streamstop", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **environ}, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
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
        said = {
            "Code": "SignatureDoesNotMatch" if number % 3 == 0 else f"Echo.{line.split()[1][-100:]}",
            "Message": line,
        }
        if number % 3 == 2:
            connection.send(request)
            return
        connection.answer(json.dumps({**said, "RequestId": ECHO.access_key_id}).encode(), status=b"400 Bad Request")


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
    outcomes = list(client.outcomes(jobs, timeout=60))
    assert len(outcomes) == len(jobs)
    made.redis.delete("streamstop.work.echo.live.StopMPUTask:pace")
    for number in range(3):  # each meets another of the echo's answers
        client.enqueue(operation_of(ECHO, f"again-{number}"), account=ECHO.name)
    running.await_line("RemoteProtocolError", timeout=30)


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
            "STREAMSTOP_CALL_TIMEOUT": "1",
        }
        made.simulator.settings(auto_start=True)
        made.simulator.add_accounts(at_vendors([replace(WRONG, access_key_secret="another")]))
        toml = accounts_toml([account for account in ACCOUNTS if account is not ECHO], made.simulator.url)
        made.accounts.write_text(toml + accounts_toml([ECHO], echo.origin))
        with Client(url) as client, listening(made.redis) as heard:
            running = made.start_worker("-l", "DEBUG", "-E", ready=False)
            running.await_line("@test ready.")
            for account in ACCOUNTS:
                made.await_account(account.name)
            all_goes_wrong(made, client, running)

            # Celery's own answers, of a worker that runs.
            told = [celery(made, "inspect", what) for what in ("conf", "report", "stats", "active", "registered")]
            assert all("w1@test" in one for one in told)

            # A callback that fails.
            shutdown = client.stop_room("room", [], callback=f"{made.simulator.url}/nowhere")
            shutdown.wait(30)
            running.await_line("the callback failed and is retried")

            # Stacks, as SIGUSR1 has Celery print them; and a file with mistakes, beside what it must not repeat.
            running.signal(signal.SIGUSR1)
            running.await_line("MainThread")
            for line in (f'acess_key_secret = "{MISTAKEN}"', f'access_key_secret = "{MISTAKEN}', f"{MISTAKEN}"):
                made.accounts.write_text(f'[accounts.a]\nvendor = "aliyun"\n{line}\n')
                said = running.text().count("the accounts file has an error and is not loaded")
                running.signal(signal.SIGHUP)
                await_more(running, "the accounts file has an error and is not loaded", said)
            told.append(running.text())
            running.stop()
        told += heard
        assert any("RemoteProtocolError" in command for command in heard)
        for event in ("task-received", "task-succeeded", "task-failed", "task-retried", "worker-online"):
            assert any(stands_in(event, command.encode()) for command in heard), event
        told += control_answers(made.simulator.url)
        told.append(everything_in(made.redis).decode(errors="surrogateescape"))
        assert running.text().count('"message": "you sent *** and ***"') >= 3
        assert {secret for one in told for secret in found_in(one)} == set()


def await_more(running: WorkerProcess, text: str, times: int) -> None:
    """Wait until the worker has written `text` more than `times` times."""
    eventually(lambda: running.text().count(text) > times, running.text)


@pytest.mark.parametrize("level", ["DEBUG", "WARNING"])
def test_what_is_wrong_at_the_start_is_said_without_a_secret(tmp_path: Path, level: str) -> None:
    environs = [
        {"STREAMSTOP_REDIS_URL": f"http://:{MISTAKEN}@localhost"},
        {"STREAMSTOP_REDIS_URL": f"redis://:{MISTAKEN}/@localhost:port"},
        {"STREAMSTOP_REDIS_URL": f"redis://localhost/0?password={MISTAKEN}"},
        {"STREAMSTOP_REDIS_URL": f"sentinel://:{quote(MISTAKEN, safe='')}@localhost:1"},
        {"STREAMSTOP_REDIS_URL": f"rediss://:{quote(MISTAKEN, safe='')}@localhost:1/0?ssl_cert_reqs=no"},
        {"STREAMSTOP_ACCOUNTS": str(tmp_path / "mistaken.toml")},
    ]
    (tmp_path / "mistaken.toml").write_text(
        f'[accounts.a]\nvendor = "aliyun"\naccess_key_secret = {{env = "{MISTAKEN}"}}'
    )
    for environ in environs:
        command = [sys.executable, "-m", "celery", "-A", "streamstop_worker", "worker", "-l", level]
        done = subprocess.run(
            command, env={**os.environ, **environ}, check=False, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert "streamstop: " in done.stderr
        assert found_in(done.stdout + done.stderr) == []


def test_the_command_line_says_what_is_wrong_without_a_secret(tmp_path: Path) -> None:
    lines = tmp_path / "tasks.jsonl"
    lines.write_text('{"operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t"}}\n')
    escaped = quote(MISTAKEN, safe="")
    with redis_server() as server:
        server.client().config_set("requirepass", PASSWORD)
        for url, code in (
            (f"redis://:{escaped}@127.0.0.1:{server.port}/0", 4),  # a wrong password
            (f"redis://:{escaped}@127.0.0.1:1/0", 4),  # nobody there
            (f"redis://:{MISTAKEN}@127.0.0.1:{server.port}/0", 2),  # not escaped
            (f"redis://127.0.0.1:{server.port}/0?password={escaped}", 2),
            (f"http://:{escaped}@127.0.0.1/0", 2),
        ):
            for arguments in (["stop", "--from", str(lines), "--account", "a"], ["job", "x"], ["room", "show", "r"]):
                told = streamstop({"STREAMSTOP_REDIS_URL": url, "STREAMSTOP_REDIS_TIMEOUT": "1"}, *arguments, code=code)
                assert told
                assert found_in(told) == []


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_an_exception_that_nobody_foresaw_is_logged_without_the_variables_of_its_frames(
    tmp_path: Path, log_format: str
) -> None:
    program = f"""
import logging, structlog
from streamstop_worker import telemetry
from streamstop_worker.accounts import Account

telemetry.set_up("DEBUG", {log_format!r})
secret = {MISTAKEN!r}
def fail(account, secret):
    raise RuntimeError("unforeseen")
for log in (structlog.get_logger("ours"), logging.getLogger("celery.worker")):
    try:
        fail(Account("a", "aliyun", "id", secret), secret)
    except RuntimeError:
        log.exception("it failed")
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stderr.count("RuntimeError: unforeseen") == 2
    assert found_in(done.stdout + done.stderr) == []

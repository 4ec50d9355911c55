"""The simulator over real sockets: faults of the connection, its control API, its client and its command."""

import http.client
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from click.testing import CliRunner

from streamstop.operations import GetMPUTaskStatus, Operation, StopMPUTask, StopStreamIngest
from streamstop_simulator import (
    ControlError,
    LaneSummary,
    Phase,
    SimulatorClient,
    TaskState,
    run_in_process,
    run_in_thread,
)
from streamstop_simulator.__main__ import main
from streamstop_simulator.sockets import Listener
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.polling import eventually

LIVE, OTHER, TRTC = DEFAULT_ACCOUNTS
STOP = StopMPUTask(app_id="app", task_id="t")
INGEST = StopStreamIngest(sdk_app_id=14, task_id="t")


@pytest.fixture(scope="module")
def running() -> Iterator[SimulatorClient]:
    with run_in_thread() as simulator:
        yield simulator


@pytest.fixture
def simulator(running: SimulatorClient) -> SimulatorClient:
    running.reset()
    return running


def connect(simulator: SimulatorClient) -> http.client.HTTPConnection:
    parts = urlsplit(simulator.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)


def call(
    simulator: SimulatorClient,
    account: Account = LIVE,
    operation: Operation = STOP,
    connection: http.client.HTTPConnection | None = None,
) -> tuple[int, bytes]:
    """Sign and send a call as the worker does; return the status and the body."""
    protocol = PROTOCOLS[account.vendor]
    at = replace(account, endpoint=simulator.url)
    request = protocol.build(operation, at, now=datetime.now(UTC), nonce=str(uuid4()))
    parts = urlsplit(request.url)
    own = connection or connect(simulator)
    try:
        own.request(request.method, f"{parts.path or '/'}?{parts.query}", request.body, request.headers)
        response = own.getresponse()
        return response.status, response.read()
    finally:
        if connection is None:
            own.close()


def exchange(simulator: SimulatorClient, sent: bytes) -> bytes:
    """Send raw bytes, and return all that comes until the server closes."""
    parts = urlsplit(simulator.url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def control(simulator: SimulatorClient, method: str, path: str, body: str | None = None) -> tuple[int, Any]:
    connection = connect(simulator)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_calls_of_both_vendors_are_served_on_one_connection(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [STOP])
    simulator.start_tasks(TRTC.name, [INGEST])
    connection = connect(simulator)

    assert call(simulator, LIVE, STOP, connection)[0] == 200
    first_socket = connection.sock
    status, body = call(simulator, TRTC, INGEST, connection)

    assert (status, list(json.loads(body)["Response"])) == (200, ["RequestId"])
    assert connection.sock is first_socket
    connection.close()


def test_a_call_that_is_read_late_counts_as_arrived_when_the_kernel_received_it() -> None:
    with (
        Listener(socket.AF_INET, ("127.0.0.1", 0), backlog=1) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as caller,
    ):
        select.select([listener], [], [], 10)
        connection, _ = listener.accept()
        with connection:

            def timestamped() -> bool:
                caller.sendall(b"first")
                assert connection.recv(100) == b"first"
                return bool(listener.received) or sys.platform != "linux"

            # The kernel may turn its timestamps on a moment after the socket asks for them.
            eventually(timestamped, "a timestamp of the kernel")
            caller.sendall(b"second")
            read_at = time.time() + 0.05
            while time.time() < read_at:
                pass
            assert connection.recv(100) == b"second"
            age = listener.age(connection.fileno())
            # Only Linux says when the kernel received bytes.
            assert (0.04 < age < 10) if sys.platform == "linux" else age == 0
            assert listener.age(connection.fileno(), now=lambda: read_at + 3600) == 0, "the clock was set forward"
            assert listener.age(connection.fileno(), now=lambda: read_at - 3600) == 0, "the clock was set back"
        assert listener.received == {}


def test_a_reset_is_a_reset(simulator: SimulatorClient) -> None:
    simulator.add_fault("reset")

    with pytest.raises(ConnectionResetError):
        call(simulator)


def test_half_a_body_is_cut_off_though_its_whole_length_was_announced(simulator: SimulatorClient) -> None:
    simulator.add_fault("half_body", when="after")
    simulator.start_tasks(LIVE.name, [STOP])

    with pytest.raises(http.client.IncompleteRead) as cut:
        call(simulator)

    assert cut.value.partial
    assert cut.value.expected
    assert [task.state for task in simulator.tasks()] == [TaskState.STOPPED]


def test_a_hang_lasts_until_the_caller_leaves(simulator: SimulatorClient) -> None:
    simulator.add_fault("hang")
    left = threading.Event()

    def patient() -> None:
        connection = connect(simulator)
        connection.timeout = 0.2
        with pytest.raises(TimeoutError):
            call(simulator, connection=connection)
        connection.close()
        left.set()

    caller = threading.Thread(target=patient)
    caller.start()
    (seen,) = simulator.wait_for_calls(1)

    assert seen.answer == "hang"
    assert left.wait(10)
    caller.join()


def test_latency_passes_before_the_answer(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True)
    simulator.add_fault("latency", latency=timedelta(milliseconds=150))
    before = datetime.now(UTC)

    assert call(simulator)[0] == 200

    assert datetime.now(UTC) - before >= timedelta(milliseconds=150)


def test_an_html_page_is_no_json(simulator: SimulatorClient) -> None:
    simulator.add_fault("html")

    status, body = call(simulator)

    assert (status, body[:6]) == (502, b"<html>")


def test_bytes_that_are_no_http_are_told_so(simulator: SimulatorClient) -> None:
    assert exchange(simulator, b"hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_caller_that_leaves_in_the_middle_harms_nobody(simulator: SimulatorClient) -> None:
    parts = urlsplit(simulator.url)
    for sent in (b"", b"POST / HTTP/1.1\r\nhost: x\r\n", b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nab"):
        with socket.create_connection((parts.hostname, parts.port or 0)) as connection:
            connection.sendall(sent)

    assert simulator.summary().calls == 0


def test_a_caller_that_waits_for_100_continue_gets_it(simulator: SimulatorClient) -> None:
    head = b"PUT /_control/settings HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n"
    parts = urlsplit(simulator.url)
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=10) as connection:
        connection.sendall(head + b"connection: close\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")


def test_what_is_neither_a_vendors_call_nor_control_is_404(simulator: SimulatorClient) -> None:
    assert control(simulator, "GET", "/")[0] == 404
    status, reply = control(simulator, "GET", "/_control/nothing")
    assert (status, reply["error"]) == (404, "no GET /_control/nothing; GET /_control/ lists the routes")


def test_the_control_api_tells_what_there_is(simulator: SimulatorClient) -> None:
    status, reply = control(simulator, "GET", "/_control/")

    assert status == 200
    assert "POST /_control/tasks" in reply["routes"]


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("POST", "tasks", "no json"),
        ("POST", "tasks", '{"account": "nobody", "operation": "live.StopMPUTask", "params": {}}'),
        ("POST", "tasks", '{"account": "demo-aliyun-1", "operation": "live.Stop", "params": {}}'),
        ("POST", "tasks", '{"account": "demo-aliyun-1", "operation": "live.StopMPUTask", "params": {}}'),
        ("POST", "faults", '{"fault": "flood"}'),
        ("PUT", "settings", '{"patience": 1}'),
        ("PUT", "limits", '[{"account": "demo-aliyun-1", "operation": "live.Stop", "limit": 1}]'),
        ("PUT", "accounts", '[{"name": "x", "vendor": "nobody", "access_key_id": "a", "access_key_secret": "b"}]'),
        ("GET", "calls?since=soon", None),
    ],
)
def test_a_wrong_control_request_is_told_what_is_wrong(
    simulator: SimulatorClient, method: str, name: str, body: str | None
) -> None:
    status, reply = control(simulator, method, f"/_control/{name}", body)

    assert status == 400
    assert reply["error"]


def test_nothing_is_started_where_one_of_several_tasks_is_wrong(simulator: SimulatorClient) -> None:
    good = {"account": LIVE.name, "operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t"}}
    bad = good | {"params": {"AppId": "a"}}

    assert control(simulator, "POST", "/_control/tasks", json.dumps([good, bad]))[0] == 400

    assert simulator.tasks() == []


def test_the_client_starts_and_tells_tasks(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [STOP], ends_after=timedelta(0))
    simulator.start_tasks(TRTC.name, [INGEST], ignores_stops=True, phase=Phase.WAITING)

    (ended,) = simulator.tasks(LIVE.name)
    (running,) = simulator.tasks(state=TaskState.RUNNING)

    assert (ended.state, ended.params) == (TaskState.ENDED, {"AppId": "app", "TaskId": "t"})
    assert (running.account, running.phase, running.ignores_stops) == (TRTC.name, Phase.WAITING, True)
    simulator.forget_tasks()
    assert simulator.tasks() == []


def test_the_client_tells_calls_and_counts(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True)
    simulator.set_limit(LIVE.name, STOP.spec.id, 0.01)
    for operation in (STOP, STOP, GetMPUTaskStatus(app_id="app", task_id="t")):
        call(simulator, LIVE, operation)
    call(simulator, replace(OTHER, access_key_secret="wrong"))

    calls = simulator.calls()

    assert [(c.account, c.operation, c.answer, c.over_limit) for c in calls] == [
        (LIVE.name, "live.StopMPUTask", "ok", False),
        (LIVE.name, "live.StopMPUTask", "Throttling.User", True),
        (LIVE.name, "live.GetMPUTaskStatus", "ok", False),
        (OTHER.name, "live.StopMPUTask", "SignatureDoesNotMatch", False),
    ]
    assert calls[0].params == {"AppId": "app", "TaskId": "t"}
    assert simulator.calls(operation="live.GetMPUTaskStatus") == [calls[2]]
    assert simulator.calls(OTHER.name) == [calls[3]]
    assert simulator.calls(since=calls[2].index) == calls[2:]
    summary = simulator.summary()
    assert (summary.calls, summary.over_limit, summary.refusals) == (3, 1, {"SignatureDoesNotMatch": 1})
    lane = summary.lanes[LIVE.name, "live.StopMPUTask"]
    assert lane == LaneSummary(
        account=LIVE.name,
        operation="live.StopMPUTask",
        limit=0.01,
        calls=2,
        ok=1,
        throttled=1,
        over_limit=1,
        most_in_a_second=lane.most_in_a_second,
        first_at=calls[0].arrived_at,
        last_at=calls[1].arrived_at,
        answers={"ok": 1, "Throttling.User": 1},
    )
    simulator.forget_calls()
    assert simulator.calls() == []
    assert simulator.summary().lanes == {}


def test_many_calls_are_told_a_page_at_a_time(simulator: SimulatorClient) -> None:
    connection = connect(simulator)
    for _ in range(5):
        call(simulator, connection=connection)
    connection.close()

    _, first = control(simulator, "GET", "/_control/calls?limit=3")
    _, second = control(simulator, "GET", f"/_control/calls?limit=3&since={first['next']}")

    assert [len(page["calls"]) for page in (first, second)] == [3, 2]
    assert (first["complete"], second["complete"]) == (False, True)


def test_waiting_for_calls_ends_with_the_call_or_with_the_time(simulator: SimulatorClient) -> None:
    caller = threading.Timer(0.05, call, [simulator])
    caller.start()

    assert len(simulator.wait_for_calls(1, LIVE.name)) == 1
    caller.join()
    with pytest.raises(TimeoutError, match="1 calls of 2"):
        simulator.wait_for_calls(2, timeout=timedelta(milliseconds=20))


def test_an_account_that_is_added_may_call_at_once_under_limits_of_its_own(simulator: SimulatorClient) -> None:
    added = Account("added", "aliyun", "added-key", "added-secret", "token", limits={STOP.spec.id: 0.01})
    assert b"InvalidAccessKeyId.NotFound" in call(simulator, added)[1]

    simulator.add_accounts(at_vendors([added]))

    assert b"InvalidTask.NotFound" in call(simulator, added)[1]
    assert b"Throttling.User" in call(simulator, added)[1]
    _, told = control(simulator, "GET", "/_control/accounts")
    assert {"name": "added", "vendor": "aliyun", "access_key_id": "added-key"} in told["accounts"]
    assert "added-secret" not in json.dumps(told)


def test_faults_can_be_told_and_cleared(simulator: SimulatorClient) -> None:
    simulator.add_fault("code", code="Forbidden.RAM", task={"TaskId": "t"}, times=2)
    assert b"Forbidden.RAM" in call(simulator)[1]

    (rule,) = simulator.faults()
    assert (rule["fault"], rule["met"], rule["remaining"]) == ("code", 1, 1)

    simulator.clear_faults()
    assert simulator.faults() == []
    assert b"InvalidTask.NotFound" in call(simulator)[1]


def test_settings_that_are_not_named_stay(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True)

    assert simulator.settings(retry_after_ms=5).auto_start is True
    assert control(simulator, "GET", "/_control/settings")[1]["retry_after_ms"] == 5


def test_what_the_simulator_does_not_take_is_an_error_of_the_client(simulator: SimulatorClient) -> None:
    with pytest.raises(ControlError, match="nobody"):
        simulator.start_tasks("nobody", [STOP])
    with pytest.raises(ValueError, match="needs a code"):
        simulator.add_fault("code")


def test_a_port_that_is_taken_is_an_error_at_the_start(simulator: SimulatorClient) -> None:
    with pytest.raises(OSError, match="Address already in use"), run_in_thread(port=urlsplit(simulator.url).port or 0):
        pass


def test_the_simulator_ends_though_a_caller_holds_its_connection() -> None:
    with run_in_thread() as simulator:
        idle = connect(simulator)
        idle.connect()
        call(simulator)
    assert idle.sock.recv(1) == b""
    idle.close()


def test_the_command_serves_the_accounts_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_SECRET", "own-secret")
    accounts = tmp_path / "accounts.toml"
    accounts.write_text("""
        [accounts.own]
        vendor = "aliyun"
        access_key_id = "own-key"
        access_key_secret = { env = "OWN_SECRET" }
    """)

    with run_in_process(accounts_file=accounts) as simulator:
        own = Account("own", "aliyun", "own-key", "own-secret")
        assert b"InvalidTask.NotFound" in call(simulator, own)[1]
        assert b"InvalidAccessKeyId.NotFound" in call(simulator, LIVE)[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_listens_and_ends_cleanly_on_a_signal(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "streamstop_simulator", "--port", "0", "--auto-start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("simulator on http://127.0.0.1:")
        simulator = SimulatorClient(line.removeprefix("simulator on ").strip())
        assert call(simulator)[0] == 200

        process.send_signal(number)
        _, complaints = process.communicate(timeout=10)

    assert (process.returncode, complaints) == (0, "")


def test_the_command_says_in_a_sentence_why_it_cannot_start(simulator: SimulatorClient, tmp_path: Path) -> None:
    taken = CliRunner().invoke(main, ["--port", str(urlsplit(simulator.url).port)])
    assert (taken.exit_code, "cannot listen on" in taken.output) == (1, True)

    wrong = tmp_path / "accounts.toml"
    wrong.write_text("[accounts]")
    mistaken = CliRunner().invoke(main, ["--accounts", str(wrong)])
    assert mistaken.exit_code == 1
    assert "accounts.toml" in mistaken.output


def test_the_commands_help_shows_examples() -> None:
    shown = CliRunner().invoke(main, ["--help"])

    assert shown.exit_code == 0
    assert "streamstop-simulator --port 8099\n" in shown.output
    assert "demo-aliyun-1" in shown.output

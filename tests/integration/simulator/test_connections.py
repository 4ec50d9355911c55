"""The simulator over real sockets: served calls, and faults of the connection."""

import http.client
import json
import select
import socket
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from streamstop_simulator import (
    SimulatorClient,
    TaskState,
)
from streamstop_simulator.sockets import Listener
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.simulator_calls import INGEST, LIVE, STOP, TRTC, call, connect, control, exchange


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
        socket.create_connection(listener.getsockname(), timeout=TIMEOUT_S) as caller,
    ):
        select.select([listener], [], [], TIMEOUT_S)
        with listener.next_connection() as connection:
            connection.settimeout(TIMEOUT_S)

            def timestamped() -> bool:
                caller.sendall(b"first")
                assert connection.recv(100) == b"first"
                return connection.received is not None or sys.platform != "linux"

            # The kernel may turn its timestamps on a moment after the socket asks for them.
            eventually(timestamped, "a timestamp of the kernel")
            caller.sendall(b"second")
            read_at = time.time() + 0.05
            while time.time() < read_at:
                pass
            assert connection.recv(100) == b"second"
            age = connection.age()
            # Only Linux says when the kernel received bytes.
            assert (0.04 < age < TIMEOUT_S) if sys.platform == "linux" else age == 0
            assert connection.age(now=lambda: read_at + 3600) == 0, "the clock was set forward"
            assert connection.age(now=lambda: read_at - 3600) == 0, "the clock was set back"


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
    assert left.wait(TIMEOUT_S)
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
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=TIMEOUT_S) as connection:
        connection.sendall(head + b"connection: close\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"{}")
        assert connection.recv(1024).startswith(b"HTTP/1.1 200 ")


def test_a_path_that_is_neither_a_vendors_nor_control_is_404(simulator: SimulatorClient) -> None:
    assert control(simulator, "GET", "/")[0] == 404
    status, reply = control(simulator, "GET", "/_control/nothing")
    assert (status, reply["error"]) == (404, "no GET /_control/nothing; GET /_control/ lists the routes")

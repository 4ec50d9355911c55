"""Calls to a simulator over a socket: signed ones, raw bytes, and its control API."""

import http.client
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from streamstop.operations import Operation, StopMPUTask, StopStreamIngest
from streamstop_simulator import (
    SimulatorClient,
)
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from tests.support.accounts import DEFAULT_ACCOUNTS
from tests.support.polling import TIMEOUT_S

LIVE, OTHER, TRTC = DEFAULT_ACCOUNTS
STOP = StopMPUTask(app_id="app", task_id="t")
INGEST = StopStreamIngest(sdk_app_id=14, task_id="t")


def connect(simulator: SimulatorClient) -> http.client.HTTPConnection:
    parts = urlsplit(simulator.url)
    return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)


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
    with socket.create_connection((parts.hostname, parts.port or 0), timeout=TIMEOUT_S) as connection:
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

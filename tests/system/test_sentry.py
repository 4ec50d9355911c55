"""Sentry over real processes: a service, a worker, and all of Sentry's integrations beside ours."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamstop.operations import StopMPUTask
from streamstop_simulator.faults import FaultKind
from tests.support.executable import environ
from tests.support.polling import eventually
from tests.support.traced_process import sentry_environ, spans_in
from tests.support.world import ALIYUN, world

pytestmark = pytest.mark.long

SERVICE = f"""
import sentry_sdk
from streamstop import Client
from streamstop.operations import StopMPUTask

with Client() as client, sentry_sdk.start_transaction(op="http.server", name="request"):
    print(client.enqueue(StopMPUTask(app_id="app", task_id="one"), account="{ALIYUN}").outcome(timeout=60).result)
with Client() as client:
    for task in ("two", "three"):
        print(client.enqueue(StopMPUTask(app_id="app", task_id=task), account="{ALIYUN}").outcome(timeout=60).result)
"""


def test_a_service_and_its_jobs_are_one_trace_and_the_same_refusal_is_one_event(tmp_path: Path) -> None:
    with world(tmp_path, environ=sentry_environ(tmp_path)) as made:
        made.await_account(ALIYUN)
        made.simulator.start_tasks(ALIYUN, [StopMPUTask(app_id="app", task_id="one")])
        for task in ("two", "three"):
            made.simulator.add_fault(FaultKind.CODE, code="Forbidden.RAM", task={"AppId": "app", "TaskId": task})
        surroundings = {**environ(made.server.url), **made.environ}
        command = [sys.executable, "-c", SERVICE]
        ran = subprocess.run(command, check=False, env=surroundings, capture_output=True, text=True, timeout=180)
        assert (ran.returncode, ran.stdout.split()) == (0, ["stopped", "refused", "refused"]), ran.stderr
        eventually(lambda: len(processed(spans_in(tmp_path))) == 3, "the worker's transactions have ended")
        items = spans_in(tmp_path)
    (request,) = [item for item in items if item.get("transaction") == "request" and item["type"] == "transaction"]
    assert {span["op"] for span in request["spans"]} >= {"queue.publish"}
    traces = [item["contexts"]["trace"] for item in processed(items)]
    assert [trace["status"] for trace in traces] == ["ok", "internal_error", "internal_error"]
    assert traces[0]["trace_id"] == request["contexts"]["trace"]["trace_id"]
    calls = [
        [span["description"] for span in item["spans"] if span["op"] == "http.client"] for item in processed(items)
    ]
    assert calls == [["StopMPUTask"]] * 3, "aiohttp's integration adds none"
    (event,) = [item for item in items if item.get("type") != "transaction"]
    assert event["fingerprint"][:4] == ["streamstop", "refused", ALIYUN, "live.StopMPUTask"]
    assert event["contexts"]["trace"]["trace_id"] == traces[1]["trace_id"]


def processed(items: Any) -> list[Mapping[str, Any]]:
    """Return the transactions of jobs. A busy machine can be late for a slot; that delivery is `aborted`."""
    own = (item for item in items if str(item.get("transaction")).startswith("process ") and "spans" in item)
    return [item for item in own if item["contexts"]["trace"]["status"] != "aborted"]

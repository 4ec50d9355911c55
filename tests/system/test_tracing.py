"""One trace from a service to the vendor, over real processes with OpenTelemetry's SDK and instrumentations."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from streamstop._redis.rooms import CONTROL
from streamstop.operations import StopMPUTask
from tests.support.executable import environ
from tests.support.polling import eventually
from tests.support.traced_process import spans_in, traced_environ
from tests.support.world import ALIYUN, World, world

pytestmark = pytest.mark.long

SERVICE = f"""
from opentelemetry import trace
from streamstop import Client
from streamstop.operations import StopMPUTask

def stop(task):
    return StopMPUTask(app_id="app", task_id=task)

with Client() as client, trace.get_tracer("service").start_as_current_span("request"):
    client.enqueue(stop("one"), account="{ALIYUN}").outcome(timeout=60)
with Client() as client, trace.get_tracer("service").start_as_current_span("closing"):
    for number in range(2):
        client.register("room", stop(f"in-room-{{number}}"), account="{ALIYUN}")
    print(client.stop_room("room").wait(timeout=60).status)
"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("traced")
    with world(folder, environ=traced_environ(folder)) as made:
        made.await_account(ALIYUN)
        yield made


@pytest.fixture(scope="module")
def spans(traced: World) -> Sequence[Mapping[str, Any]]:
    """Return all spans of a service that stops a task and a room, and of the worker."""
    stops = [StopMPUTask(app_id="app", task_id=task) for task in ("one", "in-room-0", "in-room-1")]
    traced.simulator.start_tasks(ALIYUN, stops)
    surroundings = {**environ(traced.server.url), **traced.environ}
    ran = subprocess.run(
        [sys.executable, "-c", SERVICE], check=False, env=surroundings, capture_output=True, text=True, timeout=180
    )
    assert (ran.returncode, ran.stdout) == (0, "done\n"), ran.stderr
    # The worker ends the span of a job after Redis has its outcome.
    eventually(lambda: len(named(ended(traced.folder), "process")) >= 4, "the worker's spans have ended")
    return ended(traced.folder)


def ended(folder: Path) -> Sequence[Mapping[str, Any]]:
    """Return the spans, without those of jobs that were late for their slots on a busy machine and returned."""
    return [span for span in spans_in(folder) if span["attributes"].get("streamstop.result") != "given back"]


def named(spans: Sequence[Mapping[str, Any]], start: str) -> list[Mapping[str, Any]]:
    return [span for span in spans if span["name"].startswith(start)]


def trace_of(span: Mapping[str, Any]) -> str:
    return str(span["context"]["trace_id"])


def test_the_service_its_job_and_the_call_are_one_trace(spans: Sequence[Mapping[str, Any]]) -> None:
    (request,) = named(spans, "request")
    own = [span for span in spans if trace_of(span) == trace_of(request)]
    names = [span["name"] for span in sorted(own, key=lambda span: span["start_time"])]
    lane = f"streamstop.lane.{ALIYUN}.live.StopMPUTask"
    assert names == ["request", f"send {lane}", f"process {lane}", "StopMPUTask"]
    by_id = {span["context"]["span_id"]: span["name"] for span in own}
    assert {span["name"]: by_id.get(span["parent_id"]) for span in own} == dict(
        zip(names, [None, *names], strict=False)
    )
    kinds = {span["kind"].removeprefix("SpanKind.") for span in own}
    assert kinds == {"INTERNAL", "PRODUCER", "CONSUMER", "CLIENT"}


def test_the_jobs_of_a_shutdown_have_traces_of_their_own_that_link_to_it(spans: Sequence[Mapping[str, Any]]) -> None:
    (send,) = named(spans, "send streamstop.shutdown")
    (fan_out,) = named(spans, f"process {CONTROL.queue}")
    assert trace_of(fan_out) == trace_of(send)
    jobs = [span for span in named(spans, "process") if span["links"]]
    assert len(jobs) == 2
    assert len({trace_of(span) for span in jobs} | {trace_of(send)}) == 3
    for job in jobs:
        assert [link["context"]["span_id"] for link in job["links"]] == [send["context"]["span_id"]]
        assert job["attributes"]["messaging.message.id"].endswith(trace_of(job).removeprefix("0x"))
        assert [span["name"] for span in spans if trace_of(span) == trace_of(job)] == ["StopMPUTask", job["name"]]


def test_no_span_is_doubled_and_none_shows_the_signed_request(
    spans: Sequence[Mapping[str, Any]], traced: World
) -> None:
    assert len(named(spans, "process")) == 4, "three jobs and the fan-out"
    assert len(named(spans, "StopMPUTask")) == 3
    assert named(spans, "run/") == [], "Celery's instrumentation is disconnected in the worker"
    assert named(spans, "POST") + named(spans, "GET") == [], "aiohttp's instrumentation is disconnected from the calls"
    assert "Signature" not in (traced.folder / "spans.jsonl").read_text()
    names = {span["name"].partition(" ")[0] for span in spans}
    assert names == {"request", "closing", "send", "process", "StopMPUTask"}, "the sweep and the heartbeat make none"


def test_the_log_lines_name_the_spans(spans: Sequence[Mapping[str, Any]], traced: World) -> None:
    lines = [line for line in traced.workers[0].lines() if line["event"] == "stopped"]
    written = {(f"0x{line['trace_id']}", f"0x{line['span_id']}") for line in lines}
    jobs = [span for span in named(spans, "process") if ".live." in span["name"]]
    assert written == {(trace_of(span), span["context"]["span_id"]) for span in jobs}
    assert len(written) == 3

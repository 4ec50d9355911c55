"""Sentry: the events and transactions of a worker and the headers of a producer, with a transport that records."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sentry_sdk
import structlog
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from streamstop import Command
from streamstop._tracing import sending
from streamstop._wire.messages import celery_message
from streamstop_worker.observing import is_sentry_set_up, observe, reports
from streamstop_worker.observing.sentry import Reports, Transactions
from streamstop_worker.pipeline.deliveries import Delivery
from streamstop_worker.settings import WorkerSettings
from tests.support.pipeline import STOP, Pipeline, fault

COMMAND = Command(operation=STOP, account="live-cn")
REFUSED = {
    "event": "refused",
    "level": "warning",
    "logger": "streamstop",
    "account": "live-cn",
    "operation": "live.StopMPUTask",
    "code": "Forbidden.RAM",
    "job_id": "j",
}


class Sent(Transport):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.items += [json.loads(item.get_bytes()) for item in envelope.items if item.type in {"event", "transaction"}]

    @property
    def transactions(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item.get("type") == "transaction"]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [item for item in self.items if item.get("type") != "transaction"]


@pytest.fixture
def sent() -> Iterator[Sent]:
    """Initialise Sentry without integrations, which would change libraries for the tests after this one."""
    transport = Sent()
    options: Any = {"default_integrations": False, "auto_enabling_integrations": False, "traces_sample_rate": 1.0}
    with sentry_sdk.isolation_scope():
        sentry_sdk.init("https://key@sentry.invalid/1", transport=transport, **options)
        yield transport
        sentry_sdk.get_client().close()
        sentry_sdk.get_global_scope().set_client(None)


def publish(bench: Pipeline) -> Delivery:
    """Enqueue a job from inside a transaction of a service, and take it."""
    lane, job_id = COMMAND.lane, COMMAND.lane.new_job_id()
    with sentry_sdk.start_transaction(op="http.server", name="request"), sending([lane.queue], job_id) as traced:
        argument = COMMAND.to_message(now=datetime.now(UTC))
        bench.push(lane, celery_message(job_id, lane, argument, headers=traced.headers))
    return bench.take_of(lane)


def test_producer_and_worker_are_in_one_trace_and_a_job_that_ended_well_is_ok(bench: Pipeline, sent: Sent) -> None:
    bench.executor = replace(bench.executor, observer=Transactions())
    bench.execute(publish(bench))
    request, process = sent.transactions
    assert (request["transaction"], process["transaction"]) == ("request", f"process {COMMAND.lane.queue}")
    (publishing,) = request["spans"]
    assert publishing["op"] == "queue.publish"
    ours, theirs = process["contexts"]["trace"], request["contexts"]["trace"]
    assert (ours["trace_id"], ours["parent_span_id"]) == (theirs["trace_id"], publishing["span_id"])
    assert (ours["op"], ours["status"]) == ("queue.process", "ok")
    assert ours["data"]["messaging.message.receive.latency"] >= 0
    (call,) = process["spans"]
    assert (call["op"], call["description"], call["data"]["http.response.status_code"]) == (
        "http.client",
        "StopMPUTask",
        200,
    )
    assert sent.events == []


def test_a_deferred_and_a_refused_delivery_are_not_ok(bench: Pipeline, sent: Sent) -> None:
    bench.executor = replace(bench.executor, observer=Transactions())
    bench.answers = [fault("InternalError"), fault("Forbidden.RAM", 403)]
    delivery = publish(bench)
    bench.execute(delivery)
    bench.execute(bench.again(delivery))
    traces = [one["contexts"]["trace"] for one in sent.transactions]
    assert [trace["status"] for trace in traces[1:]] == ["aborted", "internal_error"]
    assert len({trace["trace_id"] for trace in traces}) == 1


@pytest.mark.parametrize("inner", [5, "text", ["x"], {"sentry-trace": 7, "baggage": None}, {"sentry-trace": "junk"}])
def test_any_headers_of_a_foreign_message_harm_nothing(bench: Pipeline, sent: Sent, inner: object) -> None:
    bench.executor = replace(bench.executor, observer=Transactions())
    message = celery_message(
        "by-hand", COMMAND.lane, COMMAND.to_message(now=datetime.now(UTC)), headers={"headers": inner}
    )
    bench.push(COMMAND.lane, message)
    bench.execute(bench.take_of(COMMAND.lane))
    (process,) = sent.transactions
    assert process["contexts"]["trace"]["status"] == "ok"


def test_the_same_is_reported_once_an_hour(sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("streamstop_worker.observing.sentry.time.monotonic", lambda: now[0])
    report = Reports()
    for line in (REFUSED, {**REFUSED, "job_id": "k"}, {**REFUSED, "code": "Other"}, {**REFUSED, "account": "eu"}):
        report(line)
    assert [event["message"] for event in sent.events] == [
        "refused live-cn live.StopMPUTask Forbidden.RAM",
        "refused live-cn live.StopMPUTask Other",
        "refused eu live.StopMPUTask Forbidden.RAM",
    ]
    first = sent.events[0]
    assert first["fingerprint"][:5] == ["streamstop", "refused", "live-cn", "live.StopMPUTask", "Forbidden.RAM"]
    assert first["tags"]["streamstop.code"] == "Forbidden.RAM"
    assert (first["level"], first["contexts"]["streamstop"]["job_id"]) == ("error", "j")
    now[0] += 3599
    report(REFUSED)
    assert len(sent.events) == 3
    now[0] += 1
    report(REFUSED)
    assert len(sent.events) == 4


def test_errors_and_chosen_warnings_are_reported_and_a_bug_with_its_traceback(sent: Sent) -> None:
    report = Reports()
    error = ValueError("broken")
    held = {"event": "the vendor refuses the account's key: its jobs wait", "level": "error", "account": "live-cn"}
    for line in (
        {**REFUSED, "event": "not_found"},
        {**REFUSED, "event": "throttled: the lane rests"},
        {**REFUSED, "event": "gave_up"},
        {**REFUSED, "event": "the lane is failing and rests"},
        held,
        {**REFUSED, "event": "this is a bug in streamstop", "level": "error", "bug": "ValueError", "exc_info": error},
    ):
        report(line)
    gave_up, failing, account, bug = sent.events
    assert gave_up["message"].startswith("gave_up ")
    assert failing["message"].startswith("the lane is failing and rests ")
    assert account["message"] == "the vendor refuses the account's key: its jobs wait live-cn"
    assert bug["exception"]["values"][0]["type"] == "ValueError"


def test_a_dsn_in_the_environment_initialises_sentry_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(sentry_sdk, "init", lambda: calls.append("init"))
    monkeypatch.delenv("SENTRY_DSN", raising=False)
    assert not is_sentry_set_up()
    assert (calls, reports()) == ([], None)
    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry.invalid/1")
    is_sentry_set_up()
    assert calls == ["init"]


def test_a_dsn_without_the_extra_is_a_warning_at_the_start(bench: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamstop_worker.observing.find_spec", lambda _name: None)
    settings = WorkerSettings.from_environ({})
    for dsn, warned in (("", []), ("https://key@sentry.invalid/1", ["warning"])):
        monkeypatch.setenv("SENTRY_DSN", dsn)
        with structlog.testing.capture_logs() as lines:
            observe(settings, bench.slots)
        assert [line["log_level"] for line in lines] == warned
    (line,) = lines
    assert line["event"] == "errors are not reported: SENTRY_DSN needs the extra sentry"
    assert line["do"] == "pip install 'streamstop[worker,sentry]'"
    assert "key@" not in str(line)


def test_a_process_that_has_initialised_sentry_is_not_initialised_again(
    sent: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentry_sdk, "init", pytest.fail)
    monkeypatch.setenv("SENTRY_DSN", "https://key@sentry.invalid/1")
    assert is_sentry_set_up()
    assert isinstance(reports(), Reports)

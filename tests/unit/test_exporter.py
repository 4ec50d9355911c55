"""The facts of Redis as metrics: names, labels and values, and the server that gives them to Prometheus."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from streamstop import Command, InternalError, NotCancellable, QueueUnavailable
from streamstop.exporter import Exporter, serving
from streamstop.operations import StopMPUTask
from streamstop.testing import RecordingClient
from streamstop_worker.observing.metrics import Metrics
from tests.support.polling import eventually

ROOT = Path(__file__).parents[2]
LANE = {"account": "live-cn", "operation": "live.StopMPUTask"}


def stop(task: str) -> Command:
    return Command(operation=StopMPUTask(app_id="a", task_id=task), account="live-cn")


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return the value of each sample, by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_lanes_letters_and_shutdowns_are_gauges() -> None:
    client = RecordingClient(leave_open=True)
    jobs = client.enqueue_many([stop("a"), stop("b")])
    client.answer(lambda command: command == stop("b"), result="refused", code="Forbidden.RAM")
    client.end(jobs[1])
    client.stop_room("room", [stop("c")])
    found = samples(Exporter(client).text())
    lane = frozenset(LANE.items())
    assert found["streamstop_redis_up", frozenset()] == 1
    assert found["streamstop_lane_waiting", lane] == 2
    for state in ("resting", "failing", "held", "paused"):
        assert found[f"streamstop_lane_{state}", lane] == 0
    letters = {
        dict(labels)["result"]: value for (name, labels), value in found.items() if name.endswith("dead_letters")
    }
    assert letters == {
        "refused": 1, "not_found": 0, "gave_up": 0, "expired": 0, "not_verified": 0, "unreadable": 0
    }  # fmt: skip
    assert found["streamstop_shutdowns_open", frozenset()] == 1


def test_jobs_that_are_cancelled_while_they_wait_are_counted_however_that_happens() -> None:
    client = RecordingClient(leave_open=True)
    jobs = client.enqueue_many([stop("a"), stop("b"), stop("c")])
    jobs[0].cancel()
    client.end(jobs[1])
    with pytest.raises(NotCancellable):
        jobs[1].cancel()
    assert client.drain("live-cn").jobs == 1
    client.stop_room("room", [stop("d"), stop("e")]).cancel()
    found = samples(Exporter(client).text())
    assert found["streamstop_jobs_cancelled_total", frozenset(LANE.items())] == 4


def test_a_redis_that_does_not_answer_is_a_metric() -> None:
    client = RecordingClient()
    client.fail_with(QueueUnavailable("connection refused"))
    found = samples(Exporter(client).text())
    assert found.pop(("streamstop_exporter_read_seconds", frozenset())) >= 0
    assert found == {("streamstop_redis_up", frozenset()): 0}


def test_after_a_bug_in_a_read_no_old_metric_is_served(capfd: pytest.CaptureFixture[str]) -> None:
    client = RecordingClient()
    exporter = Exporter(client)
    with serving(exporter, "127.0.0.1", 0, every_s=0.01) as port:

        def scraped() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                return str(answer.read().decode())

        assert "streamstop_redis_up 1.0" in scraped()
        client.fail_with(InternalError("a key has another type"))
        eventually(lambda: scraped() == "", "the metrics of before are gone")
        client.fail_with(None)
        eventually(lambda: "streamstop_redis_up 1.0" in scraped(), "the exporter reads again")
    assert "a key has another type" in capfd.readouterr().err


def test_prometheus_gets_what_was_read_last() -> None:
    client = RecordingClient(leave_open=True)
    client.enqueue_many([stop("a")])
    with serving(Exporter(client), "127.0.0.1", 0, every_s=3600) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert samples(answer.read().decode())["streamstop_lane_waiting", frozenset(LANE.items())] == 1
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/other")
        with pytest.raises(OSError, match="in use"), serving(Exporter(client), "127.0.0.1", port):
            pytest.fail("two servers have one port")


def test_alerts_and_dashboard_use_only_metrics_that_are_exported() -> None:
    client = RecordingClient(leave_open=True)
    client.enqueue_many([stop("a")])
    exported = {family.name for family in Exporter(client).collect()}
    exported |= {family.name for family in Metrics(1, lambda: 0).registry.collect()}
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/streamstop.json").read_text())
    queries = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    queries += [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    queries += [one["query"] for one in dashboard["templating"]["list"]]
    named = set(re.findall(r"streamstop_[a-z_]+", "\n".join(queries)))
    assert len(named) > 15
    assert {re.sub(r"_(total|bucket)$", "", name) for name in named} <= exported

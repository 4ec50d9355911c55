"""``streamstop workers``: its page, its JSON, and the workers of a recording client."""

import asyncio
import json

import pytest
from click.testing import CliRunner

from streamstop import WorkerState, WorkerView
from streamstop._core.workers import LimitDifference
from streamstop.cli import main
from streamstop.cli.worker_output import workers_page
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.signs_of_life import STOP, worker_view


def test_the_page_of_workers_fits_and_names_what_is_wrong() -> None:
    difference = LimitDifference(account="live-cn", operation=STOP, limits={"w2@h": 4, "w1@h": 8})
    long = "celery@streamstop-worker-6d9f7c8b5-x2x4v.production.svc.cluster.local"
    accounts = [f"live-{number}" for number in range(40)]
    views = [
        worker_view("w1@h", differences=[difference]),
        worker_view("w2@h", differences=[difference], state=WorkerState.LOST, problem="no sign of life for 42 s"),
        worker_view(long, accounts=accounts),
    ]
    lines = list(workers_page(views))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["NAME", "HOST", "VERSION", "BUSY", "UP", "SEEN", "ACCOUNTS"]
    assert lines[1].split() == ["w1", "h", "1.2.3", "3/256", "60", "min", "1", "s", "ago", "1:", "live-cn"]
    assert "40: live-" in lines[3]
    assert lines[4:] == [
        "w2@h is lost: no sign of life for 42 s",
        "the workers' files have different limits for 1 lane (calls/s):",
        f"  live-cn {STOP}: 8 in w1@h, 4 in w2@h",
    ]


def test_without_a_worker_the_page_says_how_to_start_one() -> None:
    assert list(workers_page([])) == ["no worker runs; start one with: celery -A streamstop_worker worker"]


def test_a_hostile_name_does_not_reach_the_terminal() -> None:
    (_, line, problem) = workers_page([worker_view("w\x1b[2J@h", state=WorkerState.STUCK, problem="x\x07")])
    assert "\x1b" not in line + problem
    assert "\x07" not in problem


def test_a_recording_client_has_one_worker_or_those_of_the_test() -> None:
    assert RecordingClient().workers() == []
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    (only,) = recording.workers()
    assert (list(only.accounts), only.is_well) == (["live-cn"], True)
    lost: WorkerView = worker_view("w1@h", state=WorkerState.LOST)
    recording.set_workers([lost])
    assert recording.workers() == asyncio.run(RecordingAsyncClient(recording).workers()) == [lost]


def test_the_command_prints_one_worker_a_line_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    views = [worker_view("w1@h"), worker_view("w2@h")]
    recording = RecordingClient()
    recording.set_workers(views)
    monkeypatch.setattr("streamstop.cli.workers.Client", lambda _redis: recording)
    result = CliRunner().invoke(main, ["workers", "--json"])
    lines = result.output.splitlines()
    assert [WorkerView.model_validate_json(line) for line in lines] == views
    assert json.loads(lines[0])["state"] == "running"

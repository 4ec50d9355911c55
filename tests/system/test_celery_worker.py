"""``celery -A streamstop_worker worker`` with Celery's own options, signals and ``celery multi``."""

import os
import signal
from pathlib import Path

import pytest

from streamstop import Command, Outcome, Result
from streamstop._core.lane import Lane
from streamstop.operations import StopEdgeTranscodeJob, StopStreamIngest
from tests.support.celery_tools import answer, celery, plain_app
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long

#: What somebody hangs on Celery's signals, in a module of their own.
HANGERS = """
from celery import signals

def note(name):
    def on(**told):
        with open("signals", "a") as file:
            file.write(f"{name} {told.get('sig') or ''} {told.get('how') or ''}".strip() + "\\n")
    return on

for name in ("worker_init", "worker_ready", "worker_shutting_down", "worker_shutdown"):
    getattr(signals, name).connect(note(name), weak=False)
"""

LANE = Lane(ALIYUN, "live.StopEdgeTranscodeJob")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, "SIGTERM Warm"), (signal.SIGQUIT, "SIGQUIT Cold")])
def test_the_signals_of_a_workers_life_are_sent(tmp_path: Path, number: signal.Signals, expected: str) -> None:
    (tmp_path / "hangers.py").write_text(HANGERS)
    with world(tmp_path, workers=0, environ=_with_folder(tmp_path)) as made:
        running = made.start_worker("--include", "hangers")
        running.signal(number)
        running.process.wait(TIMEOUT_S)
    received = (tmp_path / "signals").read_text().splitlines()
    # Celery itself sends worker_shutdown in a warm shutdown only.
    assert [one for one in received if one != "worker_shutdown"] == [
        "worker_init",
        "worker_ready",
        f"worker_shutting_down {expected}",
    ]


def test_name_concurrency_level_logfile_and_pidfile_are_celerys(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        pidfile, logfile = tmp_path / "the.pid", tmp_path / "the.log"
        running = made.start_worker(
            "-n", "named@here", "-c", "7", "--loglevel", "INFO", "--logfile", str(logfile), "--pidfile", str(pidfile),
            ready=False,
        )  # fmt: skip
        eventually(lambda: logfile.exists() and "named@here ready." in logfile.read_text(), "its log")
        assert int(pidfile.read_text()) == running.process.pid
        with plain_app(made) as app:
            stats = answer(app, "stats", worker="named@here")
        assert (stats["pid"], stats["pool"]["max-concurrency"]) == (running.process.pid, 7)
        assert running.stop() == 0
        assert not pidfile.exists()


def test_the_command_lines_concurrency_goes_before_the_environments(tmp_path: Path) -> None:
    with world(tmp_path, workers=0, environ={"STREAMSTOP_CONCURRENCY": "11"}) as made:
        made.start_worker("-c", "9")
        made.start_worker()
        with plain_app(made) as app:
            bounds = [answer(app, "stats", worker=f"w{n}@test")["pool"]["max-concurrency"] for n in (1, 2)]
        assert bounds == [9, 11]


@pytest.mark.parametrize(
    "arguments", [["-P", "solo"], ["-P", "threads"], ["--time-limit=5"], ["-Q", "other"], ["-c", "1001"], ["--purge"]]
)
def test_a_worker_does_not_start_with_what_does_not_apply(tmp_path: Path, arguments: list[str]) -> None:
    with world(tmp_path, workers=0) as made:
        running = made.start_worker(*arguments, ready=False)
        assert running.process.wait(TIMEOUT_S) == 1
        assert running.text().strip().splitlines()[-1].startswith("streamstop: --")
        assert "Traceback" not in running.text()


def test_sigquit_leaves_calls_to_their_leases_and_gives_the_rest_back_at_once(tmp_path: Path) -> None:
    with world(tmp_path, environ={"STREAMSTOP_CALL_TIMEOUT": "10"}, limits={LANE.operation: 40}) as made:
        made.simulator.settings(auto_start=True)
        made.simulator.add_fault("hang", operation=LANE.operation, task={"JobId": "j0"}, times=1)
        stops = [StopEdgeTranscodeJob(cluster_id="c", job_id=f"j{n}") for n in range(60)]
        jobs = made.client.enqueue_many([Command(operation=stop, account=ALIYUN) for stop in stops])
        made.simulator.wait_for_calls(2)
        running = made.workers[0]
        running.signal(signal.SIGQUIT)
        running.process.wait(TIMEOUT_S)
        view = made.client.lanes([LANE])[0]
        ended = [job for job in jobs if isinstance(job.peek(), Outcome)]
        assert view.in_flight >= 1, "the call that hangs is left to its lease"
        assert view.waiting + view.in_flight + len(ended) == len(jobs)
        assert "Traceback" not in running.text(), running.text()
        made.start_worker()
        results = {outcome.result for outcome in made.client.outcomes(jobs, timeout=60)}
        assert results <= {Result.STOPPED, Result.ALREADY_STOPPED}


def test_celery_multi_starts_and_stops_workers(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.simulator.settings(auto_start=True)
        files = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n.log"]
        names = ["m1@test", "m2@test"]
        multi(made, "start", *names, "-A", "streamstop_worker", "-l", "INFO", *files)
        try:
            for name in ("m1", "m2"):
                eventually(lambda name=name: _ready(tmp_path / f"{name}.log"), name)  # type: ignore[misc]
            job = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="t"), account=TENCENT)
            assert job.outcome(TIMEOUT_S).result is Result.STOPPED
        finally:
            multi(made, "stopwait", *names, *files)
        assert not list(tmp_path.glob("*.pid"))


@pytest.mark.parametrize("mistake", ["an option", "the accounts"])
def test_a_worker_in_the_background_tells_its_logfile_why_it_does_not_start(tmp_path: Path, mistake: str) -> None:
    with world(tmp_path, workers=0) as made:
        log, arguments, reason = tmp_path / "w.log", ["--purge"], "--purge does not apply"
        if mistake == "the accounts":
            made.accounts.write_text("[accounts.a]\nvendor = 1\n")
            arguments, reason = [], "accounts.a.vendor"
        celery(made, "worker", "--detach", "--logfile", str(log), "--pidfile", str(tmp_path / "w.pid"), *arguments)
        eventually(lambda: log.exists() and reason in log.read_text(), "the reason")


def multi(made: World, *arguments: str) -> str:
    """Run ``celery multi``."""
    return celery(made, "multi", *arguments, app=False)


def _ready(log: Path) -> bool:
    return log.exists() and "@test ready." in log.read_text()


def _with_folder(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}

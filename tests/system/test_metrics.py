"""Metrics of real workers and of the exporter, held against what the simulated vendors counted."""

import shutil
import subprocess
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streamstop import Command, Outcome
from streamstop.operations import StopLiveMPUTask, StopStreamIngest
from streamstop_simulator import FaultKind
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.executable import EXECUTABLE, environ, run
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, TENCENT, World, world

pytestmark = pytest.mark.long

ALERTS = Path(__file__).parents[2] / "deploy" / "prometheus"
JOBS = 1000


@pytest.fixture
def busy_world(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, workers=0, limits={"live.StopLiveMPUTask": 500.0, "trtc.StopStreamIngest": 500.0}) as made:
        yield made


def promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.fail("promtool is not installed; on Debian: apt-get install prometheus")
    return subprocess.run([tool, *arguments], check=False, input=stdin, capture_output=True, text=True, timeout=60)


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=TIMEOUT_S) as answer:
        return str(answer.read().decode())


def sums(texts: list[str], name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return the sums of a metric over targets, by the values of `labels`."""
    found: defaultdict[tuple[str, ...], float] = defaultdict(float)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name:
                    found[tuple(sample.labels[label] for label in labels)] += sample.value
    return {key: value for key, value in found.items() if value}


def stop_number(number: int) -> Command:
    """Return a stop; even and odd numbers are in different lanes."""
    if number % 2:
        return Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"t-{number}"), account=TENCENT)
    return Command(operation=StopLiveMPUTask(app_id="a", task_id=f"t-{number}"), account=ALIYUN)


def test_sums_over_workers_are_what_the_vendors_and_the_producer_counted(busy_world: World) -> None:
    ports = [free_port(), free_port()]
    for port in ports:
        busy_world.environ = {"STREAMSTOP_METRICS_PORT": str(port), "STREAMSTOP_METRICS_HOST": "127.0.0.1"}
        busy_world.start_worker()
    busy_world.await_account(ALIYUN)
    simulator = busy_world.simulator
    # Calls that the vendors read late and together are not throttled.
    simulator.set_limit(ALIYUN, "live.StopLiveMPUTask", 100_000)
    simulator.set_limit(TENCENT, "trtc.StopStreamIngest", 100_000)
    simulator.add_fault(FaultKind.THROTTLE, account=ALIYUN, times=3)
    simulator.add_fault(FaultKind.ERROR_500, account=TENCENT, times=4)
    stops: list[Command] = []
    outcomes: list[Outcome] = []

    def stop_more(count: int) -> None:
        """Stop more tasks, of which every tenth does not run."""
        more = [stop_number(n) for n in range(len(stops), len(stops) + count)]
        for account in (ALIYUN, TENCENT):
            running = [command for n, command in enumerate(more) if n % 10 and command.account == account]
            simulator.start_tasks(account, [command.operation for command in running])
        outcomes.extend(busy_world.client.outcomes(busy_world.client.enqueue_many(more), 120))
        stops.extend(more)
        assert len(outcomes) == len(stops)

    def both_called() -> bool:
        return all(sums([scrape(port)], "streamstop_calls_total", "account") for port in ports)

    stop_more(JOBS)
    while not both_called():  # one of the workers stood still, and the other did everything
        stop_more(10)

    def counted() -> bool:
        ended = sums([scrape(port) for port in ports], "streamstop_jobs_ended_total", "result")
        return sum(ended.values()) == len(stops)

    eventually(counted, "the workers counted every job")
    texts = [scrape(port) for port in ports]
    lanes = Counter((command.account, command.operation.spec.id) for command in stops)
    assert sums(texts, "streamstop_jobs_ended_total", "account", "operation") == lanes
    ends = Counter((outcome.result.value,) for outcome in outcomes)
    assert sums(texts, "streamstop_jobs_ended_total", "result") == ends
    calls = Counter((call.account, call.operation) for call in simulator.calls())
    assert sums(texts, "streamstop_calls_total", "account", "operation") == calls
    by_answer = sums(texts, "streamstop_calls_total", "answer")
    assert (by_answer["throttled",], by_answer["transient",]) == (3, 4)
    assert sum(sums(texts, "streamstop_call_duration_seconds_count", "account").values()) == calls.total()
    assert sum(sums(texts, "streamstop_job_wait_seconds_count", "operation").values()) == len(stops)
    assert sum(sums(texts, "streamstop_job_duration_seconds_count", "operation").values()) == len(stops)

    printed = run(busy_world.server.url, "metrics")
    assert printed.returncode == 0, printed.stderr
    assert sums([printed.stdout], "streamstop_workers") == {(): 2}
    dead = sum(1 for outcome in outcomes if outcome.result.needs_person)
    assert sum(sums([printed.stdout], "streamstop_dead_letters", "result").values()) == dead > 0
    for text in (*texts, printed.stdout):
        checked = promtool("check", "metrics", stdin=text)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_a_worker_that_cannot_bind_its_port_says_so_and_works(busy_world: World) -> None:
    port = free_port()
    busy_world.environ = {"STREAMSTOP_METRICS_PORT": str(port), "STREAMSTOP_METRICS_HOST": "127.0.0.1"}
    busy_world.start_worker()
    second = busy_world.start_worker()
    second.await_line("the metrics cannot be served")
    (line,) = [line for line in second.lines() if line["event"] == "the metrics cannot be served"]
    assert (line["level"], line["port"], line["reason"]) == ("error", port, "Address already in use")


def test_the_exporter_outlives_redis_and_ends_when_it_is_asked_to(busy_world: World) -> None:
    port = free_port()
    command = [str(EXECUTABLE), "metrics", "--host", "127.0.0.1", "--port", str(port)]
    with subprocess.Popen(command, env=environ(busy_world.server.url), stderr=subprocess.PIPE, text=True) as exporter:
        assert exporter.stderr is not None
        try:
            assert exporter.stderr.readline() == f"metrics are served on http://127.0.0.1:{port}/metrics\n"
            assert sums([scrape(port)], "streamstop_redis_up") == {(): 1}
            busy_world.server.process.kill()
            eventually(lambda: sums([scrape(port)], "streamstop_redis_up") == {}, "the exporter saw that Redis is away")
        finally:
            exporter.terminate()
        exporter.wait(TIMEOUT_S)


def test_the_alerts_do_what_their_unit_tests_say() -> None:
    for arguments in (("check", "rules", ALERTS / "alerts.yml"), ("check", "config", ALERTS / "prometheus.yml")):
        checked = promtool(*arguments)
        assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool("test", "rules", ALERTS / "alerts.test.yml")
    assert tested.returncode == 0, tested.stdout + tested.stderr

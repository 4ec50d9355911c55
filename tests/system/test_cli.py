"""The ``streamstop`` executable as a person or a script runs it: real Redis, real worker, simulated vendors."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from streamstop import Client, Command
from streamstop.operations import GetMPUTaskStatus, StopMPUTask, StopStreamIngest
from streamstop_simulator import FaultKind
from streamstop_simulator.demo.embedded_redis import free_port
from tests.support.executable import EXECUTABLE, environ, line, objects, run, stop_line
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World

WAIT = ["--wait", "60"]


@pytest.fixture(scope="module")
def served_world(shared_world: World) -> World:
    """Return the module's world once producers know its accounts.

    The vendor allows more than workers send, so that calls which it reads late and together are not throttled.
    """
    shared_world.await_account(ALIYUN)
    shared_world.simulator.set_limit(ALIYUN, "live.StopMPUTask", 1000)
    return shared_world


@pytest.fixture
def url(served_world: World) -> Iterator[str]:
    yield served_world.server.url
    served_world.simulator.clear_faults()


def start(world: World, *tasks: str, account: str = ALIYUN) -> None:
    world.simulator.start_tasks(account, [StopMPUTask(app_id="app", task_id=task) for task in tasks])


def test_a_stop_that_ends_well_exits_0(served_world: World, url: str) -> None:
    start(served_world, "one")
    done = run(url, "stop", "live.StopMPUTask", "--account", ALIYUN, "AppId=app", "TaskId=one", *WAIT)
    assert done.returncode == 0, done.stderr
    row, summary = done.stdout.splitlines()
    assert row.split()[0] == "stopped"
    assert row.split()[2:] == ["AppId=app", "TaskId=one"]
    assert summary == "1 job: 1 stopped"
    assert done.stderr == ""  # no progress bar where nobody watches
    job_id = row.split()[1]
    assert "ended: stopped" in run(url, "job", job_id).stdout
    assert objects(run(url, "job", job_id, "--json").stdout)[0]["outcome"]["result"] == "stopped"
    refused = run(url, "cancel", job_id)
    assert (refused.returncode, refused.stderr) == (1, f"not cancelled: job {job_id} has ended\n")


@pytest.mark.long
def test_a_status_shows_the_vendors_value(served_world: World, url: str) -> None:
    start(served_world, "asked")
    words = ["live.GetMPUTaskStatus", "--account", ALIYUN, "AppId=app", "TaskId=asked"]
    done = run(url, "status", *words, *WAIT)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].endswith("AppId=app TaskId=asked  running (Status = 1)")


@pytest.mark.long
def test_lines_of_json_come_back_in_the_order_of_the_input(served_world: World, url: str) -> None:
    tasks = [f"order-{number}" for number in range(12)]
    start(served_world, *tasks)
    served_world.simulator.start_tasks(TENCENT, [StopStreamIngest(sdk_app_id=14, task_id="ingest")])
    lines = [stop_line(task) for task in tasks]
    # The last is at another vendor, and ends long before the first account's are through.
    lines.append(line("trtc.StopStreamIngest", TENCENT, SdkAppId=14, TaskId="ingest"))
    done = run(url, "stop", "--from", "-", "--json", *WAIT, stdin="\n".join(lines))
    assert done.returncode == 0, done.stderr
    printed = objects(done.stdout)
    assert [one["account"] for one in printed] == [ALIYUN] * len(tasks) + [TENCENT]
    assert {one["outcome"]["result"] for one in printed} == {"stopped"}
    assert all(set(one) == {"job_id", "operation", "account", "outcome"} for one in printed)
    stops = served_world.simulator.calls(ALIYUN, "live.StopMPUTask")
    called = [call.params["TaskId"] for call in stops if str(call.params["TaskId"]).startswith("order-")]
    assert sorted(called) == sorted(tasks)


@pytest.mark.long
def test_jobs_that_end_otherwise_exit_1_with_the_vendors_reason(served_world: World, url: str, tmp_path: Path) -> None:
    start(served_world, "known")
    file = tmp_path / "tasks.jsonl"
    file.write_text(stop_line("known") + stop_line("unknown"))
    done = run(url, "stop", "--from", file, *WAIT)
    assert done.returncode == 1
    assert [row.split()[0] for row in done.stdout.splitlines()] == ["stopped", "not_found", "2"]
    assert "InvalidTask.NotFound: " in done.stdout.splitlines()[1]


@pytest.mark.long
def test_control_characters_of_a_vendor_do_not_reach_the_terminal(served_world: World, url: str) -> None:
    served_world.simulator.add_fault(FaultKind.CODE, code="Forbidden.RAM", message="\x1b[2Jall is well\n")
    done = run(url, "stop", "live.StopMPUTask", "--account", ALIYUN, "AppId=app", "TaskId=t", *WAIT)
    assert done.returncode == 1
    assert "Forbidden.RAM" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.long
def test_an_account_that_no_worker_has_is_told_with_its_lines(served_world: World, url: str) -> None:
    lines = stop_line("a") + stop_line("b", "demo-aliyun-7") + stop_line("c", TENCENT)
    done = run(url, "stop", "--from", "-", stdin=lines)
    assert done.returncode == 2
    head, second, third = done.stderr.splitlines()
    assert head == "Error: nothing was enqueued: <stdin> is not valid:"
    assert second.startswith("line 2: no running worker has account 'demo-aliyun-7' (did you mean ")
    assert third == f"line 3: account '{TENCENT}' is at vendor tencent and cannot run an operation of aliyun"
    single = run(url, "stop", "live.StopMPUTask", "--account", "demo-aliyun-7", "AppId=a", "TaskId=t")
    assert (single.returncode, "did you mean" in single.stderr) == (2, True)


def test_accounts_complete_to_those_that_workers_have(url: str) -> None:
    words = {"COMP_WORDS": "streamstop stop live.StopMPUTask --account demo-", "COMP_CWORD": "4"}

    def complete() -> list[str]:
        done = subprocess.run(
            [EXECUTABLE],
            env=environ(url) | words | {"_STREAMSTOP_COMPLETE": "bash_complete"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.split()

    # It prints nothing where Redis takes longer than half a second.
    assert eventually(complete, "accounts are completed") == [f"plain,{ALIYUN}", f"plain,{OTHER_ALIYUN}"]


# From here on without a worker: jobs stay open.

BAD = {
    "a missing parameter": line("live.StopMPUTask", ALIYUN, AppId="app"),
    "an unknown key": stop_line("t").replace("params", "parameters"),
    "a status operation": line("live.GetMPUTaskStatus", ALIYUN, AppId="app", TaskId="t"),
    "no JSON": "TaskId=t\n",
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_exits_2_and_nothing_at_all_is_enqueued(redis_url: str, real_redis: Redis, bad: str) -> None:
    done = run(redis_url, "stop", "--from", "-", stdin=stop_line("good") * 3 + BAD[bad] + stop_line("good"))
    assert done.returncode == 2
    assert "line 4: " in done.stderr
    assert done.stdout == ""
    assert real_redis.keys() == []


@pytest.mark.long
def test_without_waiting_the_ids_are_printed_and_can_be_cancelled(redis_url: str, client: Client) -> None:
    done = run(redis_url, "stop", "--from", "-", stdin=stop_line("a") + stop_line("b"))
    assert done.returncode == 0
    no_worker = "no worker runs: nothing is called until one is started"
    assert done.stderr == f"2 jobs enqueued; {no_worker}; look at one with `streamstop job ID`\n"
    ids = done.stdout.split()
    assert [job_id.rpartition(".")[0] for job_id in ids] == [f"{ALIYUN}.live.StopMPUTask"] * 2
    page = run(redis_url, "job", ids[0])
    assert (page.returncode, "open: not called yet" in page.stdout) == (0, True)
    assert objects(run(redis_url, "job", ids[0], "--json").stdout)[0]["state"] == "open"
    cancelled = run(redis_url, "cancel", *ids)
    assert (cancelled.returncode, cancelled.stdout.split()[1::2]) == (0, ids)
    assert {outcome.result for outcome in client.outcomes([client.job(job_id) for job_id in ids], timeout=0)} == {
        "cancelled"
    }


@pytest.mark.long
def test_without_waiting_json_has_no_outcome_yet(redis_url: str) -> None:
    done = run(redis_url, "stop", "--from", "-", "--json", stdin=stop_line("a"))
    assert (done.returncode, done.stderr) == (0, "")
    assert objects(done.stdout)[0]["outcome"] is None


def test_options_reach_the_message(redis_url: str, real_redis: Redis) -> None:
    words = ["live.StopLivePullToPush", "--account", ALIYUN, "Region=cn-new", "TaskId=t", "--any-region"]
    assert run(redis_url, "stop", *words, "--priority", "9", "--expires-in", "60").returncode == 0
    (queue,) = real_redis.scan_iter("streamstop.lane.*")
    (text,) = real_redis.lrange(queue.decode(), 0, -1)
    message = json.loads(text)
    ((command,), _, _) = json.loads(message["body"])
    assert message["properties"]["priority"] == 9
    assert command["params"] == {"Region": "cn-new", "TaskId": "t"}
    assert command["expires_at"] == pytest.approx(command["enqueued_at"] + 60)


def test_jobs_that_do_not_end_in_time_exit_3_with_what_is_known(redis_url: str) -> None:
    done = run(redis_url, "stop", "--from", "-", "--json", "--wait", "0.1", stdin=stop_line("a") + stop_line("b"))
    assert done.returncode == 3
    assert [one["outcome"] for one in objects(done.stdout)] == [None, None]
    no_worker = "no worker runs: nothing is called until one is started"
    assert done.stderr == (
        f"Error: 2 jobs did not end in time and will continue; {no_worker}; look at one with `streamstop job ID`\n"
    )


def test_without_redis_it_exits_4_and_never_prints_the_url() -> None:
    port = free_port()
    url = f"redis://:hush@127.0.0.1:{port}/0"
    done = run(url, "stop", "live.StopMPUTask", "--account", "a", "AppId=a", "TaskId=t", *WAIT)
    assert done.returncode == 4
    assert done.stderr == (
        f"Error: Redis did not answer (connection refused at 127.0.0.1:{port}, database 0): nothing was enqueued\n"
    )


@pytest.mark.long
def test_ctrl_c_while_it_waits_leaves_the_jobs_and_tells_their_ids(redis_url: str, real_redis: Redis) -> None:
    with subprocess.Popen(
        [EXECUTABLE, "stop", "--from", "-", "--wait", "60"],
        env=environ(redis_url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        assert waiting.stdin is not None
        waiting.stdin.write(stop_line("a") + stop_line("b"))
        waiting.stdin.close()
        waiting.stdin = None
        try:
            await_subscribers(real_redis, 2)
        finally:
            waiting.send_signal(signal.SIGINT)
        stdout, stderr = waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 130
    assert stderr == "Error: interrupted: 2 jobs will continue; look at one with `streamstop job ID`\n"
    rows = stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["open", "open", "2"]
    assert "open" in run(redis_url, "job", rows[0].split()[1]).stdout


def await_subscribers(redis: Redis, count: int) -> None:
    """Return when somebody waits for that many jobs."""
    eventually(lambda: len(redis.pubsub_channels("celery-task-meta-*")) == count, f"{count} subscriptions")


def test_a_reader_that_leaves_early_is_no_error(redis_url: str) -> None:
    lines = "".join(stop_line(f"t-{number}") for number in range(2000))
    piped = subprocess.run(
        ["bash", "-c", f"'{EXECUTABLE}' stop --from - --json | head -n 1"],
        env=environ(redis_url),
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(objects(piped.stdout)) == 1
    assert piped.stderr == ""


def test_the_module_is_the_command(redis_url: str) -> None:
    done = subprocess.run([sys.executable, "-m", "streamstop", "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Usage: streamstop [OPTIONS] COMMAND")


@pytest.mark.long
def test_a_producers_job_can_be_looked_at(redis_url: str, client: Client) -> None:
    operation = GetMPUTaskStatus(app_id="app", task_id="t")
    (job,) = client.enqueue_many([Command(operation=operation, account=ALIYUN)])
    assert objects(run(redis_url, "job", job.id, "--json").stdout)[0]["operation"] == "live.GetMPUTaskStatus"

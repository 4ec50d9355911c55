"""``find``, ``job``, ``room stop`` and ``stop --unique`` of the command line, over a real Redis without workers."""

import json

import pytest
from click.testing import CliRunner, Result

from streamstop import Client, Sighting
from streamstop._core.lane import Lane
from streamstop.cli import main
from streamstop.operations import StopMPUTask

STOP = StopMPUTask(app_id="a", task_id="t-1")
LANE = Lane("live-cn", "live.StopMPUTask")


def run(redis_url: str, *words: str) -> Result:
    return CliRunner().invoke(main, [*words, "--redis", redis_url])


def test_find_prints_a_line_for_each(client: Client, redis_url: str) -> None:
    first, second = (client.enqueue(STOP, account="live-cn") for _ in range(2))
    second.cancel()
    client.register("room 1", STOP, account="live-cn")
    done = run(redis_url, "find", "TaskId=t-1", "AppId=a")
    assert done.exit_code == 0, done.output
    cells = {line[:10].strip(): (line[12:27].strip(), line[51:]) for line in done.stdout.splitlines()}
    assert cells == {
        "waiting": ("place 1", f"{first.id}  AppId=a TaskId=t-1"),
        "ended": ("cancelled", f"{second.id}  AppId=a TaskId=t-1"),
        "registered": ("", "live-cn.live.StopMPUTask in room room 1  AppId=a TaskId=t-1"),
    }
    printed = run(redis_url, "find", "TaskId=t-1", "--json").stdout.splitlines()
    assert {Sighting.model_validate_json(line).job_id for line in printed} == {first.id, second.id, None}


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["TaskId=t-2"], 1, "nothing is known of TaskId=t-2"),
        (["AppId=a"], 2, "params must name a stream task, by JobId or TaskId"),
        (["TaskId"], 2, "must be Key=Value"),
        (["TaskId=a", "TaskId=b"], 2, "each key once"),
        (["TaskId=a", "--operation", "live.StopMPU"], 2, "did you mean"),
        (["TaskId=a", "--account", "NO"], 2, "account 'NO' must be"),
        ([], 2, "Missing argument"),
    ],
)
def test_find_says_what_is_wrong(redis_url: str, words: list[str], code: int, told: str) -> None:
    done = run(redis_url, "find", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert told in done.stderr


@pytest.mark.parametrize("job_id", [f"{LANE.name}.0", "nobody.live.StopMPUTask.0", "x"])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_job_that_was_never_enqueued_is_no_job(redis_url: str, job_id: str, more: list[str]) -> None:
    done = run(redis_url, "job", job_id, *more)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"Error: no such job: {job_id}\n")


def test_a_job_that_waits_is_shown(client: Client, redis_url: str) -> None:
    job = client.enqueue(STOP, account="live-cn")
    done = run(redis_url, "job", job.id)
    assert (done.exit_code, "open: not called yet" in done.stdout) == (0, True)


def test_a_room_without_tasks_is_probably_misspelt(client: Client, redis_url: str) -> None:
    done = run(redis_url, "room", "stop", "misspelt")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing is registered in misspelt; to close it anyway, give --allow-empty" in done.stderr
    assert client.room("misspelt").shutdown is None
    assert run(redis_url, "room", "stop", "misspelt", "--allow-empty").exit_code == 0
    assert run(redis_url, "room", "stop", "misspelt").exit_code == 0, "it is known now"
    client.register("known", STOP, account="live-cn")
    known = run(redis_url, "room", "stop", "known")
    assert known.exit_code == 0
    assert known.stderr.startswith("known is closing; no worker runs: nothing is called until one is started; ")


def test_unique_prints_the_open_job(redis_url: str) -> None:
    words = ["stop", LANE.operation, "--account", "live-cn", "AppId=a", "TaskId=t-1", "--json"]
    plain, first, second = (run(redis_url, *words, *more) for more in ([], ["--unique"], ["--unique"]))
    ids = [json.loads(done.stdout)["job_id"] for done in (plain, first, second)]
    assert ids[0] != ids[1] == ids[2]

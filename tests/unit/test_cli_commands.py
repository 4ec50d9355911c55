"""The command line without a queue: help, listings, and input that never reaches a queue."""

import json
import re
import shlex
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from streamstop.cli import main
from streamstop.cli._shared.parsing import Defaults, parse_line
from streamstop.cli.stop_status import status, stop
from streamstop.errors import NotCancellable
from streamstop.jobs import Job
from streamstop.operations import OPERATIONS, Kind
from tests.support.offline_cli import NOWHERE, STOP, run


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at an address without a Redis."""
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", NOWHERE)


def command_paths(command: click.Command, path: str = "") -> Iterator[str]:
    """Yield the path of the command and of all commands below it: ``dead list``."""
    yield path
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from command_paths(child, f"{path} {name}".strip())


@pytest.mark.parametrize("path", list(command_paths(main)))
def test_every_command_has_a_help_page_with_an_example(path: str) -> None:
    page = run(f"{path} --help")
    assert page.exit_code == 0
    examples = page.stdout.partition("Examples:\n")[2].partition("\n\n")[0]
    assert f"streamstop {path}".strip() in examples


@pytest.mark.parametrize("path", list(command_paths(main)))
def test_every_help_page_fits_80_columns(path: str) -> None:
    assert [line for line in run(f"{path} --help").stdout.splitlines() if len(line) > 80] == []


def test_a_long_example_of_a_help_page_can_be_pasted() -> None:
    page = run("limit set --help").stdout.partition("Examples:\n")[2].partition("\n\n")[0]
    pasted = [shlex.split(command) for command in page.replace(" \\\n", "").splitlines()]
    assert ["streamstop", "limit", "set", "live-cn", "live.StopMPUTask", "20", "--above-vendor", "--reason"] in [
        words[:-1] for words in pasted
    ]
    assert {words[-1] for words in pasted if "--reason" in words} == {
        "shared with the console",
        "raised by ticket 4711",
    }


@pytest.mark.parametrize("command", ["", "stop", "status"])
def test_help_tells_the_exit_codes(command: str) -> None:
    page = run(f"{command} --help").stdout.partition("Exit codes:")[2]
    assert re.findall(r"^  (\d+) ", page, re.MULTILINE) == ["0", "1", "2", "3", "4", "130"]


@pytest.mark.parametrize(("command", "kind"), [(stop, Kind.STOP), (status, Kind.STATUS)])
def test_the_examples_of_the_help_pages_are_valid(command: object, kind: Kind) -> None:
    page = run(f"{kind} --help").stdout
    (line,) = re.findall(r"^  (\{.*\})$", page, re.MULTILINE)
    assert parse_line(line.encode(), kind, Defaults(account="live-cn")).account == "live-cn"
    page = page.replace(" \\\n     ", "")
    for example in re.findall(rf"^  (streamstop {kind} [a-z].*)$", page, re.MULTILINE):
        # Valid input fails only where it reaches for Redis.
        assert run(example.removeprefix("streamstop ")).exit_code == 4


def test_the_version_is_the_packages() -> None:
    assert metadata.version("streamstop") in run("--version").stdout


def test_operations_are_listed_for_people() -> None:
    listed = run("operations")
    assert listed.exit_code == 0
    assert [block.split()[0] for block in listed.stdout.split("\n\n")] == list(OPERATIONS)


def test_operations_are_listed_for_programs() -> None:
    facts = [json.loads(line) for line in run("operations --json").stdout.splitlines()]
    assert [fact["id"] for fact in facts] == list(OPERATIONS)
    assert set(facts[0]) == {"id", "kind", "vendor", "limit", "about", "parameters", "source"}


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("stop", "Missing argument 'OPERATION' (or --from FILE)."),
        ("stop --account live-cn", "Missing argument 'OPERATION' (or --from FILE)."),
        ("stop live.StopMPUTask AppId=a TaskId=t", "account is required: give --account NAME"),
        ("stop live.StopMPUTask --account Live AppId=a TaskId=t", "account 'Live' must be"),
        ("stop live.StopMPUTask --account a AppId=a", "live.StopMPUTask: TaskId is required"),
        ("stop live.StopMPUTask --account a AppId TaskId=t", "parameter 'AppId' must be Key=Value"),
        ("stop live.StopMPUTask --account a AppId=a AppId=b TaskId=t", "AppId is given twice"),
        ("stop live.StopMPUTsk --account a", "did you mean live.StopMPUTask"),
        ("stop live.StopMPUTask --account a Appid=a TaskId=t", "Appid is not a parameter of this operation (did you"),
        ("stop live.GetMPUTaskStatus --account a AppId=a TaskId=t", "`streamstop status` takes it"),
        ("status live.StopMPUTask --account a AppId=a TaskId=t", "`streamstop stop` takes it"),
        ("stop live.StopMPUTask --from -", "OPERATION and --from cannot be combined"),
        ("stop --from no-such-file.jsonl", "no-such-file.jsonl"),
        ("stop live.StopMPUTask --account a AppId=a TaskId=t --priority 10", "--priority"),
        (
            "stop live.StopMPUTask --account a AppId=a TaskId=t --expires-in 0",
            "must be longer than 0 and at most 3650d",
        ),
        ("stop live.StopMPUTask --account a AppId=a TaskId=t --expires-in soon", "--expires-in"),
        (
            "stop live.StopMPUTask --account a AppId=a TaskId=t --wait nan",
            "'nan' is not a duration: give a number of seconds",
        ),
        (
            "stop live.StopMPUTask --account a AppId=a TaskId=t --wait inf",
            "'inf' is not a duration: give a number of seconds",
        ),
        (
            "stop live.StopMPUTask --account a AppId=a TaskId=t --wait -1",
            "'-1' is not a duration: give a number of seconds",
        ),
        ("stop live.StopMPUTask --account a AppId=a TaskId=t --redis http://:hush@host", "must start with one of"),
        ("stop live.StopMPUTask --account a AppId=a TaskId=t --redis redis://:hush@host:port", "must be a url such as"),
        ("job", "Missing argument 'ID'"),
        ("cancel", "Missing argument 'ID...'"),
        ("completion csh", "csh"),
        ("nonsense", "nonsense"),
    ],
)
def test_bad_input_exits_2_and_says_what_is_wrong(command: str, complaint: str) -> None:
    result = run(command)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


def test_bad_lines_exit_2_and_are_named_with_their_file(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(STOP + STOP.replace("TaskId", "TaskID") + "\n" + STOP.replace("live-cn", "Live"))
    result = run(f"stop --from {file}")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: nothing was enqueued: {file} is not valid:",
        "line 2: live.StopMPUTask: TaskID is not a parameter of this operation (did you mean TaskId?)",
        "line 4: account 'Live' must be 1 to 63 of a-z, 0-9, _ and -, starting with a letter or digit",
    ]


def test_standard_input_without_commands_is_nothing_to_do() -> None:
    result = run("stop --from -", "\n\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no commands in the input: nothing was enqueued\n"


@pytest.mark.parametrize(
    "command",
    [
        "stop live.StopMPUTask --account a AppId=a TaskId=t",
        "stop live.StopMPUTask --account a AppId=a TaskId=t --wait 5 --json",
        "stop --from -",
        "job live-cn.live.StopMPUTask.1",
        "job live-cn.live.StopMPUTask.1 --json",
        "cancel live-cn.live.StopMPUTask.1",
    ],
)
def test_without_redis_it_exits_4_and_says_so(command: str) -> None:
    result = run(command, STOP)
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: Redis did not answer (connection refused at ")
    assert result.stdout == ""


def test_cancel_without_ids_on_standard_input_is_nothing_to_do() -> None:
    result = run("cancel -", "\n\n")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no IDs in the input: nothing was cancelled\n"


def test_cancel_takes_every_id_of_standard_input_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = []

    def cancel(job: Job) -> None:
        cancelled.append(job.id)
        if job.id == "b":
            raise NotCancellable("job b has ended")

    monkeypatch.setattr(Job, "cancel", cancel)
    result = run("cancel first -", "a\n\n b \r\na\nfirst\n")
    assert cancelled == ["first", "a", "b"]
    assert result.exit_code == 1
    assert result.stdout.splitlines() == ["cancelled  first", "cancelled  a"]
    assert result.stderr == "not cancelled: job b has ended\n"


def test_an_id_on_standard_input_that_is_not_text_exits_2_and_nothing_is_cancelled() -> None:
    result = CliRunner().invoke(main, ["cancel", "-"], input=b"a\n\xff\n")
    assert result.exit_code == 2
    assert "An ID must be UTF-8 text." in result.stderr


def test_a_file_whose_accounts_cannot_be_looked_up_says_that_nothing_was_enqueued(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(STOP)
    result = run(f"stop --from {file}")
    assert result.exit_code == 4
    assert result.stderr.endswith("the accounts could not be looked up; nothing was enqueued\n")


def test_the_option_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", "http://nothing")
    assert run("job x").exit_code == 2
    assert run(f"job x --redis {NOWHERE}").exit_code == 4


def test_metrics_name_the_redis_that_does_not_answer() -> None:
    done = run("metrics")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == (
        "Error: Redis did not answer (connection refused at 127.0.0.1:1, database 0): the metrics could not be read\n"
    )

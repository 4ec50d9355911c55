"""``streamstop room``: help, and invalid input that never reaches a queue."""

import pytest

from tests.support.offline_cli import NOWHERE, STOP, run


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point at an address without a Redis."""
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", NOWHERE)


@pytest.mark.parametrize("command", ["", "register", "unregister", "show", "stop", "reopen", "cancel"])
def test_every_command_has_a_help_page_with_an_example(command: str) -> None:
    page = run(f"room {command} --help")
    assert page.exit_code == 0
    assert f"streamstop room {command}".strip() in page.stdout.partition("Examples:")[2]


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("stop ''", "room must be text that is not blank"),
        (f"stop {'r' * 257}", "must not be longer than 256 bytes"),
        ("show 'a\nb'", "must not contain control characters"),
        ("reopen '\x1b[2J'", "must not contain control characters"),
        ("cancel ' '", "room must be text that is not blank"),
        ("register r", "Missing argument 'OPERATION' (or --from FILE)."),
        ("register r live.StopMPUTask AppId=a TaskId=t", "account is required: give --account NAME"),
        ("register r live.StopMPUTask --account a AppId=a", "live.StopMPUTask: TaskId is required"),
        ("unregister '' live.StopMPUTask --account a AppId=a TaskId=t", "room must be text"),
        ("register r live.GetMPUTaskStatus --account a AppId=a TaskId=t", "is a status operation"),
        ("stop r --callback http://service.example", "callback must be an https:// URL"),
        ("stop r --wait soon", "'soon' is not a duration: give a number of seconds"),
        ("stop", "Missing argument 'ROOM'"),
    ],
)
def test_bad_input_exits_2_and_says_what_is_wrong(command: str, complaint: str) -> None:
    result = run(f"room {command}")
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["stop r", "register r", "unregister r"])
def test_bad_lines_exit_2_and_are_named_with_their_field(command: str) -> None:
    lines = STOP + STOP.replace("TaskId", "TaskID") + STOP.replace('"params"', '"priority": 3, "params"')
    result = run(f"room {command} --from -", lines)
    assert result.exit_code == 2
    assert result.stderr.splitlines()[1:] == [
        "line 2: live.StopMPUTask: TaskID is not a parameter of this operation (did you mean TaskId?)",
        "line 3: 'priority' is not a key of a line (keys: operation, account, params)",
    ]


@pytest.mark.parametrize(
    "command",
    [
        "stop r",
        "stop r --from - --watch",
        "stop r --wait 5 --json",
        "register r live.StopMPUTask --account a AppId=a TaskId=t",
        "unregister r --from -",
        "show r",
        "reopen r",
        "cancel r",
    ],
)
def test_without_redis_it_exits_4_and_says_so(command: str) -> None:
    result = run(f"room {command}", STOP)
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: Redis did not answer (connection refused at ")
    assert result.stdout == ""

"""``streamstop dead``: help, completion, invalid input and an unreachable Redis."""

import shlex
from datetime import timedelta

import pytest
from click.shell_completion import ShellComplete

from streamstop.cli import main
from streamstop.cli._shared.options import Duration
from streamstop.operations import OPERATIONS
from tests.support.dead_cli import NOWHERE, run_dead

# Input, help, completion: nothing here reaches a queue.


@pytest.fixture
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSTOP_REDIS_URL", NOWHERE)


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize("command", ["", "list", "show", "requeue", "drop"])
def test_every_command_has_a_help_page_with_an_example(command: str) -> None:
    page = run_dead(f"{command} --help")
    assert page.exit_code == 0
    assert f"streamstop dead {command}".strip() in page.stdout.partition("Examples:")[2]


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (
            "list --older-than 2x",
            "Invalid value for '--older-than': '2x' is not a duration: give a number of seconds, ",
        ),
        ("list --younger-than -5m", "'-5m' is not a duration"),
        ("list --younger-than nan", "'nan' is not a duration"),
        ("list --older-than ''", "'' is not a duration"),
        ("list --older-than 10000000000d", "is not a duration"),
        ("list --result stopped", "'stopped' is not one of 'not_found', 'refused', 'gave_up', 'expired', "),
        ("list --limit 0", "Invalid value for '--limit': 0 is not in the range x>=1"),
        ("requeue", "Give IDs, filters such as --account, or --all for every dead letter."),
        ("drop --yes", "Give IDs, filters such as --account, or --all for every dead letter."),
        ("requeue x --all", "IDs, filters and --all cannot be combined."),
        ("drop x --account a", "IDs, filters and --all cannot be combined."),
        ("requeue --all --code c", "IDs, filters and --all cannot be combined."),
        ("requeue --all --wait soon", "'soon' is not a duration: give a number of seconds"),
        ("show", "Missing argument 'ID'"),
        ("show \udcff", "An ID must be UTF-8 text."),
        ("drop \udcff", "An ID must be UTF-8 text."),
    ],
)
def test_bad_input_exits_2_and_says_what_is_wrong(command: str, complaint: str) -> None:
    result = run_dead(command)
    assert result.exit_code == 2
    assert complaint in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.usefixtures("_nowhere")
def test_an_id_on_standard_input_that_is_no_text_exits_2() -> None:
    assert run_dead("requeue -", b"a\n\xff\n").exit_code == 2


@pytest.mark.usefixtures("_nowhere")
@pytest.mark.parametrize(
    "command", ["list", "list --json", "show x", "requeue x", "requeue --all --yes", "requeue --dry-run x", "drop x"]
)
def test_without_redis_it_exits_4_and_says_so(command: str) -> None:
    result = run_dead(command)
    assert result.exit_code == 4
    assert result.stderr.startswith("Error: Redis did not answer (connection refused at ")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("30s", 30), ("5m", 300), ("2h", 7200), ("7d", 604800), ("1.5h", 5400), ("0", 0)]
)
def test_a_duration_is_a_number_with_or_without_a_unit(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == timedelta(seconds=seconds)


def test_commands_and_operations_complete() -> None:
    def completed(words: str, incomplete: str = "") -> list[str]:
        completion = ShellComplete(main, {}, "streamstop", "_STREAMSTOP_COMPLETE")
        return [item.value for item in completion.get_completions(shlex.split(words), incomplete)]

    assert completed("dead") == ["drop", "list", "requeue", "show"]
    assert completed("dead list --operation") == list(OPERATIONS)
    assert completed("dead requeue --operation", "trtc.Describe") == [
        name for name in OPERATIONS if name.startswith("trtc.Describe")
    ]
    assert "refused" in completed("dead drop --result")

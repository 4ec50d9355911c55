"""``streamstop dead list`` and ``show``: what they print, and how they exit."""

import json
from datetime import UTC, datetime

import click
import pytest

from streamstop import Became, CallAnswer
from streamstop._core.answers import answers_key
from streamstop._redis.dead import DeadLetterStore
from tests.support.dead_cli import NO_LETTER, objects, run_dead
from tests.support.dead_letters import COMMAND, LANE, OTHER, FailingLanes

# list


def test_the_list_has_a_header_a_line_a_letter_and_counts_them_at_its_end(four_letters: FailingLanes) -> None:
    result = run_dead("list")
    assert result.exit_code == 0
    a, b, raw = "AppId=a TaskId=t   ", "SdkAppId=1 TaskId=u", "not JSON \\x1b[2J   "
    raw_id = "unreadable-1"
    header, *lines = result.stdout.splitlines()
    assert header.split("  ")[0] == "DIED AT"
    assert header.split() == ["DIED", "AT", "RESULT", "CODE", "ACCOUNT", "OPERATION", "PARAMETERS", "ID"]
    for name, cell in (("CODE", "Forbidden.RAM"), ("PARAMETERS", "AppId=a"), ("ID", f"{LANE.name}.a")):
        assert header.index(f" {name}") == lines[0].index(f" {cell}")
    assert lines == [
        f"2026-01-01T00:00:00Z  refused     Forbidden.RAM  live-cn  {LANE.operation}       {a}  {LANE.name}.a",
        f"2026-01-01T00:01:00Z  not_found   -              trtc-sg  {OTHER.operation}  {b}  {OTHER.name}.b",
        f"2026-01-01T00:02:00Z  expired     -              live-cn  {LANE.operation}       {a}  {LANE.name}.c",
        f"2026-01-01T00:03:00Z  unreadable  -              live-cn  {LANE.operation}       {raw}  {raw_id}",
        "4 dead letters",
        "     1  refused     Forbidden.RAM  live-cn",
        "     1  not_found   -              trtc-sg",
        "     1  expired     -              live-cn",
        "     1  unreadable  -              live-cn",
    ]


def test_a_wide_terminal_cuts_the_parameters_only(failing_lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_lanes.fail_job("a", command={**COMMAND, "params": {"AppId": "a" * 60, "TaskId": "t"}})
    monkeypatch.setenv("COLUMNS", "160")
    header, line, *_ = run_dead("list", on_terminal=True).stdout.splitlines()
    assert len(line) == 160
    assert line.endswith(f"…  {LANE.name}.a")
    assert f"AppId={'a' * 60}" in line
    assert header.split()[-2:] == ["PARAMETERS", "ID"]
    assert f"AppId={'a' * 60} TaskId=t" in run_dead("list").stdout, "what no terminal shows is not cut"


@pytest.mark.parametrize("columns", [80, 60, 40])
def test_a_narrow_terminal_has_every_id_whole_on_a_line_of_its_own(
    four_letters: FailingLanes, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run_dead("list", on_terminal=True).stdout.splitlines()
    lines = lines[: lines.index("4 dead letters")]
    assert all(len(line) <= columns for line in lines)
    assert lines[0].split()[:4] == ["DIED", "AT", "RESULT", "CODE"]
    assert lines[1] == "  ID"
    assert lines[3::2][:3] == [f"  {LANE.name}.a", f"  {OTHER.name}.b", f"  {LANE.name}.c"]
    assert lines[-2:] == ["  unreadable-1", f"  {LANE.account} {LANE.operation}"]
    assert lines[2].startswith("2026-01-01T00:00:00Z  refused     Forbi")


def test_a_long_list_has_one_header(failing_lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch) -> None:
    failing_lanes.fail_job("a")
    (letter,) = failing_lanes.dead.letters()
    monkeypatch.setattr(DeadLetterStore, "letters", lambda _self, _matching, _after: (letter for _ in range(500)))
    assert run_dead("list").stdout.count("DIED AT") == 1


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ("--account live-cn", "a c unreadable-1"),
        ("--operation trtc.StopStreamIngest", "b"),
        ("--result expired", "c"),
        ("--result unreadable", "unreadable-1"),
        ("--code Forbidden.RAM", "a"),
        ("--room r", ""),
        ("--older-than 3m", "a b"),
        ("--older-than 150", "a b"),
        ("--younger-than 120s", "c unreadable-1"),
        ("--younger-than 2h --account trtc-sg", "b"),
        ("--limit 2", "a b"),
    ],
)
def test_the_list_can_be_narrowed(four_letters: FailingLanes, filters: str, names: str) -> None:
    listed = objects(run_dead(f"list --json {filters}").stdout)
    assert [one["id"].rpartition(".")[2] for one in listed] == names.split()


def test_json_has_everything_of_a_letter_under_stable_names(four_letters: FailingLanes) -> None:
    first, *_, unreadable = objects(run_dead("list --json").stdout)
    assert (
        set(first)
        == set(unreadable)
        == {
            *("id", "account", "operation", "died_at", "room", "outcome", "command", "message"),
            *("result", "code", "reason"),
        }
    )
    assert (first["result"], first["code"], first["reason"]) == ("refused", "Forbidden.RAM", "because")
    assert first["command"] == COMMAND
    assert first["outcome"]["job_id"] == first["id"]
    assert (unreadable["result"], unreadable["message"]) == (None, "not JSON \x1b[2J")


def test_a_list_that_reaches_its_limit_says_that_there_are_more(four_letters: FailingLanes) -> None:
    assert run_dead("list --limit 3").stdout.splitlines()[4] == "3 dead letters, and there are more"
    assert run_dead("list --limit 4").stdout.splitlines()[5] == "4 dead letters"


def test_without_letters_every_command_succeeds(failing_lanes: FailingLanes) -> None:
    listed = run_dead("list")
    assert (listed.exit_code, listed.stdout) == (0, "0 dead letters\n")
    assert run_dead("list --json").stdout == ""
    for command in ("requeue --all", "drop --account live-cn"):
        assert run_dead(command).exit_code == 0
    waited = run_dead("requeue --all --yes --wait 0")
    assert (waited.exit_code, waited.stdout) == (0, "0 jobs: nothing to wait for\n")


@pytest.mark.long
def test_a_hundred_thousand_letters_are_written_as_they_are_read(
    failing_lanes: FailingLanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines_at_once: list[int] = []
    written = click.echo

    def echo(text: str, *, err: bool = False) -> None:
        lines_at_once.append(text.count("\n") + 1)
        written(text, err=err)

    failing_lanes.fail_job("a")
    (one,) = failing_lanes.dead.letters()
    monkeypatch.setattr(
        DeadLetterStore, "pages", lambda _self, _matching, _after: iter([(one for _ in range(100_000))])
    )
    monkeypatch.setattr(click, "echo", echo)
    result = run_dead("list")
    assert result.stdout.splitlines()[-2:] == ["100000 dead letters", "100000  refused  -  live-cn"]
    assert max(lines_at_once) <= 200


# show


def test_a_letter_is_shown_whole(four_letters: FailingLanes) -> None:
    result = run_dead(f"show {LANE.name}.a")
    assert result.exit_code == 0
    facts = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    facts = {name: fact.strip() for name, fact in facts.items()}
    assert facts["dead letter"] == f"{LANE.name}.a"
    assert (facts["result"], facts["code"], facts["message"]) == ("refused", "Forbidden.RAM", "because")
    assert json.loads(facts["command"]) == COMMAND
    (listed,) = objects(run_dead("list --json --limit 1").stdout)
    assert objects(run_dead(f"show {LANE.name}.a --json").stdout) == [{**listed, "answers": []}]


def test_a_letter_is_shown_with_the_answers_before_its_last(four_letters: FailingLanes) -> None:
    letter_id = f"{LANE.name}.a"
    answer = CallAnswer(
        number=1,
        at=datetime.fromtimestamp(four_letters.clock.now_us / 1_000_000, UTC),
        seconds=0.25,
        code="InternalError",
        message="\x1b[2J later",
        request_id="R-1",
        became=Became.RETRIED,
    )
    four_letters.redis.set(answers_key(letter_id), str(answer))
    (line,) = [line for line in run_dead(f"show {letter_id}").stdout.splitlines() if line.startswith("call 1")]
    assert line.endswith(r"; retried; InternalError: \x1b[2J later; request id R-1; took 0.25 s")
    (shown,) = objects(run_dead(f"show {letter_id} --json").stdout)
    assert [CallAnswer.model_validate(one) for one in shown["answers"]] == [answer]


def test_an_unreadable_message_is_shown_with_its_text_and_cannot_control_the_terminal(
    four_letters: FailingLanes,
) -> None:
    result = run_dead("show unreadable-1")
    assert "raw text     not JSON \\x1b[2J" in result.stdout.splitlines()
    assert "command      none: it cannot be requeued" in result.stdout.splitlines()
    assert "\x1b" not in result.stdout


def test_a_letter_that_is_not_there_exits_1(four_letters: FailingLanes) -> None:
    result = run_dead(f"show {NO_LETTER}")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"Error: there is no dead letter {NO_LETTER}: it may have been requeued or dropped\n"

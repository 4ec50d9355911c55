"""The command line's parsing: lines and arguments become commands, or errors that name the place."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop import Command, InvalidCommand
from streamstop.cli._shared.parsing import Defaults, InvalidLines, parse_line, parse_lines, parse_words
from streamstop.operations import AnyRegion, GetMPUTaskStatus, Kind, StopLivePullToPush, StopMPUTask, StopStreamIngest

STOP: dict[str, Any] = {
    "operation": "live.StopMPUTask",
    "account": "live-cn",
    "params": {"AppId": "app", "TaskId": "t-1"},
}
COMMAND = Command(operation=StopMPUTask(app_id="app", task_id="t-1"), account="live-cn")
PLAIN = Defaults()


def line(data: object) -> bytes:
    return json.dumps(data).encode()


def wrong(text: bytes | dict[str, Any], kind: Kind = Kind.STOP, defaults: Defaults = PLAIN) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as raised:
        parse_line(line(text) if isinstance(text, dict) else text, kind, defaults)
    assert "\n" not in str(raised.value)
    return raised.value


def test_a_line_is_a_command() -> None:
    assert parse_line(line(STOP), Kind.STOP, PLAIN) == COMMAND


def test_a_line_may_say_its_priority_and_expiry() -> None:
    command = parse_line(line(STOP | {"priority": 3, "expires_in": 1.5}), Kind.STOP, PLAIN)
    assert (command.priority, command.expires_in) == (3, timedelta(seconds=1.5))


def test_options_supply_what_a_line_leaves_out() -> None:
    defaults = Defaults(account="live-sg", priority=6, expires_in=timedelta(minutes=1))
    without_account = {key: value for key, value in STOP.items() if key != "account"}
    command = parse_line(line(without_account), Kind.STOP, defaults)
    assert (command.account, command.priority, command.expires_in) == ("live-sg", 6, timedelta(minutes=1))


def test_a_line_takes_precedence_over_the_options() -> None:
    defaults = Defaults(account="live-sg", priority=6, expires_in=timedelta(minutes=1))
    command = parse_line(line(STOP | {"priority": 0, "expires_in": 5}), Kind.STOP, defaults)
    assert (command.account, command.priority, command.expires_in) == ("live-cn", 0, timedelta(seconds=5))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"operation": None}, "operation"),
        ({"operation": "live.StopMPUTsk"}, "operation"),
        ({"account": None}, "account"),
        ({"account": "Live"}, "account"),
        ({"account": 7}, "account"),
        ({"params": None}, "params"),
        ({"params": ["AppId"]}, "params"),
        ({"params": {"AppId": "app"}}, "TaskId"),
        ({"params": {"AppId": "app", "TaskId": 7}}, "TaskId"),
        ({"params": {"AppId": "app", "TaskId": "t", "Region": "r"}}, "Region"),
        ({"priority": "high"}, "priority"),
        ({"priority": None}, "priority"),
        ({"priority": 10}, "priority"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": -1}, "expires_in"),
        ({"expires_in": "60"}, "expires_in"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": None}, "expires_in"),
        ({"expires_in": 1e300}, "expires_in"),
        ({"prority": 3}, "prority"),
        ({"v": 1}, "v"),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, Any], field: str) -> None:
    problem = wrong(STOP | changes)
    assert problem.field == field
    assert field in str(problem)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"{", "not JSON: Expecting property name enclosed in double quotes at column 2"),
        (b"nonsense", "not JSON: Expecting value at column 1"),
        (b"[1]", "not a JSON object"),
        (b'"live.StopMPUTask"', "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'{"priority": NaN}', "not JSON: JSON has no NaN"),
        (b'{"priority": -Infinity}', "not JSON: JSON has no -Infinity"),
        (b'{"priority": ' + b"9" * 5000 + b"}", "not JSON that can be read"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b'{"account": "a", "account": "b"}', "'account' is given twice"),
        (b'{"params": {"TaskId": "a", "TaskId": "b"}}', "'TaskId' is given twice"),
        (b'{"operation": "x"} {}', "not JSON: Extra data at column 20"),
    ],
)
def test_a_line_that_is_no_such_object_is_refused(text: bytes, complaint: str) -> None:
    assert complaint in str(wrong(text))


def test_an_account_is_required_somewhere() -> None:
    problem = wrong({key: value for key, value in STOP.items() if key != "account"})
    assert str(problem) == "account is required: give --account NAME, or name it in the line"
    with pytest.raises(InvalidCommand, match=r"^account is required: give --account NAME$"):
        parse_words("live.StopMPUTask", ["AppId=a", "TaskId=t"], Kind.STOP, Defaults())


@pytest.mark.parametrize(
    ("kind", "operation", "way"),
    [
        (
            Kind.STOP,
            "live.GetMPUTaskStatus",
            "is a status operation, not a stop operation: `streamstop status` takes it",
        ),
        (Kind.STATUS, "live.StopMPUTask", "is a stop operation, not a status operation: `streamstop stop` takes it"),
    ],
)
def test_an_operation_of_the_other_kind_is_sent_the_other_way(kind: Kind, operation: str, way: str) -> None:
    problem = wrong(STOP | {"operation": operation}, kind)
    assert str(problem) == f"operation {operation} {way}"
    assert problem.field == "operation"


def test_a_newer_region_is_taken_only_with_the_option() -> None:
    data = {"operation": "live.StopLivePullToPush", "account": "a", "params": {"Region": "cn-new", "TaskId": "t"}}
    assert wrong(data).field == "Region"
    command = parse_line(line(data), Kind.STOP, Defaults(any_region=True))
    assert command.operation == StopLivePullToPush(region=AnyRegion("cn-new"), task_id="t")


def test_lines_keep_their_numbers_over_blank_ones() -> None:
    text = b"\xef\xbb\xbf" + line(STOP) + b"\r\n\n   \n" + line(STOP | {"account": "b"}) + b"\n\n"
    read = parse_lines(text.splitlines(keepends=True), Kind.STOP, PLAIN)
    assert [(found.number, found.command.account) for found in read] == [(1, "live-cn"), (4, "b")]


def test_no_lines_are_no_commands() -> None:
    assert parse_lines([b"\n", b" "], Kind.STOP, PLAIN) == []


def test_every_wrong_line_is_told_and_none_is_read() -> None:
    with pytest.raises(InvalidLines) as raised:
        parse_lines([b"{", line(STOP), line(STOP | {"priority": 10})], Kind.STOP, PLAIN)
    first, second = str(raised.value).splitlines()
    assert first.startswith("line 1: not JSON")
    assert second == "line 3: priority must be a whole number from 0 (first) to 9, not 10"
    assert set(raised.value.problems) == {1, 3}


def test_at_most_ten_wrong_lines_are_reported() -> None:
    with pytest.raises(InvalidLines) as raised:
        parse_lines([b"{"] * 1000, Kind.STOP, PLAIN)
    reported = str(raised.value).splitlines()
    assert reported[9].startswith("line 10: ")
    assert reported[10:] == ["and 990 more lines are not valid"]


def test_a_message_about_lines_never_carries_control_characters() -> None:
    with pytest.raises(InvalidLines) as raised:
        parse_lines([line(STOP | {"params": {"\x1b[2J\n": 1}}), line(STOP | {"\x1b[2J": 1})], Kind.STOP, PLAIN)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value).splitlines()) == 2


@given(st.binary() | st.text().map(str.encode) | st.dictionaries(st.text(), st.text() | st.integers()).map(line))
def test_any_bytes_are_a_command_or_a_sentence(text: bytes) -> None:
    with pytest.raises(InvalidCommand):
        parse_line(text, Kind.STOP, PLAIN)


def test_words_are_parsed_into_a_command() -> None:
    words = ["AppId=app", "TaskId=t-1"]
    assert parse_words("live.StopMPUTask", words, Kind.STOP, Defaults(account="live-cn")) == COMMAND


def test_words_of_numbers_become_numbers() -> None:
    command = parse_words(
        "trtc.StopStreamIngest", ["SdkAppId=1400000001", "TaskId=7"], Kind.STOP, Defaults(account="a")
    )
    assert command.operation == StopStreamIngest(sdk_app_id=1400000001, task_id="7")


def test_a_value_may_hold_an_equals_sign() -> None:
    command = parse_words("live.GetMPUTaskStatus", ["AppId=a", "TaskId=t=1="], Kind.STATUS, Defaults(account="a"))
    assert command.operation == GetMPUTaskStatus(app_id="a", task_id="t=1=")


def test_a_newer_region_in_words_is_taken_only_with_the_option() -> None:
    words = ["Region=cn-new", "TaskId=t"]
    with pytest.raises(InvalidCommand, match="Region must be one of"):
        parse_words("live.StopLivePullToPush", words, Kind.STOP, Defaults(account="a"))
    command = parse_words("live.StopLivePullToPush", words, Kind.STOP, Defaults(account="a", any_region=True))
    assert command.operation == StopLivePullToPush(region=AnyRegion("cn-new"), task_id="t")


@pytest.mark.parametrize(
    ("operation", "words", "complaint"),
    [
        ("live.StopMPUTask", ["AppId"], "parameter 'AppId' must be Key=Value, such as TaskId=t-1"),
        ("live.StopMPUTask", ["=x"], "parameter '=x' must be Key=Value"),
        ("live.StopMPUTask", ["AppId=a", "AppId=a"], "AppId is given twice"),
        ("live.StopMPUTask", ["AppId=a"], "TaskId is required"),
        ("live.StopMPUTask", ["AppId=a", "TaskId="], "TaskId must not be empty"),
        ("live.StopMPUTask", ["AppId=a", "TaskId=t", "X=1"], "X is not a parameter"),
        ("live.StopMPUTsk", [], "did you mean live.StopMPUTask"),
        ("live.GetMPUTaskStatus", ["AppId=a"], "`streamstop status` takes it"),
        ("trtc.StopStreamIngest", ["SdkAppId=x", "TaskId=t"], "SdkAppId must be a valid integer"),
    ],
)
def test_wrong_words_are_refused(operation: str, words: list[str], complaint: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        parse_words(operation, words, Kind.STOP, Defaults(account="a"))
    assert complaint in str(raised.value)

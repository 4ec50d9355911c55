"""Commands: the contract's JSON reads back as it was written, and every bad field is named."""

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop import Command, InvalidCommand
from streamstop._core.commands import LONGEST_EXPIRY, VERSION, ReceivedCommand
from streamstop.operations import (
    OPERATIONS,
    AnyRegion,
    Operation,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
    parse,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STOP = StopMPUTask(app_id="app", task_id="t-1")

names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=55).filter(str.strip)
accounts = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@st.composite
def operations(draw: st.DrawFn) -> Operation:
    """Draw any operation with any parameters that are valid."""
    declaration = draw(st.sampled_from(list(OPERATIONS.values())))
    params: dict[str, Any] = {}
    for name, schema in declaration.model_json_schema()["properties"].items():
        kinds = [one["type"] for one in schema.get("anyOf", [schema])]
        if "null" in kinds and draw(st.booleans()):
            continue
        if name == "Region":
            params[name] = draw(st.sampled_from(schema["enum"]) | names.map(AnyRegion))
        else:
            params[name] = draw(st.integers(1, 100) if "integer" in kinds else names)
    return declaration(**params)


@given(
    operation=operations(),
    account=accounts,
    priority=st.integers(0, 9),
    expires_in=st.none() | st.timedeltas(timedelta(milliseconds=1), LONGEST_EXPIRY),
)
def test_a_command_reads_back_from_its_json(
    operation: Operation, account: str, priority: int, expires_in: timedelta | None
) -> None:
    command = Command(operation=operation, account=account, priority=priority, expires_in=expires_in)
    received = ReceivedCommand.from_message(json.loads(json.dumps(command.to_message(now=NOW))))
    assert received.operation == operation
    assert received.account == account
    assert received.lane == command.lane
    assert received.enqueued_at == NOW
    if expires_in is None:
        assert received.expires_at is None
    else:
        assert received.expires_at is not None
        assert abs(received.expires_at - (NOW + expires_in)) < timedelta(milliseconds=1)


def test_the_message_of_a_command_is_the_documented_one() -> None:
    command = Command(operation=STOP, account="live-cn", expires_in=timedelta(hours=1))
    assert command.to_message(now=NOW) == {
        "v": 1,
        "operation": "live.StopMPUTask",
        "account": "live-cn",
        "params": {"AppId": "app", "TaskId": "t-1"},
        "enqueued_at": 1767225600.0,
        "expires_at": 1767229200.0,
    }


def test_a_message_needs_only_operation_account_and_parameters() -> None:
    received = ReceivedCommand.from_message({"operation": "live.StopMPUTask", "account": "a", "params": STOP.params})
    assert received == ReceivedCommand(STOP, "a", None, None)


def test_keys_of_a_newer_producer_are_ignored() -> None:
    message = Command(operation=STOP, account="a").to_message(now=NOW) | {"trace": "x"}
    assert ReceivedCommand.from_message(message).operation == STOP


def test_a_region_that_the_producer_took_is_taken_by_the_worker() -> None:
    operation = StopLivePullToPush(region=AnyRegion("cn-new"), task_id="t")
    message = Command(operation=operation, account="a").to_message(now=NOW)
    assert ReceivedCommand.from_message(message).operation == operation


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"v": 2}, "v"),
        ({"v": "1"}, "v"),
        ({"v": None}, "v"),
        ({"operation": None}, "operation"),
        ({"operation": ["live.StopMPUTask"]}, "operation"),
        ({"operation": "live.Start"}, "operation"),
        ({"account": None}, "account"),
        ({"account": "Live"}, "account"),
        ({"account": 7}, "account"),
        ({"params": None}, "params"),
        ({"params": []}, "params"),
        ({"params": {"AppId": "a"}}, "TaskId"),
        ({"params": {"AppId": "a", "TaskId": "t", "self": 1}}, "self"),
        ({"enqueued_at": "yesterday"}, "enqueued_at"),
        ({"expires_at": "never"}, "expires_at"),
        ({"expires_at": [1]}, "expires_at"),
        ({"expires_at": 1e300}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"expires_at": 10**400}, "expires_at"),
    ],
)
def test_a_message_with_a_bad_field_is_refused_by_that_name(changes: dict[str, Any], field: str) -> None:
    message = Command(operation=STOP, account="a").to_message(now=NOW) | changes
    with pytest.raises(InvalidCommand) as raised:
        ReceivedCommand.from_message(message)
    assert raised.value.field == field
    assert field in str(raised.value)


@pytest.mark.parametrize("message", [None, [], "x", 7])
def test_a_message_that_is_no_object_is_refused(message: object) -> None:
    with pytest.raises(InvalidCommand, match="must be a JSON object"):
        ReceivedCommand.from_message(message)


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_message_raises_anything_else(message: object) -> None:
    with pytest.raises(InvalidCommand):
        ReceivedCommand.from_message(message)


@given(
    st.fixed_dictionaries(
        {"operation": st.sampled_from(list(OPERATIONS)), "account": accounts},
        optional={
            "v": st.just(VERSION),
            "params": st.dictionaries(
                st.sampled_from(["AppId", "TaskId", "Region", "SdkAppId", "self", "model_config", "params"]),
                st.none() | st.integers() | st.text() | st.lists(st.integers()),
            ),
            "expires_at": st.floats() | st.integers() | st.text(),
        },
    )
)
def test_a_message_is_read_or_refused(message: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidCommand):
        received = ReceivedCommand.from_message(message)
        assert received.account == message["account"]
        assert parse(message["operation"], received.operation.params, any_region=True) == received.operation


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"operation": "live.StopMPUTask"}, "operation"),
        ({"operation": StopMPUTask}, "operation"),
        ({"account": ""}, "account"),
        ({"account": "Live"}, "account"),
        ({"account": "-live"}, "account"),
        ({"account": "live.cn"}, "account"),
        ({"account": "a" * 64}, "account"),
        ({"account": "live\n"}, "account"),
        ({"account": None}, "account"),
        ({"priority": -1}, "priority"),
        ({"priority": 10}, "priority"),
        ({"priority": 1.0}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": None}, "priority"),
        ({"expires_in": True}, "expires_in"),
        ({"expires_in": timedelta(0)}, "expires_in"),
        ({"expires_in": -timedelta(seconds=1)}, "expires_in"),
        ({"expires_in": timedelta.max}, "expires_in"),
    ],
)
def test_a_command_with_a_bad_field_is_refused_by_that_name(changes: dict[str, Any], field: str) -> None:
    fields: dict[str, Any] = {"operation": STOP, "account": "live-cn"}
    with pytest.raises(InvalidCommand) as raised:
        Command(**fields | changes)
    assert raised.value.field == field
    assert field in str(raised.value)


def test_the_longest_expiry_can_be_written() -> None:
    message = Command(operation=STOP, account="a", expires_in=LONGEST_EXPIRY).to_message(now=NOW)
    assert message["expires_at"] == pytest.approx((NOW + LONGEST_EXPIRY).timestamp())


def test_a_commands_lane_is_its_account_and_operation() -> None:
    command = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t"), account="trtc-sg")
    assert command.lane.name == "trtc-sg.trtc.StopStreamIngest"


def test_a_job_id_names_its_lane() -> None:
    lane = Command(operation=STOP, account="live-cn").lane
    assert lane.of_job(lane.new_job_id()) == lane

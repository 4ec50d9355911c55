"""The simulator's control API and its client."""

import json
import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from streamstop.operations import GetMPUTaskStatus
from streamstop_simulator import (
    ControlError,
    LaneSummary,
    Phase,
    SimulatorClient,
    TaskState,
)
from streamstop_worker.accounts import Account
from tests.support.accounts import at_vendors
from tests.support.simulator_calls import INGEST, LIVE, OTHER, STOP, TRTC, call, connect, control


def test_the_control_api_tells_what_there_is(simulator: SimulatorClient) -> None:
    status, reply = control(simulator, "GET", "/_control/")

    assert status == 200
    assert "POST /_control/tasks" in reply["routes"]


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [
        ("POST", "tasks", "no json"),
        ("POST", "tasks", '{"account": "nobody", "operation": "live.StopMPUTask", "params": {}}'),
        ("POST", "tasks", '{"account": "demo-aliyun-1", "operation": "live.Stop", "params": {}}'),
        ("POST", "tasks", '{"account": "demo-aliyun-1", "operation": "live.StopMPUTask", "params": {}}'),
        ("POST", "faults", '{"fault": "flood"}'),
        ("PUT", "settings", '{"patience": 1}'),
        ("PUT", "limits", '[{"account": "demo-aliyun-1", "operation": "live.Stop", "limit": 1}]'),
        ("PUT", "accounts", '[{"name": "x", "vendor": "nobody", "access_key_id": "a", "access_key_secret": "b"}]'),
        ("GET", "calls?since=soon", None),
    ],
)
def test_a_wrong_control_request_is_told_what_is_wrong(
    simulator: SimulatorClient, method: str, name: str, body: str | None
) -> None:
    status, reply = control(simulator, method, f"/_control/{name}", body)

    assert status == 400
    assert reply["error"]


def test_nothing_is_started_where_one_of_several_tasks_is_wrong(simulator: SimulatorClient) -> None:
    good = {"account": LIVE.name, "operation": "live.StopMPUTask", "params": {"AppId": "a", "TaskId": "t"}}
    bad = good | {"params": {"AppId": "a"}}

    assert control(simulator, "POST", "/_control/tasks", json.dumps([good, bad]))[0] == 400

    assert simulator.tasks() == []


def test_the_client_starts_and_tells_tasks(simulator: SimulatorClient) -> None:
    simulator.start_tasks(LIVE.name, [STOP], ends_after=timedelta(0))
    simulator.start_tasks(TRTC.name, [INGEST], ignores_stops=True, phase=Phase.WAITING)

    (ended,) = simulator.tasks(LIVE.name)
    (running,) = simulator.tasks(state=TaskState.RUNNING)

    assert (ended.state, ended.params) == (TaskState.ENDED, {"AppId": "app", "TaskId": "t"})
    assert (running.account, running.phase, running.ignores_stops) == (TRTC.name, Phase.WAITING, True)
    simulator.forget_tasks()
    assert simulator.tasks() == []


def test_the_client_tells_calls_and_counts(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True)
    simulator.set_limit(LIVE.name, STOP.spec.id, 0.01)
    for operation in (STOP, STOP, GetMPUTaskStatus(app_id="app", task_id="t")):
        call(simulator, LIVE, operation)
    call(simulator, replace(OTHER, access_key_secret="wrong"))

    calls = simulator.calls()

    assert [(c.account, c.operation, c.answer, c.over_limit) for c in calls] == [
        (LIVE.name, "live.StopMPUTask", "ok", False),
        (LIVE.name, "live.StopMPUTask", "Throttling.User", True),
        (LIVE.name, "live.GetMPUTaskStatus", "ok", False),
        (OTHER.name, "live.StopMPUTask", "SignatureDoesNotMatch", False),
    ]
    assert calls[0].params == {"AppId": "app", "TaskId": "t"}
    assert simulator.calls(operation="live.GetMPUTaskStatus") == [calls[2]]
    assert simulator.calls(OTHER.name) == [calls[3]]
    assert simulator.calls(since=calls[2].index) == calls[2:]
    summary = simulator.summary()
    assert (summary.calls, summary.over_limit, summary.refusals) == (3, 1, {"SignatureDoesNotMatch": 1})
    lane = summary.lanes[LIVE.name, "live.StopMPUTask"]
    assert lane == LaneSummary(
        account=LIVE.name,
        operation="live.StopMPUTask",
        limit=0.01,
        calls=2,
        ok=1,
        throttled=1,
        over_limit=1,
        most_in_a_second=lane.most_in_a_second,
        first_at=calls[0].arrived_at,
        last_at=calls[1].arrived_at,
        answers={"ok": 1, "Throttling.User": 1},
    )
    simulator.forget_calls()
    assert simulator.calls() == []
    assert simulator.summary().lanes == {}


def test_many_calls_are_told_a_page_at_a_time(simulator: SimulatorClient) -> None:
    connection = connect(simulator)
    for _ in range(5):
        call(simulator, connection=connection)
    connection.close()

    _, first = control(simulator, "GET", "/_control/calls?limit=3")
    _, second = control(simulator, "GET", f"/_control/calls?limit=3&since={first['next']}")

    assert [len(page["calls"]) for page in (first, second)] == [3, 2]
    assert (first["complete"], second["complete"]) == (False, True)


def test_waiting_for_calls_ends_with_the_call_or_with_the_time(simulator: SimulatorClient) -> None:
    caller = threading.Timer(0.05, call, [simulator])
    caller.start()

    assert len(simulator.wait_for_calls(1, LIVE.name)) == 1
    caller.join()
    with pytest.raises(TimeoutError, match="1 calls of 2"):
        simulator.wait_for_calls(2, timeout=timedelta(milliseconds=20))


def test_an_account_that_is_added_may_call_at_once_under_limits_of_its_own(simulator: SimulatorClient) -> None:
    added = Account("added", "aliyun", "added-key", "added-secret", "token", limits={STOP.spec.id: 0.01})
    assert b"InvalidAccessKeyId.NotFound" in call(simulator, added)[1]

    simulator.add_accounts(at_vendors([added]))

    assert b"InvalidTask.NotFound" in call(simulator, added)[1]
    assert b"Throttling.User" in call(simulator, added)[1]
    _, accounts = control(simulator, "GET", "/_control/accounts")
    assert {"name": "added", "vendor": "aliyun", "access_key_id": "added-key"} in accounts["accounts"]
    assert "added-secret" not in json.dumps(accounts)


def test_faults_can_be_told_and_cleared(simulator: SimulatorClient) -> None:
    simulator.add_fault("code", code="Forbidden.RAM", task={"TaskId": "t"}, times=2)
    assert b"Forbidden.RAM" in call(simulator)[1]

    (rule,) = simulator.faults()
    assert (rule["fault"], rule["met"], rule["remaining"]) == ("code", 1, 1)

    simulator.clear_faults()
    assert simulator.faults() == []
    assert b"InvalidTask.NotFound" in call(simulator)[1]


def test_settings_that_are_not_named_stay(simulator: SimulatorClient) -> None:
    simulator.settings(auto_start=True)

    assert simulator.settings(retry_after_ms=5).auto_start is True
    assert control(simulator, "GET", "/_control/settings")[1]["retry_after_ms"] == 5


def test_a_request_that_the_simulator_refuses_is_an_error_of_the_client(simulator: SimulatorClient) -> None:
    with pytest.raises(ControlError, match="nobody"):
        simulator.start_tasks("nobody", [STOP])
    with pytest.raises(ValueError, match="needs a code"):
        simulator.add_fault("code")

"""The simulator's faults apply to the calls that a rule selects, as often as it says."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from streamstop.operations import GetMPUTaskStatus, Operation, StopMPUTask, StopStreamIngest
from streamstop_simulator.faults import Fault
from streamstop_simulator.messages import Answer, TransportFault
from streamstop_simulator.simulation import Settings
from streamstop_worker.accounts import Account
from tests.support.simulated_vendors import LIVE, LIVE_STS, TRTC, Vendors, code

STOP = StopMPUTask(app_id="app", task_id="t")
INGEST = StopStreamIngest(sdk_app_id=1, task_id="t")


def faulty(**rule: Any) -> Vendors:
    vendors = Vendors(settings=Settings(auto_start=True))
    vendors.simulation.faults.add(Fault.model_validate(rule))
    return vendors


def send(vendors: Vendors, account: Account = LIVE, operation: Operation = STOP) -> Answer:
    return vendors.send(vendors.sign(account, operation))


@pytest.mark.parametrize(
    ("rule", "account", "expected"),
    [
        ({"fault": "500"}, LIVE, (500, "InternalError")),
        ({"fault": "500"}, TRTC, (500, "InternalError")),
        ({"fault": "503"}, LIVE, (503, "ServiceUnavailable")),
        ({"fault": "503"}, TRTC, (503, "ServiceUnavailable")),
        ({"fault": "throttle"}, LIVE, (400, "Throttling.User")),
        ({"fault": "throttle"}, TRTC, (200, "RequestLimitExceeded")),
        ({"fault": "code", "code": "Forbidden.RAM"}, LIVE, (400, "Forbidden.RAM")),
        ({"fault": "code", "code": "Forbidden.RAM", "status": 403}, LIVE, (403, "Forbidden.RAM")),
        ({"fault": "code", "code": "LimitExceeded"}, TRTC, (200, "LimitExceeded")),
        ({"fault": "500", "code": "InternalError.Db", "status": 502}, LIVE, (502, "InternalError.Db")),
    ],
)
def test_an_error_comes_in_the_vendors_shape(rule: dict[str, Any], account: Account, expected: tuple[int, str]) -> None:
    vendors = faulty(**rule)

    answer = send(vendors, account, STOP if account is LIVE else INGEST)

    assert (answer.status, code(answer)) == expected
    assert list(vendors.simulation.tasks) == []


def test_a_throttle_may_carry_alibabas_hint_and_is_no_call_over_the_limit() -> None:
    vendors = faulty(fault="throttle", retry_after_ms=2500)

    assert dict(send(vendors).headers)["x-acs-retry-after"] == "2500"
    counts = vendors.simulation.journal.lanes[LIVE.name, STOP.spec.id]
    assert (counts.throttled, counts.over_limit, counts.faults) == (1, 0, 1)


def test_an_html_page_stands_where_a_proxy_would_put_it() -> None:
    answer = send(faulty(fault="html"))

    assert (answer.status, answer.content_type) == (502, "text/html")
    assert answer.body.startswith(b"<html>")


def test_any_reply_can_be_given_in_the_vendors_wrapping() -> None:
    fields = {"RetCode": 5, "Description": "no such stream"}

    aliyun = json.loads(send(faulty(fault="reply", reply=fields)).body)
    tencent = json.loads(send(faulty(fault="reply", reply=fields), TRTC, INGEST).body)["Response"]

    for reply in (aliyun, tencent):
        assert reply.pop("RequestId")
        assert reply == fields


@pytest.mark.parametrize("kind", ["reset", "half_body", "hang"])
def test_a_fault_of_the_connection_is_left_to_the_server(kind: str) -> None:
    vendors = faulty(fault=kind)

    assert send(vendors).transport_fault is TransportFault(kind)
    assert [call.answer for call in vendors.simulation.journal.since(0)] == [kind]


@pytest.mark.parametrize("kind", ["500", "reset", "half_body", "hang", "html", "throttle"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_fault_comes_before_the_call_is_carried_out_or_after(kind: str, when: str) -> None:
    vendors = faulty(fault=kind, when=when)
    vendors.start(LIVE, STOP)

    send(vendors)

    (task,) = vendors.simulation.tasks
    (call,) = vendors.simulation.journal.since(0)
    assert task.stops == (1 if when == "after" else 0)
    assert call.carried_out == (when == "after")
    assert call.fault == kind


def test_a_fault_after_a_call_that_the_vendor_refuses_hides_the_refusal() -> None:
    vendors = Vendors()
    vendors.simulation.faults.add(Fault.model_validate({"fault": "503", "when": "after"}))

    assert code(send(vendors)) == "ServiceUnavailable"
    assert code(send(vendors)) == "InvalidTask.NotFound"


def test_latency_delays_the_answer_and_changes_nothing_else() -> None:
    vendors = faulty(fault="latency", latency_ms=250)

    answer = send(vendors)

    assert (answer.delay_ms, code(answer)) == (250, None)
    assert [call.answer for call in vendors.simulation.journal.since(0)] == ["ok"]


def test_every_fault_may_come_late_and_on_top_of_the_usual_latency() -> None:
    vendors = faulty(fault="500", latency_ms=250)
    vendors.simulation.settings = Settings(auto_start=True, latency_ms=100)

    assert [send(vendors).delay_ms for _ in range(2)] == [350, 100]


def test_a_fault_comes_as_often_as_was_asked() -> None:
    vendors = faulty(fault="500", times=2)

    assert [send(vendors).status for _ in range(3)] == [500, 500, 200]


def test_without_a_number_a_fault_comes_once() -> None:
    vendors = faulty(fault="500")

    assert [send(vendors).status for _ in range(2)] == [500, 200]


@pytest.mark.parametrize(
    ("rule", "met"),
    [
        ({}, True),
        ({"account": LIVE.name}, True),
        ({"account": LIVE_STS.name}, False),
        ({"operation": "live.StopMPUTask"}, True),
        ({"operation": "live.GetMPUTaskStatus"}, False),
        ({"task": {"TaskId": "t"}}, True),
        ({"task": {"TaskId": "t", "AppId": "other"}}, False),
        ({"task": {"JobId": "t"}}, False),
        ({"account": LIVE.name, "operation": "rtc.StopMPUTask"}, False),
    ],
)
def test_a_fault_comes_to_the_calls_that_all_its_parts_fit(rule: dict[str, Any], met: bool) -> None:
    assert (send(faulty(fault="500", **rule)).status == 500) is met


def test_a_task_is_told_by_number_or_text_alike() -> None:
    vendors = faulty(fault="500", task={"SdkAppId": "1"})

    assert send(vendors, TRTC, INGEST).status == 500


def test_the_first_rule_that_fits_decides_and_the_next_waits_its_turn() -> None:
    vendors = faulty(fault="500")
    vendors.simulation.faults.add(Fault.model_validate({"fault": "503"}))

    assert [send(vendors).status for _ in range(3)] == [500, 503, 200]


def test_a_probability_is_a_seeded_sequence_that_can_be_repeated() -> None:
    def statuses(seed: int) -> list[int]:
        vendors = faulty(fault="500", probability=0.3, seed=seed)
        vendors.simulation.set_limit(LIVE.name, "live.GetMPUTaskStatus", 1000)
        return [send(vendors, LIVE, GetMPUTaskStatus(app_id="app", task_id="t")).status for _ in range(200)]

    first = statuses(7)

    assert first == statuses(7)
    assert first != statuses(8)
    assert 30 < first.count(500) < 90


def test_a_probability_may_be_bounded() -> None:
    vendors = faulty(fault="500", probability=1, times=2)

    assert [send(vendors).status for _ in range(3)] == [500, 500, 200]


def test_a_fault_hides_neither_a_wrong_signature_nor_a_call_over_the_limit() -> None:
    vendors = faulty(fault="reset", probability=1)
    vendors.simulation.set_limit(LIVE.name, STOP.spec.id, 1)

    wrong = vendors.sign(Account(LIVE.name, "aliyun", LIVE.access_key_id, "another"), STOP)
    assert code(vendors.send(wrong)) == "SignatureDoesNotMatch"
    assert send(vendors).transport_fault is TransportFault.RESET
    assert code(send(vendors)) == "Throttling.User"


def test_rules_are_told_with_what_they_did_and_still_may_do() -> None:
    vendors = faulty(fault="500", times=3)
    send(vendors)

    (rule,) = vendors.simulation.faults.to_json()
    assert (rule["met"], rule["remaining"]) == (1, 2)

    vendors.simulation.faults.clear()
    assert vendors.simulation.faults.to_json() == []


@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "earthquake"},
        {"fault": "code"},
        {"fault": "reply"},
        {"fault": "latency"},
        {"fault": "500", "times": 0},
        {"fault": "500", "probability": 1.5},
        {"fault": "500", "tiems": 2},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Fault.model_validate(rule)

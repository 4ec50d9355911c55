"""The command line's text: aligned for people, JSON for programs, and harmless to a terminal."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamstop import Became, CallAnswer, Command, Deferral, Operation, Outcome, Result, State, Status
from streamstop._core.lane_view import LaneError, LaneView
from streamstop._core.sightings import Sighting, Where
from streamstop.cli._shared.exit_codes import Exit
from streamstop.cli._shared.output import printable
from streamstop.cli.find_output import sighting_lines
from streamstop.cli.job_output import JobRow, job_json, job_page, job_table, results_summary
from streamstop.cli.operations import operation_facts, operation_page
from streamstop.operations import OPERATIONS, GetMPUTaskStatus, ListRtcMPUTaskDetail, StopMPUTask

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STOP = StopMPUTask(app_id="app", task_id="t-1")


def row(number: int, result: Result | None, operation: Operation = STOP, **told: Any) -> JobRow:
    command = Command(operation=operation, account="live-cn")
    job_id = f"{command.lane.name}.{number}"
    if result is None:
        return JobRow(job_id, command, None)
    outcome = Outcome(result=result, job_id=job_id, operation=operation.spec.id, account="live-cn", **told)
    return JobRow(job_id, command, outcome)


def test_rows_are_aligned_and_say_why_a_job_did_not_end_well() -> None:
    rows = [
        row(1, Result.STOPPED, message="quiet where all is well"),
        row(2, Result.ALREADY_STOPPED, code="CodeTaskHasStopped"),
        row(10, Result.NOT_FOUND, code="CodeTaskNotExist", message="no such task"),
        row(3, None),
    ]
    assert list(job_table(rows)) == [
        "stopped          live-cn.live.StopMPUTask.1   AppId=app TaskId=t-1",
        "already_stopped  live-cn.live.StopMPUTask.2   AppId=app TaskId=t-1",
        "not_found        live-cn.live.StopMPUTask.10  AppId=app TaskId=t-1  CodeTaskNotExist: no such task",
        "open             live-cn.live.StopMPUTask.3   AppId=app TaskId=t-1",
    ]
    assert results_summary(rows) == "4 jobs: 1 stopped, 1 already_stopped, 1 not_found, 1 open"


def test_a_status_shows_what_the_vendor_sent_and_what_it_means() -> None:
    status = Status(raw=1, state=State.RUNNING, over=False)
    asked = row(1, Result.STATUS, GetMPUTaskStatus(app_id="app", task_id="t-1"), status=status)
    assert list(job_table([asked])) == [
        "status  live-cn.live.GetMPUTaskStatus.1  AppId=app TaskId=t-1  running (Status = 1)"
    ]


def test_a_list_shows_the_vendors_reply() -> None:
    asked = row(1, Result.STATUS, ListRtcMPUTaskDetail(app_id="app"), reply={"Total": 0, "Name": "直播"})
    assert next(job_table([asked])).endswith('  {"Total": 0, "Name": "直播"}')


def test_nothing_that_a_vendor_says_moves_the_cursor() -> None:
    shown = next(job_table([row(1, Result.REFUSED, code="\x1b]0;x\x07", message="a\r\nb\x9b2J\u202edone\u2028")]))
    assert r"\x1b]0;x\x07: a\r\nb\x9b2J\u202edone\u2028" in shown


@given(st.text())
def test_printable_text_is_one_line_without_controls(text: str) -> None:
    shown = printable(text)
    assert shown.splitlines() in ([], [shown])
    assert shown.encode().decode() == shown
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)


@pytest.mark.parametrize("text", ["plain", "任务不存在", "a\u3000b", "é", ""])
def test_text_that_does_nothing_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_line_of_json_has_the_whole_outcome_or_null() -> None:
    assert json.loads(row(1, None).to_json()) == {
        "job_id": "live-cn.live.StopMPUTask.1",
        "operation": "live.StopMPUTask",
        "account": "live-cn",
        "outcome": None,
    }
    ended = row(1, Result.NOT_FOUND, code="X", message="任务\x1b", ended_at=AT)
    assert ended.to_json().isascii()
    outcome = json.loads(ended.to_json())["outcome"]
    assert outcome["result"] == "not_found"
    assert Outcome.model_validate(outcome) == ended.outcome


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([Result.STOPPED, Result.ALREADY_STOPPED, Result.STATUS], 0),
        ([Result.STOPPED, Result.NOT_FOUND], 1),
        ([Result.REFUSED], 1),
        ([Result.CANCELLED], 1),
        ([Result.STOPPED, None], 3),
        ([Result.REFUSED, None], 3),
        ([None], 3),
    ],
)
def test_the_exit_code_sums_up(results: list[Result | None], code: int) -> None:
    outcomes = [found.outcome for found in (row(1, result) for result in results) if found.outcome is not None]
    assert Exit.of(len(results), outcomes) == code


def test_the_page_of_an_ended_job_has_everything() -> None:
    job_id = "live-cn.live.StopMPUTask.1"
    outcome = Outcome(
        result=Result.REFUSED,
        job_id=job_id,
        operation="live.StopMPUTask",
        account="live-cn",
        code="Forbidden",
        message="no\x1b",
        request_id="R",
        attempts=1,
        calls=2,
        call_seconds=0.213,
        enqueued_at=AT,
        ended_at=AT + timedelta(seconds=1),
    )
    assert list(job_page(job_id, outcome, None, AT + timedelta(minutes=5))) == [
        "job          live-cn.live.StopMPUTask.1",
        "state        ended: refused",
        "operation    live.StopMPUTask",
        "account      live-cn",
        "code         Forbidden",
        r"message      no\x1b",
        "request id   R",
        "attempts     1",
        "calls        2",
        "last call    took 0.213 s",
        "enqueued at  2026-01-02T03:04:05Z (5 min ago)",
        "ended at     2026-01-02T03:04:06Z (5 min ago)",
    ]


def test_the_page_of_a_deferred_job_says_why_until_when_and_how_its_lane_is() -> None:
    view = LaneView(
        account="live-cn",
        operation="live.StopMPUTask",
        at=AT,
        waiting=3,
        in_flight=2,
        deferred=1,
        rest=timedelta(seconds=1.5),
        pace=9.7,
        last_error=LaneError(code="Throttling.User", at=AT),
    )
    assert list(
        job_page("live-cn.live.StopMPUTask.1", Deferral("ServiceUnavailable", AT), view, AT - timedelta(seconds=9))
    ) == [
        "job     live-cn.live.StopMPUTask.1",
        "state   deferred",
        "reason  ServiceUnavailable",
        "due     2026-01-02T03:04:05Z (in 9 s)",
        "lane    3 waiting, 2 in flight, 1 deferred, 9.70 calls/s, resting 2 s: Throttling.User",
    ]


def test_the_page_of_an_open_job_does_not_claim_that_it_exists() -> None:
    assert "open: not called yet" in "\n".join(job_page("j", None, None, AT))
    assert "open: called before" in "\n".join(job_page("j", None, None, AT, calls=1)), (
        "by a worker that keeps no answers"
    )
    throttled = CallAnswer(number=1, at=AT, code="Throttling", message="no\x1b", became=Became.THROTTLED)
    ended = CallAnswer(number=2, at=AT, became=Became.ENDED)
    assert list(job_page("j", None, None, AT + timedelta(seconds=5), [throttled, ended], calls=2)) == [
        "job     j",
        "state   open: called before",
        r"call 1  2026-01-02T03:04:05Z (5 s ago); throttled; Throttling: no\x1b",
    ]
    assert json.loads(job_json("j", None, [throttled]))["answers"] == [throttled.model_dump(mode="json")]


@pytest.mark.parametrize(
    ("job_id", "operation", "account"),
    [("live-cn.live.StopMPUTask.1", "live.StopMPUTask", "live-cn"), ("foreign", None, None)],
)
def test_the_json_of_a_job_tells_its_state(job_id: str, operation: str | None, account: str | None) -> None:
    common = {"job_id": job_id, "operation": operation, "account": account}
    assert json.loads(job_json(job_id, None)) == common | {
        "state": "open",
        "deferral": None,
        "answers": None,
        "outcome": None,
    }
    deferred = json.loads(job_json(job_id, Deferral("why", AT)))
    assert deferred["state"] == "deferred"
    assert deferred["deferral"] == {"reason": "why", "due": "2026-01-02T03:04:05+00:00"}
    ended = row(1, Result.STOPPED).outcome
    assert json.loads(job_json(job_id, ended))["state"] == "ended"
    assert json.loads(job_json(job_id, ended))["account"] == "live-cn"


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_operation_has_facts_for_people_and_programs(operation_id: str) -> None:
    facts = operation_facts(operation_id)
    spec = OPERATIONS[operation_id].spec
    assert (facts["kind"], facts["vendor"], facts["limit"]) == (spec.kind, spec.product.vendor.name, spec.limit)
    assert {one["name"] for one in facts["parameters"]} == {
        f.alias for f in OPERATIONS[operation_id].model_fields.values()
    }
    page = "\n".join(operation_page(json.loads(json.dumps(facts))))
    assert spec.source in page
    assert "`" not in page


def test_the_page_of_an_operation_says_what_is_allowed() -> None:
    assert list(operation_page(operation_facts("live.DescribeLivePullToPushList"))) == [
        "live.DescribeLivePullToPushList  (status, aliyun, 10 calls/s)",
        "  List the pulled-stream relay tasks of a live centre, a page at a time.",
        "  Region      required  one of ap-northeast-1, ap-southeast-1, ap-southeast-5, eu-central-1, me-central-1, "
        "cn-beijing, cn-shanghai, cn-shenzhen, cn-qingdao, preregion; a newer one with --any-region",
        "  TaskId      optional  text, up to 255 characters",
        "  TaskName    optional  text, up to 255 characters",
        "  DstUrl      optional  text, up to 255 characters",
        "  PageNumber  optional  whole number, 1 to 2147483647",
        "  PageSize    optional  whole number, 1 to 100",
        "  https://api.aliyun.com/document/live/2016-11-01/DescribeLivePullToPushList",
    ]


def test_the_page_of_an_operation_fits_the_terminal() -> None:
    facts = operation_facts("live.DescribeLivePullToPush")
    lines = [line for line in operation_page(facts, 80) if not line.startswith("  https://")]
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert all(" ".join(line.split()) in words for line in operation_page(facts) if not line.startswith("  https://"))


@pytest.mark.parametrize("job_id", ["live-cn.live.StopMPUTask.1f9fe75f4c2d4a3fb5d7c8e90a1b2c3d", None])
def test_what_is_found_fits_the_terminal_with_ids_whole(job_id: str | None) -> None:
    sighting = Sighting(
        where=Where.ENDED if job_id else Where.REGISTERED,
        account="live-cn",
        operation="live.StopMPUTask",
        params={"AppId": "a", "TaskId": "t" * 40},
        job_id=job_id,
        room=None if job_id else "room-42",
    )
    (whole,) = sighting_lines(sighting)
    assert sighting_lines(sighting, len(whole)) == [whole]
    first, second = sighting_lines(sighting, 80)
    assert len(first) == 80
    assert "AppId=a TaskId=tttt" in first
    assert second == f"  {job_id or 'live-cn.live.StopMPUTask in room room-42'}"

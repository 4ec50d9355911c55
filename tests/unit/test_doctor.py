"""The doctor's checks, each on facts that are right and facts that are wrong; the examination; what is printed."""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from redis import Redis
from redis.exceptions import NoPermissionError

from streamstop import (
    Diagnosis,
    Finding,
    InvalidCommand,
    Lane,
    LimitDifference,
    Outcome,
    QueueUnavailable,
    Result,
    Severity,
    WorkerState,
    WorkerView,
)
from streamstop._core.controls import Controls, Hold, Limit, Pause
from streamstop._core.findings import ServerFacts, SlowCommand, note, ok, problem
from streamstop._core.lane_view import LaneError, LaneView
from streamstop._doctor import controls, fleet
from streamstop._doctor.account import judge_answer
from streamstop._doctor.durability import DURABILITY
from streamstop._doctor.server import SERVER
from streamstop._doctor.settings import SETTINGS, check_settings
from streamstop._redis.server_facts import read_facts
from streamstop.cli import main
from streamstop.cli.doctor import diagnosis_page
from streamstop.operations import GetMPUTaskStatus
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.signs_of_life import NOW, worker_view

ROOT = Path(__file__).parents[2]
STOP = "live.StopMPUTask"
#: What a Redis that is well says.
WELL: dict[str, Any] = {
    "redis_version": "7.0.15",
    "aof_enabled": 1,
    "maxmemory": 10_000_000,
    "used_memory": 1_000_000,
    "maxmemory_policy": "noeviction",
    "aof_last_write_status": "ok",
    "aof_last_bgrewrite_status": "ok",
    "role": "master",
    "connected_slaves": 0,
}


def problems_of(findings: Iterator[Finding]) -> list[tuple[str, str]]:
    """Return check and text of each problem; a problem says what to do."""
    found = [finding for finding in findings if finding.severity is Severity.PROBLEM]
    assert all(finding.do for finding in found)
    return [(finding.check, finding.text) for finding in found]


def about_redis(facts: ServerFacts) -> Iterator[Finding]:
    return (finding for check in (*DURABILITY, *SERVER) for finding in check(facts))


def server(clock_ahead_s: float = 0, replicas: int = 0, slow_ms: Sequence[int] = (), **info: Any) -> ServerFacts:
    return ServerFacts(
        info=WELL | info,
        config={"save": "", "appendfsync": "everysec"},
        slow=[SlowCommand("lane/take", NOW, timedelta(milliseconds=each)) for each in slow_ms],
        now=NOW,
        clock_ahead=timedelta(seconds=clock_ahead_s),
        replicas_wanted=replicas,
    )


def test_of_a_redis_that_is_well_every_check_says_so() -> None:
    findings = list(about_redis(server()))
    assert {finding.severity for finding in findings} == {Severity.OK}
    checks = [finding.check.removeprefix("redis.") for finding in findings]
    assert checks == ["version", "eviction", "persistence", "memory", "clock", "slow"]


@pytest.mark.parametrize(
    ("facts", "check", "words"),
    [
        (server(redis_version="6.0.16"), "version", "older than 6.2"),
        (server(maxmemory_policy="volatile-lru", evicted_keys=7), "eviction", "deletes keys when it is full"),
        (server(aof_enabled=0), "persistence", "keeps no append-only file"),
        (server(role="slave"), "role", "is a replica"),
        (server(used_memory=9_100_000), "memory", "uses 9 MB of 10 MB, its limit"),
        (
            server(maxmemory=0, total_system_memory=1_000_000),
            "memory",
            "1 MB of 1 MB, the machine's memory, for it has no limit",
        ),
        (server(aof_last_write_status="err"), "disk", "could not write to its disk"),
        (server(aof_last_bgrewrite_status="err"), "disk", "could not write to its disk"),
        (server(clock_ahead_s=60), "clock", "the clock of this machine is 60 s ahead of Redis' clock"),
        (server(clock_ahead_s=-60), "clock", "the clock of this machine is 60 s behind Redis' clock"),
        (server(slow_ms=[12, 150]), "slow", "the last hour: 2; the slowest, lane/take, took 150 ms"),
        (server(replicas=2, connected_slaves=1), "replicas", "asks for 2, and 1 are connected"),
    ],
)
def test_each_problem_of_redis_is_named(facts: ServerFacts, check: str, words: str) -> None:
    ((found, text),) = problems_of(about_redis(facts))
    assert found == f"redis.{check}"
    assert words in text


@pytest.mark.parametrize(
    "facts",
    [
        server(clock_ahead_s=4),
        server(slow_ms=[99]),
        server(used_memory=8_900_000),
        server(maxmemory=0, total_system_memory=None),
        server(replicas=1, connected_slaves=1),
        server(rdb_last_bgsave_status="err"),  # with an append-only file, a snapshot is not needed
        ServerFacts(info=None),
    ],
)
def test_what_is_tolerable_or_unknown_is_no_problem(facts: ServerFacts) -> None:
    assert problems_of(about_redis(facts)) == []


def test_slow_commands_of_long_ago_do_not_count() -> None:
    old = SlowCommand("lane/take", NOW - timedelta(hours=2), timedelta(seconds=3))
    facts = ServerFacts(info=WELL, slow=[old], now=NOW)
    assert problems_of(about_redis(facts)) == []


def workers_problems(*workers: WorkerView) -> list[tuple[str, str]]:
    return problems_of(finding for check in fleet.WORKERS for finding in check(workers))


def test_of_workers_that_are_well_there_is_no_problem() -> None:
    assert workers_problems(worker_view("w1@h"), worker_view("w2@h", state=WorkerState.STOPPING)) == []


@pytest.mark.parametrize(
    ("workers", "check", "words"),
    [
        ([], "running", "no worker takes jobs"),
        ([worker_view(state=WorkerState.STARTING)], "running", "no worker takes jobs"),
        (
            [worker_view(), worker_view("w2@h", state=WorkerState.LOST, problem="no sign of life for 40 s")],
            "lost",
            "worker w2@h is lost: no sign of life for 40 s",
        ),
        (
            [worker_view(), worker_view("w2@h", state=WorkerState.STUCK, problem="the sweep has not answered")],
            "stuck",
            "worker w2@h is stuck: the sweep has not answered",
        ),
        ([worker_view(), worker_view(pid=8)], "names", "2 workers are called w1@h"),
        ([worker_view(clock_ahead=61.0)], "clocks", "the clock of worker w1@h is 61 s ahead of Redis' clock"),
        ([worker_view(clock_ahead=-300.0)], "clocks", "the clock of worker w1@h is 5 min behind Redis' clock"),
        (
            [
                worker_view(differences=[LimitDifference(account="a", operation=STOP, limits={"w1@h": 8, "w2@h": 4})]),
                worker_view("w2@h"),
            ],
            "limits",
            f"workers disagree about limits (a {STOP}: 8 in w1@h, 4 in w2@h)",
        ),
    ],
)
def test_each_problem_of_workers_is_named(workers: list[WorkerView], check: str, words: str) -> None:
    assert workers_problems(*workers) == [(f"workers.{check}", words)]


def test_different_versions_and_full_workers_are_notes() -> None:
    workers = [worker_view(version="1", busy=256), worker_view("w2@h", version="2", busy=256)]
    notes = [finding for check in fleet.WORKERS for finding in check(workers) if finding.severity is Severity.NOTE]
    assert [(finding.check, finding.text) for finding in notes] == [
        ("workers.slots", "every slot of every worker is busy"),
        ("workers.versions", "the workers have different versions (1: w1@h; 2: w2@h)"),
    ]


def test_a_pause_is_a_problem_once_it_is_older_than_a_day_and_a_hold_at_once() -> None:
    young = Pause(scope="live-cn", by="ann@desk", reason="a change", at=NOW - timedelta(hours=2))
    old = Pause(scope="all", by="ann@desk", at=NOW - timedelta(days=2), until=NOW + timedelta(days=1))
    about_young, about_old = controls.check_pauses([young, old], NOW)
    assert about_young.severity is Severity.NOTE
    assert about_young.text == "live-cn is paused since 2025-12-31 22:00 UTC (2 h) by ann@desk: a change"
    assert (about_old.severity, about_old.do) == (
        Severity.PROBLEM,
        "resume it if nobody needs the pause: streamstop resume all",
    )
    hold = Hold(account="live-cn", at=NOW, operation=STOP, code="InvalidAccessKeyId.NotFound", message="no such key")
    (held,) = controls.check_holds([hold], NOW)
    assert held.severity is Severity.PROBLEM
    assert held.text == (
        "account live-cn is held since 2026-01-01 00:00 UTC (0 s): its vendor refuses the key "
        "(InvalidAccessKeyId.NotFound: no such key); its jobs wait, and one a minute is called as a probe: "
        "the next is due now"
    )
    assert held.do is not None
    assert held.do.endswith("streamstop resume live-cn")
    limit = Limit(account="live-cn", operation=STOP, limit=2, by="ann@desk", at=NOW - timedelta(days=3))
    (limited,) = controls.check_limits([limit], NOW)
    assert (limited.severity, limited.do) == (Severity.NOTE, f"streamstop limit clear live-cn {STOP}")


def test_a_lane_without_a_worker_is_a_problem_and_a_failing_one_is_a_note() -> None:
    served = LaneView(account="live-cn", operation=STOP, at=NOW, waiting=3, served=True)
    unserved = served.model_copy(update={"account": "elsewhere", "served": False, "deferred": 2})
    failing = served.model_copy(
        update={"faults": 5, "rest": timedelta(seconds=8), "last_error": LaneError(code="ConnectTimeout", at=NOW)}
    )
    found = list(fleet.check_lanes([served, unserved, failing]))
    assert [(finding.check, finding.severity) for finding in found] == [
        ("lanes.served", Severity.PROBLEM),
        ("lanes.failing", Severity.NOTE),
    ]
    assert found[0].text == f"lane elsewhere.{STOP} holds 5 jobs, and no running worker has account elsewhere"
    assert found[1].text == f"lane live-cn.{STOP} is failing: probe in 8 s, ConnectTimeout"
    assert [finding.severity for finding in fleet.check_lanes([served])] == [Severity.OK]


def test_dead_letters_are_counted_by_result() -> None:
    (finding,) = controls.check_dead_letters({Result.REFUSED: 8, Result.GAVE_UP: 0, None: 2})
    assert (finding.severity, finding.facts) == (Severity.PROBLEM, {"refused": 8, "unreadable": 2})
    assert finding.text == "jobs wait for a person as dead letters: 8 refused, 2 unreadable"
    assert problems_of(controls.check_dead_letters({})) == []


def test_the_settings_are_those_of_the_reference() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    assert set(re.findall(r"^\| `(STREAMSTOP_[A-Z_]+)`", page, flags=re.MULTILINE)) == SETTINGS


def test_a_misspelt_setting_is_named_with_the_one_that_it_resembles() -> None:
    names = ["PATH", "STREAMSTOP_REDIS_URL", "STREAMSTOP_REDIS_URI", "STREAMSTOP_X"]
    found = [(finding.text, finding.do) for finding in check_settings(names)]
    assert found == [
        ("STREAMSTOP_REDIS_URI is set, and there is no such setting", "did you mean STREAMSTOP_REDIS_URL?"),
        ("STREAMSTOP_X is set, and there is no such setting", "remove it, or correct its name"),
    ]


@pytest.mark.parametrize(
    ("result", "code", "text"),
    [
        (Result.STATUS, None, "the key of live-cn is valid and may call live.GetMPUTaskStatus; the answer came 0.50 s"),
        (Result.NOT_FOUND, "CodeTaskNotExist", "the key of live-cn is valid and may call"),
        (Result.REFUSED, "InvalidParameter", "the key of live-cn is valid and may call"),
        (
            Result.REFUSED,
            "SignatureDoesNotMatch",
            "the vendor refuses the key of live-cn (SignatureDoesNotMatch: said)",
        ),
        (Result.REFUSED, "InvalidAccessKeyId.NotFound", "the vendor refuses the key"),
        (Result.REFUSED, "AuthFailure.SecretIdNotFound", "the vendor refuses the key"),
        (Result.REFUSED, "AuthFailure.UnauthorizedOperation", "the key of live-cn is valid, and has no permission for"),
        (Result.REFUSED, "Forbidden.RAM", "the key of live-cn is valid, and has no permission for"),
        (
            Result.GAVE_UP,
            "AuthFailure.SignatureExpire",
            "the vendor says that the time of live-cn's signature is wrong",
        ),
        (Result.GAVE_UP, "ConnectTimeout", "the vendor of live-cn gave no answer (gave_up: ConnectTimeout: said)"),
        (Result.EXPIRED, None, "the vendor of live-cn gave no answer (expired: "),
    ],
)
def test_a_vendors_answer_tells_about_the_key(result: Result, code: str | None, text: str) -> None:
    operation = "trtc.DescribeStreamIngest" if "AuthFailure" in (code or "") else "live.GetMPUTaskStatus"
    outcome = Outcome(
        result=result,
        job_id=f"live-cn.{operation}.1",
        account="live-cn",
        operation=operation,
        code=code,
        message="said" if code else None,
        enqueued_at=NOW,
        ended_at=NOW + timedelta(seconds=0.5),
    )
    finding = judge_answer(outcome)
    assert finding.text.startswith(text)
    assert (finding.severity is Severity.OK) is ("is valid and may" in finding.text)


def test_what_redis_refuses_to_tell_is_unknown(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise NoPermissionError("NOPERM")

    for name in ("info", "config_get", "slowlog_get"):
        monkeypatch.setattr(redis, name, refuse)
    facts = read_facts(redis, replicas_wanted=0)
    assert (facts.info, facts.config, facts.slow) == (None, None, None)
    assert facts.refused == dict.fromkeys(("INFO", "CONFIG GET", "SLOWLOG"), "NoPermissionError")


def checks(diagnosis: Diagnosis) -> dict[str, Severity]:
    return {finding.check: finding.severity for finding in diagnosis.findings}


def test_a_recording_client_is_diagnosed_as_a_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun", "trtc-sg": "tencent"})
    for account in ("live-cn", "trtc-sg"):
        diagnosis = recording.diagnose(account)
        assert set(checks(diagnosis).values()) == {Severity.OK}
        assert (diagnosis.problems, diagnosis.reachable) == ([], True)
        assert asyncio.run(RecordingAsyncClient(recording).diagnose(account)).findings[0] == diagnosis.findings[0]
    recording.set_workers([worker_view(state=WorkerState.LOST, problem="gone")])
    assert [finding.check for finding in recording.diagnose().problems] == ["workers.running", "workers.lost"]


def test_the_letter_of_a_check_is_dropped() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    recording.answer(GetMPUTaskStatus, result="refused", code="SignatureDoesNotMatch")
    (finding,) = recording.diagnose("live-cn").problems
    assert finding.check == "account"
    assert recording.dead_letters.count() == 0


def test_a_check_without_an_answer_is_cancelled() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=True)
    (finding,) = (one for one in recording.diagnose("live-cn").findings if one.check == "account")
    assert finding.text == "the command that checks live-cn got no answer within 20 s"
    assert recording.lanes([Lane("live-cn", "live.GetMPUTaskStatus")])[0].waiting == 0


def about_account(recording: RecordingClient) -> Finding:
    (finding,) = (one for one in recording.diagnose("live-cn").findings if one.check == "account")
    return finding


def test_a_check_of_a_paused_account_names_the_pause_and_enqueues_nothing() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    recording.pause("vendor:aliyun", reason="the night", by="ann@desk")
    finding = about_account(recording)
    assert finding.text.startswith("the key of live-cn cannot be checked: vendor:aliyun is paused since ")
    assert finding.text.endswith(" by ann@desk: the night")
    assert finding.do == "resume it, and examine the account again: streamstop resume vendor:aliyun"
    assert recording.enqueued == []


@pytest.mark.parametrize("probe_in", [50, 5, None])
def test_a_check_of_a_held_account_names_the_hold_unless_its_probe_is_answered(
    monkeypatch: pytest.MonkeyPatch, probe_in: float | None
) -> None:
    now = datetime.now(UTC)
    probe = None if probe_in is None else now + timedelta(seconds=probe_in)
    hold = Hold(account="live-cn", at=now, operation=STOP, code="InvalidAccessKeyId", next_probe=probe)
    for leave_open in (True, False):
        recording = RecordingClient(accounts={"live-cn": "aliyun"}, leave_open=leave_open)
        monkeypatch.setattr(recording._backend.controls, "read", lambda: Controls({}, {}, {"live-cn": hold}))
        finding = about_account(recording)
        if leave_open or probe_in == 50:
            assert finding.text.startswith("account live-cn is held since ")
            assert "(InvalidAccessKeyId); its jobs wait" in finding.text
        else:
            assert finding.severity is Severity.OK
        assert (recording.enqueued == []) is (probe_in == 50)


def test_accounts_that_cannot_be_checked() -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"})
    (unknown,) = recording.diagnose("live-xx").problems
    assert unknown.text.startswith("no running worker has account 'live-xx'")
    assert "no worker runs, so no key can be checked" in [one.text for one in RecordingClient().diagnose("a").problems]
    with pytest.raises(InvalidCommand, match="account"):
        recording.diagnose("No Account")
    with pytest.raises(InvalidCommand, match="timeout"):
        recording.diagnose("live-cn", timeout=0)


def test_a_user_that_may_not_enqueue_cannot_check_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = RecordingClient(accounts={"live-cn": "aliyun"})

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise QueueUnavailable("x", reason="this Redis user may not do this (NOPERM)")

    monkeypatch.setattr(recording._backend, "enqueue", refuse)
    (finding,) = recording.diagnose("live-cn").problems
    assert finding.text == "the key of live-cn was not checked: this Redis user may not do this (NOPERM)"
    assert recording.diagnose("live-cn").reachable


def test_a_redis_that_does_not_answer_is_a_finding() -> None:
    recording = RecordingClient()
    recording.fail_with(QueueUnavailable("Redis did not answer (x): y", reason="Redis did not answer (x)"))
    diagnosis = recording.diagnose()
    assert not diagnosis.reachable
    assert [(finding.check, finding.text) for finding in diagnosis.problems] == [
        ("redis.reachable", "Redis did not answer (x)")
    ]


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([ok("a", "x"), note("b", "y")], 0),
        ([ok("a", "x"), problem("b", "y", "z")], 1),
        ([ok("a", "x"), problem("redis.reachable", "y", "z")], 4),
    ],
)
def test_exit_codes_and_json(findings: list[Finding], code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = RecordingClient()
    monkeypatch.setattr(recording, "diagnose", lambda *_arguments, **_options: Diagnosis(findings=tuple(findings)))
    monkeypatch.setattr("streamstop.cli.doctor.Client", lambda _redis: recording)
    result = CliRunner().invoke(main, ["doctor", "--json"])
    assert result.exit_code == CliRunner().invoke(main, ["doctor"]).exit_code == code
    assert [Finding.model_validate_json(line) for line in result.output.splitlines()] == findings
    assert json.loads(result.output.splitlines()[0])["severity"] == "ok"


def test_the_page_wraps_and_is_safe_for_a_terminal() -> None:
    findings = (
        ok("a", "short"),
        problem("redis.eviction", "long " * 30 + "\x1b[2J", "do " * 40, policy="allkeys-lru"),
    )
    lines = list(diagnosis_page(Diagnosis(findings=findings)))
    assert lines[0] == "ok       short"
    assert lines[-1] == "1 problem"
    assert max(map(len, lines)) <= 80
    assert all(line.startswith(("problem  long", "         ")) for line in lines[1:-1])
    assert "\x1b" not in "".join(lines)
    assert "(policy: allkeys-lru)" in " ".join(" ".join(lines).split())

"""The doctor: its checks of settings and of an account's key, the whole diagnosis, and what is printed."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from streamstop import (
    Diagnosis,
    Finding,
    InvalidCommand,
    Lane,
    Outcome,
    QueueUnavailable,
    Result,
    Severity,
    WorkerState,
)
from streamstop._core.controls import Controls, Hold
from streamstop._core.findings import note, ok, problem
from streamstop._doctor.account import judge_answer
from streamstop._doctor.settings import SETTINGS, check_settings
from streamstop.cli import main
from streamstop.cli.doctor import diagnosis_page
from streamstop.operations import GetMPUTaskStatus
from streamstop.testing import RecordingAsyncClient, RecordingClient
from tests.support.signs_of_life import NOW, worker_view

ROOT = Path(__file__).parents[2]
STOP = "live.StopMPUTask"


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

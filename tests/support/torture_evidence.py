"""The evidence of a torture run of one job, which tests change to break one invariant."""

from collections.abc import Sequence
from typing import Any

from streamstop import Command, Outcome, Result
from streamstop.operations import StopStreamIngest
from streamstop_simulator import Call, Phase, SeenTask, TaskState
from tests.torture.chronicle import Happened
from tests.torture.evidence import Evidence, Seen, ShutdownFacts, member_of
from tests.torture.finding import Finding
from tests.torture.invariants import Judge
from tests.torture.producer import Accepted
from tests.torture.schedule import Fault, Kind

ACCOUNT, OPERATION = "trtc-a", "trtc.StopStreamIngest"
JOB = f"{ACCOUNT}.{OPERATION}.1"
STOP = Command(operation=StopStreamIngest(sdk_app_id=1, task_id="t1"), account=ACCOUNT)
PROCESS = "w0-0"


def outcome(result: Result = Result.STOPPED, **more: Any) -> Outcome:
    return Outcome(
        result=result, job_id=JOB, operation=OPERATION, account=ACCOUNT, params=STOP.operation.params, **more
    )


def call(at: float, answer: str = "ok", **more: Any) -> Call:
    return Call(
        index=0,
        vendor="tencent",
        account=ACCOUNT,
        operation=OPERATION,
        action="StopStreamIngest",
        method="POST",
        params=dict(STOP.operation.params),
        arrived_at=at,
        arrived_monotonic=at,
        decided_at=more.pop("decided_at", at),
        answer=answer,
        status=200,
        request_id=more.pop("request_id", "r"),
        authenticated=more.pop("authenticated", True),
        over_limit=more.pop("over_limit", False),
        carried_out=more.pop("carried_out", True),
        **more,
    )


def task(state: TaskState = TaskState.STOPPED) -> SeenTask:
    params = STOP.operation.params
    return SeenTask(
        ACCOUNT, "trtc.DescribeStreamIngest", params, state, Phase.RUNNING, 0.0, None, 1, ignores_stops=False
    )


def calls_at(at: float, **more: Any) -> dict[str, Any]:
    return {"what": "calls", "at": at, "job": JOB, "begun": at - 0.1, "process": PROCESS, **more}


def finished_at(at: float) -> dict[str, Any]:
    return {"what": "finished", "at": at, "job": JOB, "recorded": True, "process": PROCESS}


def happened(kind: Kind, began: float, ended: float | None = None, process: str = "", how: str = "") -> Happened:
    return Happened(Fault(0, kind, seconds=1, how=how), began, began if ended is None else ended, process)


#: A command that was accepted at 100, called at 101 and recorded at 102.
WELL = Evidence(
    accepted={JOB: Accepted(STOP, 100.01)},
    uncertain=[],
    shut_down={},
    seen={JOB: [Seen(102.0, outcome())]},
    held={JOB: outcome()},
    shutdowns=[],
    calls=[call(101.0)],
    tasks=[task()],
    notes=[calls_at(100.99), finished_at(102.0)],
    faults=[],
)


def broken(evidence: Evidence) -> list[str]:
    return [finding.name for finding in Judge(evidence).findings() if not finding.ok]


def apart(evidence: Evidence) -> list[str]:
    findings: Sequence[Finding] = Judge(evidence).findings()
    assert all(finding.ok for finding in findings)
    return [cause for finding in findings for cause in finding.apart]


WHOLE = ShutdownFacts(
    id="0123456789",
    room="room",
    facts={"total": "1", "ended": "1", "attention": "0", "status": "done", "n:stopped": "1"},
    members=frozenset([member_of(STOP)]),
    outcomes={member_of(STOP): outcome()},
    lanes={f"{ACCOUNT}.{OPERATION}:total": 1, f"{ACCOUNT}.{OPERATION}:ended": 1},
    todo=0,
)

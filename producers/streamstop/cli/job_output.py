"""What the command line prints about jobs: tables, pages and JSON, without I/O."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from streamstop._core.answers import CallAnswer
from streamstop._core.commands import Command
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneState, LaneView
from streamstop.cli._shared.lane_text import lane_notes, pace_text
from streamstop.cli._shared.output import (
    aligned_facts,
    answer_facts,
    answers_data,
    counted,
    job_json_line,
    moment_and_age,
    outcome_detail,
    outcome_facts,
    params_text,
    printable,
)
from streamstop.outcomes import Deferral, Outcome, Result

_OPEN = "open"


@dataclass(frozen=True)
class JobRow:
    """A job, its command, and its outcome if it has ended."""

    job_id: str
    command: Command
    outcome: Outcome | None

    def to_json(self) -> str:
        """Return the line that ``--json`` prints."""
        return job_json_line(self.job_id, self.command.operation.spec.id, self.command.account, self.outcome)


def job_table(rows: Sequence[JobRow]) -> Iterator[str]:
    """Yield an aligned line for each job: result, ID, parameters, and the vendor's answer."""
    results = [_OPEN if row.outcome is None else row.outcome.result.value for row in rows]
    result_width = max(map(len, results), default=0)
    id_width = max((len(row.job_id) for row in rows), default=0)
    for row, result in zip(rows, results, strict=True):
        params = params_text(row.command.operation.params)
        detail = "" if row.outcome is None else outcome_detail(row.outcome)
        cells = [result.ljust(result_width), row.job_id.ljust(id_width), params, detail]
        yield printable("  ".join(cell for cell in cells if cell)).rstrip(" ")


def results_summary(rows: Sequence[JobRow]) -> str:
    """Return the number of jobs for each result: ``3 jobs: 2 stopped, 1 not_found``."""
    counts = Counter(None if row.outcome is None else row.outcome.result for row in rows)
    parts = [f"{counts[result]} {result.value}" for result in Result if counts[result]]
    if counts[None]:
        parts.append(f"{counts[None]} {_OPEN}")
    return f"{counted(len(rows), 'job')}: {', '.join(parts)}"


def job_page(
    job_id: str,
    state: Outcome | Deferral | None,
    lane: LaneView | None,
    now: datetime,
    answers: Sequence[CallAnswer] | None = None,
    *,
    calls: int = 0,
) -> Iterator[str]:
    """Yield everything that is known of a job, one fact per line; `lane` is the lane of a job that is open.

    `calls` is how often it was called: a worker of an earlier version keeps no answers.
    """
    facts = {"job": job_id}
    match state:
        case Outcome():
            facts |= _outcome_facts(state, now)
        case Deferral():
            facts |= {"state": "deferred", "reason": state.reason, "due": moment_and_age(state.due, now)}
        case None:
            facts |= {"state": "open: called before" if calls else "open: not called yet"}
    if lane is not None:
        facts["lane"] = _lane_text(lane)
    return aligned_facts(facts | dict(answer_facts(answers or (), now)))


def job_json(job_id: str, state: Outcome | Deferral | None, answers: Sequence[CallAnswer] | None = None) -> str:
    """Return everything that is known of a job as one line of JSON."""
    outcome = state if isinstance(state, Outcome) else None
    deferral = {"reason": state.reason, "due": state.due.isoformat()} if isinstance(state, Deferral) else None
    target = outcome or Lane.of_job(job_id)
    operation, account = (None, None) if target is None else (target.operation, target.account)
    word = "ended" if outcome is not None else _OPEN if deferral is None else "deferred"
    answered = None if answers is None else answers_data(answers)
    return job_json_line(job_id, operation, account, outcome, state=word, deferral=deferral, answers=answered)


def _outcome_facts(outcome: Outcome, now: datetime) -> dict[str, str]:
    facts = {"state": f"ended: {outcome.result.value}", "operation": outcome.operation, "account": outcome.account}
    if outcome.params:
        facts["parameters"] = params_text(outcome.params)
    if outcome.status is not None or outcome.reply is not None:
        facts["status"] = outcome_detail(outcome)
    facts |= outcome_facts(outcome, now)
    return facts


def _lane_text(lane: LaneView) -> str:
    parts = [f"{lane.waiting} waiting", f"{lane.in_flight} in flight", f"{lane.deferred} deferred"]
    if lane.pace is not None:
        parts.append(f"{pace_text(lane.pace)} calls/s")
    if lane.state not in {LaneState.IDLE, LaneState.RUNNING}:
        parts.append(lane.state_text)
    return "; ".join([", ".join(parts), *lane_notes(lane)])

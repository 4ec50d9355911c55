"""The summary of a run, as text."""

from collections import Counter
from collections.abc import Iterator

from tests.torture.finding import Finding
from tests.torture.run import Verdict
from tests.torture.schedule import Kind
from tests.torture.stage import LEASE_S

#: How many violations of an invariant are printed. All are counted.
_SHOWN = 10


def summary(verdict: Verdict) -> Iterator[str]:
    """Yield the lines of a run's summary."""
    evidence = verdict.evidence
    singles = Counter(evidence.held[job].result.value for job in evidence.accepted if job in evidence.held)
    rooms = Counter(outcome.result.value for one in evidence.shutdowns for outcome in one.outcomes.values())
    yield f"commands accepted      {len(evidence.accepted)}, probes included; {_counts(singles)}"
    unsure = sum(len(one.commands) for one in evidence.uncertain)
    yield f"  not surely           {unsure}; Redis did not answer {verdict.unanswered} requests"
    yield f"tasks in shutdowns     {rooms.total()} in {len(evidence.shutdowns)} shutdowns; {_counts(rooms)}"
    yield f"calls                  {len(evidence.calls)}; {_counts(Counter(call.answer for call in evidence.calls))}"
    yield f"  beyond the first     {verdict.extra.total()}"
    yield from (f"    {count:6}  {cause}" for cause, count in verdict.extra.most_common())
    yield f"not found, though an earlier call of the job had stopped the task   {verdict.misread}"
    yield f"faults                 {_counts(Counter(fault.kind.value for fault in evidence.faults))}"
    settled = f"{verdict.settled_s:.1f} s" if verdict.settled_s > 0 else "none, all had ended before"
    yield f"last fault to last outcome   {settled}; {verdict.still_open} never ended"
    if {fault.kind for fault in evidence.faults} <= {Kind.KILL, Kind.KILL_AT}:
        yield f"  only workers were killed: one lease and 5 s are {LEASE_S + 5:g} s"
    yield "invariants"
    for finding in verdict.findings:
        yield from _of(finding)
    if verdict.folder is not None:
        yield f"everything is kept in {verdict.folder}"


def _of(finding: Finding) -> Iterator[str]:
    yield f"  {'ok    ' if finding.ok else 'BROKEN'} {finding.name}"
    yield from (f"           apart: {count} {cause}" for cause, count in finding.apart.most_common())
    yield from (f"           {what}" for what in finding.broken[:_SHOWN])
    if len(finding.broken) > _SHOWN:
        yield f"           and {len(finding.broken) - _SHOWN} more"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.most_common()) or "none"

"""The torture, for as long as a test may take; ``make torture`` runs it for as long as one likes."""

from tests.torture.report import summary
from tests.torture.run import plan, run
from tests.torture.schedule import ALL, Kind


def test_every_invariant_holds_under_faults_of_every_kind_but_one() -> None:
    # A clock that jumps back can begin a lane's rest again, for up to ten minutes: longer than a test may take.
    kinds = ALL - {Kind.CLOCK_BACK}
    made = plan(20, 30, kinds=kinds, per_second=40)
    assert {fault.kind for fault in made.faults} == kinds
    told: list[str] = []
    verdict = run(made, told.append)
    assert verdict.ok, "\n".join([*told, *summary(verdict)])
    assert len(verdict.evidence.accepted) > 500

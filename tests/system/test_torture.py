"""A short torture run; ``make torture`` runs a longer one."""

import pytest

from tests.torture.report import summary
from tests.torture.run import plan, run
from tests.torture.schedule import ALL

pytestmark = [pytest.mark.long, pytest.mark.paced]


def test_every_invariant_holds_under_faults_of_every_kind() -> None:
    made = plan(20, 30, kinds=ALL, per_second=40)
    assert {fault.kind for fault in made.faults} == ALL
    lines: list[str] = []
    verdict = run(made, lines.append)
    assert verdict.ok, "\n".join([*lines, *summary(verdict)])
    assert len(verdict.evidence.accepted) > 500

"""The bench runs: its figures are of a calm machine, but a scenario that fails must not wait for one."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300


@pytest.mark.parametrize("scenario", ["enqueue", "rooms", "growing-rooms", "find", "exporting"])
def test_a_scenario_runs_to_its_end_and_prints_its_targets(scenario: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", scenario, "--quick"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    targets = done.stdout.partition("\ntargets\n")[2].splitlines()
    assert targets
    assert all(line.split(maxsplit=1)[0] in {"reached", "MISSED"} for line in targets), done.stdout

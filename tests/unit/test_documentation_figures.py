"""The figures that pages quote are those of the last measurement, in ``docs/bench.json``."""

import json
from typing import Any

import pytest

from tests.support.documentation import ROOT

BENCH: dict[str, Any] = json.loads((ROOT / "docs/bench.json").read_text())
README, FAQ, SIZES = "README.md", "docs/explanation/faq.md", "docs/guides/sizes.md"


def cells(section: str, row: str) -> list[str]:
    """Return the cells of a row after its name."""
    rows: list[list[str]] = BENCH[section]["rows"]
    (found,) = (each[1:] for each in rows if each[0] == row)
    return found


def throughput(row: str, latency: str) -> str:
    engines = [cells("throughput", f"100 lanes, {latency}: {engine}") for engine in ("streamstop", "plain Celery")]
    return f"| {row} | {' | '.join(f'{jobs_per_s}; {cpu}' for jobs_per_s, _, cpu, *_ in engines)} |"


def short(figure: str) -> str:
    """Return a figure with a decimal if it is small."""
    return f"{float(figure):,.1f}" if float(figure) < 100 else f"{float(figure):,.0f}"


def latencies() -> str:
    pairs = zip(
        cells("pacing", "B: enqueue to call, median (ms)"), cells("pacing", "B: enqueue to call, p99 (ms)"), strict=True
    )
    return f"| B: enqueue → call, median / p99 | {' | '.join(f'{short(m)} / {short(p)} ms' for m, p in pairs)} |"


def pacing(row: str, measured: str, digits: int) -> str:
    return f"| {row} | {' | '.join(f'{float(cell):.{digits}f}' for cell in cells('pacing', measured))} |"


COMPARED = [
    throughput("vendor answers at once: jobs/s; worker CPU s for 1,000 jobs", "0 ms"),
    throughput("vendor answers after 50 ms", "50 ms"),
    pacing("most calls of A in any second (limit 10)", "A: most calls in any second", 0),
    latencies(),
    pacing("Redis commands for each job", "Redis commands per job", 0),
]
MILLION, WAITING = cells("growth", "1,000,000: streamstop"), cells("growth", "100,000: streamstop")
BESIDE = {accounts: float(cells("crowd", f"{accounts} accounts: streamstop")[3]) for accounts in (40, 200)}
IDLE = {
    accounts: float(cells("idle", f"{accounts} accounts: streamstop")[0].rstrip("%")) for accounts in ("3", "3,000")
}


@pytest.mark.parametrize(
    ("page", "quoted"),
    [
        *((page, row) for page in (README, FAQ) for row in COMPARED),
        (FAQ, pacing("A's time over the ideal 29.9 s", "A: span / ideal 29.9 s", 3)),
        (SIZES, f"cost {IDLE['3']:.1f} % of a core with 3 accounts and {IDLE['3,000']:.1f} % with 3,000"),
        (SIZES, f"{WAITING[0]} bytes with 100,000 waiting"),
        (SIZES, f"| {MILLION[2]} ms while it is filled, {MILLION[3]} ms after |"),
        (SIZES, f"| the same, beside 40 accounts with a backlog each, two workers | {BESIDE[40]:.0f} ms |"),
        (SIZES, f"at {cells('crowd', '200 accounts: streamstop')[6].rstrip('%')} % | {BESIDE[200]:.0f} ms |"),
    ],
)
def test_a_page_quotes_what_was_measured(page: str, quoted: str) -> None:
    assert quoted in (ROOT / page).read_text()

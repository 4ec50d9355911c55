"""One run: the load and the faults together, then the wait for all ends, then the check of the invariants."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from streamstop import Client
from tests.torture import aftermath, schedule
from tests.torture.chronicle import Chronicle
from tests.torture.clock import shifted_scripts
from tests.torture.evidence import Evidence, Recorder
from tests.torture.faults import play
from tests.torture.finding import Finding
from tests.torture.invariants import Judge
from tests.torture.load import ACCOUNTS, Load, lanes, limits, load, starts
from tests.torture.producer import Producer
from tests.torture.schedule import Fault, Kind
from tests.torture.stage import stage

WORKERS = 3


@dataclass(frozen=True)
class Plan:
    """What a seed determines."""

    seed: int
    seconds: float
    load: Load
    faults: list[Fault]

    @property
    def clocks_are_right(self) -> bool:
        """Whether every worker's clock is right. That is so in a run without faults of clocks."""
        return not {Kind.CLOCK, Kind.CLOCK_BACK} & {fault.kind for fault in self.faults}


def plan(
    seed: int, seconds: float, *, kinds: Collection[Kind] = schedule.ALL, per_second: float = 50, every_s: float = 2.0
) -> Plan:
    """Return the plan of a seed. The same seed always gives the same plan."""
    asked = load(seed, seconds, per_second=per_second, rooms=max(3, round(seconds / 20)))
    faults = schedule.faults(
        seed,
        seconds,
        workers=WORKERS,
        accounts=[account.name for account in ACCOUNTS],
        lanes=[lane.name for lane in lanes()],
        kinds=kinds,
        openings=[room.at for room in asked.rooms],
        left_batches=[batch.at for batch in asked.batches if batch.left],
        every_s=every_s,
    )
    return Plan(seed, seconds, asked, faults)


@dataclass(frozen=True)
class Verdict:
    """The result of a run."""

    plan: Plan
    evidence: Evidence
    findings: list[Finding]
    #: The calls of jobs after their first, by cause.
    extra: Counter[str]
    settled_s: float
    still_open: int
    unanswered: int
    #: Stops that ended as not found although an earlier call of the same job had stopped the task.
    misread: int
    #: The folder with the logs, if an invariant was broken.
    folder: Path | None

    @property
    def ok(self) -> bool:
        """Whether every invariant held."""
        return all(finding.ok for finding in self.findings)


def run(made: Plan, say: Callable[[str], None]) -> Verdict:
    """Execute a plan, and check the invariants. If one is broken, the folder with the logs is kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"streamstop-torture-{made.seed}-"))
    say(
        f"seed {made.seed}: {sum(1 for _ in made.load.commands())} commands, {len(made.load.rooms)} rooms, "
        f"{len(made.faults)} faults in {made.seconds:g} s, {WORKERS} workers"
    )
    with shifted_scripts(), (folder / "story.txt").open("w") as story:

        def tell(text: str) -> None:
            say(text)
            story.write(f"{text}\n")

        verdict = _run(made, folder, Chronicle(tell))
    if verdict.ok:
        shutil.rmtree(folder, ignore_errors=True)
    return verdict


def _patience_s(faults: Sequence[Fault]) -> float:
    """Return how long the last jobs may take to end. They usually take far less."""
    set_back = any(fault.kind is Kind.CLOCK_BACK for fault in faults)
    return aftermath.SETTLES_WITHIN_S + (aftermath.LONGEST_AFTER_SETTING_BACK_S if set_back else 0)


def _run(made: Plan, folder: Path, chronicle: Chronicle) -> Verdict:
    seed = None if made.clocks_are_right else made.seed
    with stage(folder, chronicle, WORKERS, ACCOUNTS, limits(), seed=seed) as on:
        for account, operations in starts(list(made.load.commands())).items():
            on.simulator.start_tasks(account, operations)
        recorder = Recorder(on.redis.server.port)
        recorder.start()
        through_proxy = f"redis://127.0.0.1:{on.producers.port}/0"
        with (
            Client(through_proxy, timeout=timedelta(seconds=2)) as client,
            Client(through_proxy, timeout=timedelta(seconds=60)) as patient,
            on.client() as redis,
        ):
            producer = Producer(client, made.load)
            began = time.monotonic()
            producer.start(began)
            play(on, made.faults, began)
            producer.join()
            chronicle.tell("all was asked, and the last fault is over")
            settled = aftermath.settle(producer, recorder, redis, _patience_s(made.faults))
            chronicle.tell(f"settled, {settled.open} open")
            left = aftermath.probe(on, patient, producer)
            left += aftermath.await_empty(redis)
            recorder.stop()
            evidence = aftermath.gather(on, patient, producer, recorder, redis, left=left)
    judge = Judge(evidence)
    findings = judge.findings()
    kept_folder = None if all(finding.ok for finding in findings) else folder
    settled_s = settled.last_outcome - chronicle.last_fault
    return Verdict(
        plan=made,
        evidence=evidence,
        findings=findings,
        extra=judge.extra,
        settled_s=settled_s,
        still_open=settled.open,
        unanswered=producer.unanswered,
        misread=judge.misread,
        folder=kept_folder,
    )

"""Injects the faults of a schedule, each in its own thread, so that they overlap."""

import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from streamstop._core.lane import Lane
from tests.torture.clock import SHIFT_KEY
from tests.torture.proxy import Proxy
from tests.torture.schedule import BY_RESUMING, Fault, Kind
from tests.torture.stage import Stage


def play(stage: Stage, faults: Sequence[Fault], began: float) -> None:
    """Inject `faults`, whose moments count from `began` by the monotonic clock; return when all are over."""
    playing = []
    for fault in faults:
        time.sleep(max(0.0, began + fault.at - time.monotonic()))
        thread = threading.Thread(target=_guarded, args=(stage, fault), name=str(fault), daemon=True)
        thread.start()
        playing.append(thread)
    for thread in playing:
        thread.join()
    if any(fault.kind is Kind.REDIS for fault in faults):
        stage.people.end_all()
    for left in stage.triggers.iterdir():
        with suppress(FileNotFoundError):
            left.unlink()
            stage.chronicle.tell(f"nobody came to {left.name}")


def _guarded(stage: Stage, fault: Fault) -> None:
    try:
        _carry_out(stage, fault)
    except Exception as error:  # noqa: BLE001  # the thread's end would hide it
        stage.chronicle.alarm(f"{fault} was not carried out: {type(error).__name__}: {error}")


def _carry_out(stage: Stage, fault: Fault) -> None:
    fleet, chronicle = stage.fleet, stage.chronicle
    worker = fleet.workers[fault.worker]
    process = worker.life.name
    match fault.kind:
        case Kind.KILL:
            with chronicle.going_on(fault, process):
                fleet.kill(fault.worker)
        case Kind.KILL_AT:
            with chronicle.going_on(fault):
                (stage.triggers / fault.how).touch()
        case Kind.TERM:
            with chronicle.going_on(fault, process):
                fleet.terminate(fault.worker)
        case Kind.STOP:
            life = worker.life
            with chronicle.going_on(fault, process):
                life.process.send_signal(signal.SIGSTOP)
                time.sleep(fault.seconds)
                life.process.send_signal(signal.SIGCONT)
        case Kind.REDIS:
            with chronicle.going_on(fault) as happened:
                stage.redis.kill(fault.seconds)
            happened.ended = time.time()
        case Kind.CUT_REDIS:
            with chronicle.going_on(fault, process):
                worker.redis.cut()
        case Kind.CUT_VENDOR:
            with chronicle.going_on(fault, process):
                worker.vendor.cut()
        case Kind.HALF_OPEN_REDIS:
            with chronicle.going_on(fault, process):
                worker.redis.half_open(fault.seconds)
                time.sleep(fault.seconds)
        case Kind.HALF_OPEN_VENDOR:
            with chronicle.going_on(fault, process):
                worker.vendor.half_open(fault.seconds)
                time.sleep(fault.seconds)
        case Kind.SLOW_REDIS:
            with chronicle.going_on(fault, process):
                worker.redis.slow(fault.amount, fault.seconds)
                time.sleep(fault.seconds)
        case Kind.PRODUCER:
            with chronicle.going_on(fault):
                _disturb(stage.producers, fault)
                time.sleep(fault.seconds)
        case Kind.OUTAGE | Kind.THROTTLE | Kind.WRONG:
            with chronicle.going_on(fault), stage.vendors.rule(**_rule(fault)):
                time.sleep(fault.seconds)
        case Kind.PAUSE:
            with chronicle.going_on(fault) as happened:
                stage.people.pause(fault.how)
                happened.began = time.time()
                time.sleep(fault.seconds)
                stage.people.resume(fault.how)
        case Kind.LIMIT:
            with chronicle.going_on(fault), stage.people.limited(Lane.from_name(fault.how), fault.amount):
                time.sleep(fault.seconds)
        case Kind.KEY:
            account, _, end = fault.how.partition(" ")
            with chronicle.going_on(fault):
                with stage.people.revoked(account):
                    time.sleep(fault.seconds)
                if end == BY_RESUMING:
                    stage.people.resume(account)
        case Kind.CLOCK:
            _turn_the_clock(stage, fault, fault.amount)
        case Kind.CLOCK_BACK:
            _turn_the_clock(stage, fault, -fault.amount)


def _disturb(proxy: Proxy, fault: Fault) -> None:
    match fault.how:
        case "cut":
            proxy.cut()
        case "half_open":
            proxy.half_open(fault.seconds)
        case _:
            proxy.slow(fault.amount, fault.seconds)


def _rule(fault: Fault) -> dict[str, Any]:
    """Return the simulator's rule for a fault of the vendors."""
    seed = int(fault.at * 1000)
    match fault.kind:
        case Kind.OUTAGE:
            account, kind = fault.how.split(" ")
            return {"kind": kind, "account": account, "probability": 1.0}
        case Kind.THROTTLE:
            return {"kind": "throttle", "account": fault.how, "probability": fault.amount, "seed": seed}
        case _:
            kind, _, when = fault.how.partition(" ")
            return {"kind": kind, "probability": fault.amount, "seed": seed, "when": when or "before"}


def _turn_the_clock(stage: Stage, fault: Fault, seconds: float) -> None:
    """Shift the scripts' clock. Repeat it until Redis accepts it, because Redis may be away."""
    deadline = time.monotonic() + 30
    asked = time.time()
    with stage.client() as redis:
        while True:
            try:
                redis.incrby(SHIFT_KEY, round(seconds))
            except RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                with stage.chronicle.going_on(fault) as happened:
                    happened.began = asked  # scripts may use it before this thread has Redis' answer
                return

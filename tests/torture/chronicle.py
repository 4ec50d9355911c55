"""A record of what happened in a run and when: printed at once, and used to explain findings."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.torture.schedule import Fault, Kind


@dataclass
class Happened:
    """A fault that was carried out. Moments are seconds since the epoch, by the real clock."""

    fault: Fault
    began: float
    #: When it was over, for those that last; else as `began`.
    ended: float
    #: The process that it befell, as ``w<worker>-<life>``.
    process: str = ""

    @property
    def kind(self) -> Kind:
        """What it was."""
        return self.fault.kind

    def near(self, moment: float, before: float, after: float) -> bool:
        """Return whether `moment` is between `before` seconds before its begin and `after` seconds after its end."""
        return self.began - before <= moment <= self.ended + after


@dataclass
class Chronicle:
    """The story of one run."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.time)
    faults: list[Happened] = field(default_factory=list)
    #: What should never happen, whatever the faults: each breaks the run.
    alarms: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, text: str) -> None:
        """Print `text` with the moment."""
        with self._lock:
            self.say(f"{time.time() - self.began:8.2f}  {text}")

    def alarm(self, text: str) -> None:
        """Note what should never happen."""
        self.alarms.append(text)
        self.tell(f"ALARM {text}")

    @contextmanager
    def going_on(self, fault: Fault, process: str = "") -> Iterator[Happened]:
        """Note a fault for as long as the block lasts."""
        now = time.time()
        happened = Happened(fault, now, float("inf") if fault.seconds else now, process)
        self.faults.append(happened)
        self.tell(f"{fault}{f' ({process})' if process else ''}")
        try:
            yield happened
        finally:
            happened.ended = time.time()
            if fault.seconds:
                self.tell(f"over: {fault}")

    def met(self, point: str, process: str, at: float) -> None:
        """Note which process came to a point at which one was told to die, and when."""
        for fault in self.faults:
            if fault.kind is Kind.KILL_AT and fault.fault.how == point and not fault.process:
                fault.process, fault.began, fault.ended = process, at, at
        self.tell(f"{process} killed itself {point}")

    @property
    def last_fault(self) -> float:
        """The moment at which the last fault was over; the begin where there was none."""
        return max((fault.ended for fault in self.faults), default=self.began)

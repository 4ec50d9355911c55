"""A record of what happened in a run and when: printed at once, and used to explain findings."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.torture.schedule import Fault, Kind


@dataclass
class Happened:
    """A fault that was injected. Moments are seconds since the epoch, by the real clock."""

    fault: Fault
    began: float
    #: The end of a fault that lasts; else equal to `began`.
    ended: float
    #: The process that it hit, as ``w<worker>-<life>``.
    process: str = ""

    @property
    def kind(self) -> Kind:
        """The kind of the fault."""
        return self.fault.kind

    def near(self, moment: float, before: float, after: float) -> bool:
        """Return whether `moment` lies between `before` seconds before the begin and `after` seconds after the end."""
        return self.began - before <= moment <= self.ended + after


@dataclass
class Chronicle:
    """Everything that happened in one run."""

    say: Callable[[str], None]
    began: float = field(default_factory=time.time)
    faults: list[Happened] = field(default_factory=list)
    #: Events that no fault excuses. Each fails the run.
    alarms: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def tell(self, text: str) -> None:
        """Print `text` with the moment."""
        with self._lock:
            self.say(f"{time.time() - self.began:8.2f}  {text}")

    def alarm(self, text: str) -> None:
        """Note an event that no fault excuses."""
        self.alarms.append(text)
        self.tell(f"ALARM {text}")

    @contextmanager
    def going_on(self, fault: Fault, process: str = "") -> Iterator[Happened]:
        """Note a fault that lasts as long as the block."""
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
        """Note which process reached an armed kill point, and when."""
        for fault in self.faults:
            if fault.kind is Kind.KILL_AT and fault.fault.how == point and not fault.process:
                fault.process, fault.began, fault.ended = process, at, at
        self.tell(f"{process} killed itself {point}")

    @property
    def last_fault(self) -> float:
        """The end of the last fault; the begin of the run if there was none."""
        return max((fault.ended for fault in self.faults), default=self.began)

"""Lane backend: what a client reads and drains of the lanes in a queue."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from streamstop._core.drained import DrainFilter, DrainPage
from streamstop._core.lane import Lane
from streamstop._core.lane_view import LaneView
from streamstop._core.sightings import Sighting, Where


class LaneBackend(Protocol):
    """The lanes of a queue; see :class:`~streamstop.operating.Operating`."""

    def holding(self) -> Collection[Lane]:
        """Return the lanes that hold jobs, and perhaps others."""

    def recent(self, within: timedelta) -> Collection[Lane]:
        """Return the lanes that were at work within `within`, and perhaps others."""

    def views(self, lanes: Sequence[Lane]) -> list[LaneView]:
        """Return the views of `lanes`."""

    def cancelled(self) -> Mapping[Lane, int]:
        """Return how many jobs of each lane were cancelled before a worker took them."""

    def jobs(self, lane: Lane, where: Where, first: int, most: int) -> list[Sighting]:
        """Return up to `most` jobs of `lane` that are there, from the place `first` on."""

    def draining(self, lane: Lane, chosen: DrainFilter) -> Iterator[DrainPage]:
        """Cancel the jobs of `lane` that wait or are deferred and fit; yield what each step has cancelled."""

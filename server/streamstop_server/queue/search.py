"""Search: the jobs of a stream task, within the time that a client waits."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field

from streamstop import AsyncClient, Sighting
from streamstop_server.access.tokens import Caller

#: How long a search takes at most, in seconds.
LONGEST_S = 10.0


@dataclass
class Found:
    """What a search has found."""

    sightings: list[Sighting] = field(default_factory=list)
    #: Whether there are more than were asked for.
    has_more: bool = False
    #: Whether everything was searched, or as much as was asked for was found.
    is_complete: bool = False


async def search(
    caller: Caller,
    queue: AsyncClient,
    task: Mapping[str, str | int] | str,
    *,
    account: str | None,
    operation: str | None = None,
    most: int,
) -> Found:
    """Return where the jobs of a stream task are, as far as the caller may see them."""
    found = Found()
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(LONGEST_S),
            aclosing(queue.find(task, account=account, operation=operation)) as sightings,
        ):
            async for sighting in sightings:
                if not caller.may_touch(sighting.account):
                    continue
                if len(found.sightings) == most:
                    found.has_more = True
                    break
                found.sightings.append(sighting)
            found.is_complete = True
    return found

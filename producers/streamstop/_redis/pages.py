"""Pages: registered stream tasks and outcomes, so that a room of any size is read in short steps.

A cursor is that of Redis' HSCAN, with the run of the server that returned it: after a restart Redis would skip entries.
"""

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from redis import Redis

from streamstop._core.constants import ROOM, SHUTDOWN
from streamstop._core.progress import OutcomePage, RoomPage
from streamstop._redis.rooms import Rooms, stop_of
from streamstop.errors import InvalidCommand, quoted
from streamstop.outcomes import Outcome, Result

_CURSOR = re.compile(r"([1-9][0-9]{0,19})\.([0-9a-f]{0,8})")
#: How many entries one command reads to find the accounts of a room.
_PAGE = 1000
#: How many outcomes one page looks at for those that need a person.
_MOST_SEARCHED = 20_000
_FOR_PERSONS = [f'"result":"{result.value}"'.encode() for result in Result if result.needs_person]

_T = TypeVar("_T")


class Pages:
    """The pages of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis, rooms: Rooms) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._rooms = rooms

    def room(self, room: str, cursor: str | None, most: int) -> RoomPage:
        """Return a page of about `most` stream tasks that are registered in a room."""
        key, shutdown = f"{ROOM}{room}:tasks", self._rooms.shutdown_of(room)
        tasks, after = self._page(key, cursor, most, lambda _task, command: stop_of(command.decode()))
        return RoomPage(room, tasks, after, int(self._redis.hlen(key)), shutdown)

    def outcomes(self, shutdown: str, cursor: str | None, most: int, *, attention: bool) -> OutcomePage:
        """Return a page of about `most` outcomes of a shutdown; with `attention`, of those that need a person."""
        key, wanted = f"{SHUTDOWN}{shutdown}:outcomes", _may_need_person if attention else None
        read, after = self._page(
            key, cursor, most, lambda _member, each: Outcome.model_validate_json(each), wanted=wanted
        )
        return OutcomePage(tuple(each for each in read if not attention or each.result.needs_person), after)

    def room_accounts(self, room: str) -> frozenset[str]:
        """Return the accounts of a room's registered stream tasks."""
        self._rooms.shutdown_of(room)
        tasks = self._redis.hscan_iter(f"{ROOM}{room}:tasks", count=_PAGE)
        return frozenset(str(json.loads(task)[0]) for task, _command in tasks)

    def shutdown_accounts(self, shutdown: str) -> frozenset[str]:
        """Return the accounts of a shutdown's stream tasks; while it is open, of those that are registered too."""
        facts = self._rooms.shutdowns.facts(shutdown)
        registered = self.room_accounts(facts["room"]) if facts.get("status") == "open" else frozenset[str]()
        tasks = self._redis.hscan_iter(f"{SHUTDOWN}{shutdown}:tasks", count=_PAGE)
        return registered | {str(json.loads(command)["account"]) for _member, command in tasks}

    def _page(
        self,
        key: str,
        cursor: str | None,
        most: int,
        read: Callable[[bytes, bytes], _T],
        *,
        wanted: Callable[[bytes], bool] | None = None,
    ) -> tuple[tuple[_T, ...], str | None]:
        run = self._rooms.server()[:8]
        at = 0 if cursor is None else _position(cursor, run)
        entries: dict[bytes, bytes] = {}
        searched = 0
        while True:
            at, page = self._redis.hscan(key, at, count=_PAGE if wanted else most - len(entries))
            entries.update({field: value for field, value in page.items() if wanted is None or wanted(value)})
            searched += len(page)
            if at == 0 or len(entries) >= most or searched >= _MOST_SEARCHED:
                break
        return tuple(read(field, value) for field, value in entries.items()), f"{at}.{run}" if at else None


def _may_need_person(outcome: bytes) -> bool:
    """Whether an outcome's JSON can have a result that needs a person. Most outcomes need not be parsed so."""
    return any(result in outcome for result in _FOR_PERSONS)


def _position(cursor: str, run: str) -> int:
    found = _CURSOR.fullmatch(cursor)
    if found is None or int(found[1]) >= 2**64:
        raise InvalidCommand(f"cursor {quoted(cursor)} must be the cursor of an earlier page", field="cursor")
    if found[2] != run:
        raise InvalidCommand(
            "cursor is of a page from before a restart of Redis: begin again without it", field="cursor"
        )
    return int(found[1])

"""Workers in Redis: their signs of life, and the limits in their books."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from pydantic import ValidationError
from redis import Redis

from streamstop._core.constants import BOOK, WORKERS
from streamstop._core.pace import Pace
from streamstop._core.workers import LimitDifference, SignOfLife, WorkerView, Written, judge
from streamstop._redis.scripts import Script, load

#: A pace as a book has it: the interval in µs, and the window.
_PACE = re.compile(r"(\d+) (\d+)")
#: Accounts of streamstop's own begin with it.
_OWN = "_"


class Workers:
    """The workers of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not

    def beat(self, run: str, sign: SignOfLife, *, text: str) -> Sequence[str]:
        """Write the sign of life of the process `run`; return the digests of the books that differ from its own.

        `text` is that of the event if the worker has just started.
        """
        books = self._scripts["beat"](run=run, name=sign.name, sign=sign.model_dump_json(), text=text)
        return [book.decode() for book in books]

    def leave(self, run: str, name: str) -> None:
        """Remove a worker that stops."""
        self._scripts["leave"](run=run, name=name)

    def views(self) -> list[WorkerView]:
        """Return every worker that is alive, or was lost within the last hour, sorted by name."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.time()
        pipeline.hvals(WORKERS)
        (seconds, microseconds), texts = pipeline.execute()
        now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
        signs = sorted(_read(texts), key=lambda sign: (sign.name, -sign.seen_us))
        books = self._books({sign.book for sign in signs})
        views = [_view(sign, now, books[sign.book]) for sign in signs]
        alive = {sign.name: books[sign.book] for sign, view in zip(signs, views, strict=True) if view.is_well}
        differences = list(_differences(alive))
        return [
            view.model_copy(update={"differences": tuple(each for each in differences if view.name in each.limits)})
            for view in views
        ]

    def _books(self, digests: Iterable[str]) -> dict[str, "_Book"]:
        digests = sorted(digests)
        pipeline = self._redis.pipeline(transaction=False)
        for digest in digests:
            pipeline.hgetall(BOOK + digest)
        return {digest: _Book(fields) for digest, fields in zip(digests, pipeline.execute(), strict=True)}

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "worker")


class _Book:
    """A worker's book, as :class:`streamstop._redis.schedule.Book` writes it; empty if it has expired."""

    def __init__(self, fields: Mapping[bytes, bytes]) -> None:
        texts = {name.decode(errors="replace"): value.decode(errors="replace") for name, value in fields.items()}
        self.paces = {name: value for name, value in texts.items() if _PACE.fullmatch(value)}
        self.accounts = {name for name in texts if name not in self.paces and not name.startswith(_OWN)}

    def limit(self, account: str, operation: str) -> float | None:
        """Return the limit of a lane in calls per second; None if the worker does not know the operation."""
        pace = self.paces.get(f"{account}.{operation}") or self.paces.get(operation)
        return None if pace is None else round(Pace.limit_of(int(pace.split()[0])), 2)


def _read(texts: Sequence[bytes]) -> Iterator[Written]:
    """Yield the signs of life. What another program or a later version has written is left out."""
    for text in texts:
        try:
            yield Written.model_validate_json(text)
        except ValidationError:
            continue


def _view(sign: Written, now: datetime, book: _Book) -> WorkerView:
    seen = datetime.fromtimestamp(sign.seen_us / 1_000_000, UTC)
    silent = max(timedelta(0), now - seen)
    state, problem = judge(sign, silent)
    return WorkerView(
        name=sign.name,
        host=sign.host,
        pid=sign.pid,
        version=sign.version,
        state=state,
        problem=problem,
        accounts=tuple(sorted(book.accounts)),
        slots=sign.slots,
        busy=sign.busy,
        since=seen - timedelta(seconds=sign.up),
        seen=seen,
        silent=silent.total_seconds(),
        clock_ahead=sign.clock - sign.seen_us / 1_000_000,
    )


def _differences(books: Mapping[str, _Book]) -> Iterator[LimitDifference]:
    """Yield the lanes for which workers have different limits; `books` by the name of the worker."""
    if len({id(book) for book in books.values()}) < 2:
        return
    operations = sorted({name for book in books.values() for name in book.paces if name.count(".") == 1})
    uneven = [name for name in operations if len({book.paces.get(name) for book in books.values()}) > 1]
    own = {tuple(name.split(".", 1)) for book in books.values() for name in book.paces if name.count(".") == 2}
    accounts = {account for book in books.values() for account in book.accounts}
    lanes = own | {(account, operation) for account in accounts for operation in uneven}
    for account, operation in sorted(lanes):
        limits = {
            name: limit
            for name, book in books.items()
            if account in book.accounts and (limit := book.limit(account, operation)) is not None
        }
        if len(set(limits.values())) > 1:
            yield LimitDifference(account=account, operation=operation, limits=limits)

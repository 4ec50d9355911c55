"""Dead letter store: the typed wrapper of the dead letters in Redis. No other module reads or changes them."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from redis import Redis

from streamstop._core.constants import DEAD
from streamstop._core.lane_types import Queued
from streamstop._core.letters import (
    DeadLetter,
    Matching,
    Position,
    StoredDeadLetter,
    lane_of,
    no_command,
    requeued_command,
    requeued_id,
)
from streamstop._core.stream_tasks import fragment_of
from streamstop._redis.lanes import Lanes
from streamstop._redis.scripts import Script, load
from streamstop._wire.messages import celery_message
from streamstop.errors import NotRequeueable, UnknownDeadLetter
from streamstop.outcomes import Result

#: Requeued jobs wait behind the jobs of producers, and before the rest of a big room.
PRIORITY = 3
_PAGE = 1000
#: How many letters are read at once. A letter can quote 4 KiB.
READ = 200
#: Text that JSON does not escape.
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]+")
_ALL = Matching()
_EPOCH = datetime.fromtimestamp(0, UTC)


class DeadLetterStore:
    """Every dead letter of one Redis. Raises redis-py's errors."""

    def __init__(self, redis: Redis, lanes: Lanes) -> None:
        self._redis: Any = redis  # its replies are typed as awaitable or not; here they are not
        self._lanes = lanes

    def count(self) -> int:
        """Return how many letters there are."""
        return self._lanes.dead()

    def count_by_result(self) -> dict[Result | None, int]:
        """Return how many letters there are of each result; None: of unreadable messages."""
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zcard(DEAD)
        pipeline.hgetall(f"{DEAD}:results")
        total, counts = pipeline.execute()
        found = {_result(name.decode()): int(count) for name, count in counts.items()}
        if sum(found.values()) == total:
            return found
        # Earlier versions did not count the letters that they kept.
        return dict(Counter(letter.result for letter in self.letters()))

    def letters(self, matching: Matching = _ALL, after: Position | None = None) -> Iterator[DeadLetter]:
        """Yield the present letters that match, oldest first, from `after` on; they can be requeued meanwhile."""
        for page in self.pages(matching, after):
            yield from page

    def pages(
        self, matching: Matching = _ALL, after: Position | None = None, *, task: str = ""
    ) -> Iterator[Iterable[DeadLetter]]:
        """Yield the letters that match in pages, one for each read. A page can be empty.

        With `task`, letters that cannot be about the stream task with this id are left out.
        """
        texts = (matching.account, matching.operation, matching.result, matching.code, matching.room, task)
        fragments = " ".join(text if _PLAIN.fullmatch(text) else fragment_of(text) for text in texts if text)
        newest = self._redis.zrange(DEAD, 0, 0, desc=True, withscores=True)
        if not newest:
            return
        now_us = _microseconds(self._redis.time())
        since: int | str = -1 if matching.younger_than is None else now_us - _us(matching.younger_than)
        last_seen = (-1, b"") if after is None else (_us(after[0] - _EPOCH), after[1].encode(errors="replace"))
        since = max(since, last_seen[0])
        # A letter that is requeued and dies again meanwhile is not yielded, for then this might never end.
        until = int(newest[0][1]) if matching.older_than is None else now_us - _us(matching.older_than)
        if matching.died_by is not None:
            until = min(until, _us(matching.died_by - _EPOCH))
        yielded: set[bytes] = set()
        # Pages by moment, not by rank: a letter that is requeued meanwhile changes the ranks of later letters.
        while page := self._redis.zrange(DEAD, since, until, byscore=True, offset=0, num=_PAGE, withscores=True):
            new = [
                (letter_id.decode(), died)
                for letter_id, died in page
                if letter_id not in yielded and (int(died), letter_id) > last_seen
            ]
            for start in range(0, len(new), READ):
                yield filter(matching.fits, self._read(new[start : start + READ], fragments))
            if len(page) < _PAGE:
                return
            last = page[-1][1]
            # A whole page can have the same moment.
            since = int(last) if new else f"({int(last)}"
            yielded = {letter_id for letter_id, died in page if died == last}

    def get(self, letter_id: str) -> DeadLetter:
        """Return one letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        return self._read_one(letter_id).letter

    def requeue(self, letter_id: str) -> str:
        """Put the command of a letter into its lane again, as a new job; return the job's id. This deletes the letter.

        The job has no expiry. If it was part of a shutdown, its stream task is open there again until the job ends.
        Raises :class:`~streamstop.errors.UnknownDeadLetter`, also if another call has requeued or dropped it, and
        :class:`~streamstop.errors.NotRequeueable` if the message could not be read.
        """
        stored = self._read_one(letter_id)
        letter, membership, headers = stored.letter, stored.membership, stored.trace
        if letter.command is None:
            raise NotRequeueable(no_command(letter))
        lane = lane_of(letter)
        job_id = requeued_id(letter, lane)
        command = requeued_command(letter.command, datetime.now(UTC))
        text = celery_message(job_id, lane, command, priority=PRIORITY, headers=headers)
        plain = as_member = Queued(lane, PRIORITY, text)
        shutdown = member = ""
        if membership is not None:
            shutdown, member = membership.shutdown, membership.member
            requeued_membership = membership.model_copy(update={"stop_attempt": 1, "requeued": membership.requeued + 1})
            argument = requeued_membership.in_message(command)
            text = celery_message(job_id, lane, argument, priority=PRIORITY, headers=headers)
            as_member = Queued(lane, PRIORITY, text)
        requeued = self._scripts["requeue"](
            keys=[DEAD, _key(letter_id), plain.list],
            letter_id=letter_id,
            lane=lane.name,
            list=plain.list,
            job_id=job_id,
            message=plain.message,
            shutdown=shutdown,
            member=member,
            member_message=as_member.message,
        )
        if not requeued:
            raise UnknownDeadLetter(letter_id)
        return job_id

    def drop(self, letter_id: str) -> None:
        """Delete a letter. Raises :class:`~streamstop.errors.UnknownDeadLetter`."""
        if not self._scripts["drop"](keys=[DEAD, _key(letter_id)], id=letter_id):
            raise UnknownDeadLetter(letter_id)

    def _read(self, found: Sequence[tuple[str, float]], fragments: str) -> Iterator[DeadLetter]:
        if fragments:
            ids = [letter_id for letter_id, _died in found]
            found = [found[at - 1] for at in self._scripts["containing"](keys=[DEAD], fragments=fragments, ids=ids)]
        pipeline = self._redis.pipeline(transaction=False)
        for letter_id, _died in found:
            pipeline.hgetall(_key(letter_id))
        for (letter_id, died), fields in zip(found, pipeline.execute(), strict=True):
            if fields:
                yield StoredDeadLetter.read(letter_id, died, fields).letter

    def _read_one(self, letter_id: str) -> StoredDeadLetter:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zscore(DEAD, letter_id)
        pipeline.hgetall(_key(letter_id))
        died, fields = pipeline.execute()
        if died is None or not fields:
            raise UnknownDeadLetter(letter_id)
        return StoredDeadLetter.read(letter_id, died, fields)

    @cached_property
    def _scripts(self) -> dict[str, Script]:
        return load(self._redis, "dead")


def _key(letter_id: str) -> str:
    return f"{DEAD}.{letter_id}"


def _result(name: str) -> Result | None:
    return None if name == "unreadable" else Result(name)


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def _microseconds(time: tuple[int, int]) -> int:
    return time[0] * 1_000_000 + time[1]

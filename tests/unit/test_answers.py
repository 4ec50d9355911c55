"""The answers of a job's calls: what workers keep of them, and what people who look at the job see."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from redis import Redis

from streamstop import Became, CallAnswer, JobView, Outcome, Result, Where
from streamstop._core.answers import answers_key, with_last
from streamstop._core.constants import ANSWERS, SCHEDULE
from streamstop._core.lane_types import LastCall
from streamstop._redis.dead import DeadLetterStore
from streamstop._redis.finder import Finder
from streamstop._redis.schedule import WAITS_FOR_KEY
from streamstop._wire.reports import Ended, KeptAnswer, Throttled
from streamstop_worker.pipeline.deliveries import Delivery
from tests.support.lane_driver import CALLED_ONCE, ENDED, KEPT, LaneDriver
from tests.support.pipeline import Pipeline, fault

AT = datetime(2026, 1, 1, tzinfo=UTC)
REFUSED = fault("InvalidAccessKeyId.NotFound", 404)


def look(bench: Pipeline, delivery: Delivery) -> JobView:
    view = Finder(bench.redis, bench.lanes, DeadLetterStore(bench.redis, bench.lanes)).look(delivery.taken.job_id)
    assert view is not None
    return view


def seen(view: JobView) -> list[tuple[int, str | None, Became]]:
    return [(answer.number, answer.code, answer.became) for answer in view.answers]


def after_the_rest(bench: Pipeline, delivery: Delivery) -> Delivery:
    """Let the lane's rest be over, and take its next job."""
    lane = delivery.taken.lane
    bench.redis.hset(lane.pace, "rest", 0)
    bench.redis.zadd(SCHEDULE, {lane.name: 0})
    return bench.take_of(lane)


def throttle(lane: LaneDriver, name: str, number: int) -> bool:
    """Report a throttled call; return whether the report was accepted."""
    answer = CallAnswer(number=number, at=AT, code="Throttling", became=Became.THROTTLED)
    job = lane.taken_jobs[name]
    (rest,) = lane.report(Throttled(job=job, hint=None, history=CALLED_ONCE, answered=KeptAnswer(answer, KEPT))).rests
    return rest is not None


def test_each_answer_is_seen_in_its_order_until_the_one_that_ends_the_job(bench: Pipeline) -> None:
    bench.answers = [fault("InternalError"), fault("Throttling.User", 400)]
    delivery = bench.publish()
    bench.execute(delivery)
    deferred = look(bench, delivery)
    assert (deferred.where, seen(deferred)) == (Where.DEFERRED, [(1, "InternalError", Became.RETRIED)])
    (answer,) = deferred.answers
    assert (answer.request_id, answer.seconds is not None) == ("r", True)
    assert answer.sent_at is not None
    assert deferred.enqueued_at is not None
    assert deferred.enqueued_at - timedelta(seconds=1) < answer.sent_at <= datetime.now(UTC)
    bench.execute(bench.again(delivery))
    throttled = look(bench, delivery)
    assert (throttled.where, throttled.calls) == (Where.WAITING, 2)
    assert seen(throttled)[1:] == [(2, "Throttling.User", Became.THROTTLED)]
    bench.execute(after_the_rest(bench, delivery))
    ended = look(bench, delivery)
    assert ended.answers[:2] == throttled.answers
    assert seen(ended)[2:] == [(3, None, Became.ENDED)]
    assert (ended.outcome and ended.outcome.ended_at, ended.answers[2].request_id) == (ended.answers[2].at, "r")
    ttl = bench.redis.ttl(answers_key(delivery.taken.job_id))
    assert 0 < ttl <= timedelta(days=1).total_seconds()


@pytest.mark.parametrize(
    ("answers", "code", "where"),
    [([], None, Where.ENDED), ([fault("Forbidden.RAM", 403)], "Forbidden.RAM", Where.DEAD)],
)
def test_a_job_of_one_call_stores_no_answer_beside_its_outcome(
    bench: Pipeline, answers: list[httpx.Response], code: str | None, where: Where
) -> None:
    bench.answers = [*answers]
    delivery = bench.publish()
    bench.execute(delivery)
    assert list(bench.redis.scan_iter(f"{ANSWERS}*")) == []
    view = look(bench, delivery)
    assert (view.where, seen(view)) == (where, [(1, code, Became.ENDED)])


def test_a_refused_key_is_an_answer_of_a_job_that_waits_for_the_key(bench: Pipeline) -> None:
    deliveries = [bench.publish() for _ in range(6)]
    for delivery in deliveries:
        bench.answers = [REFUSED]
        bench.execute(delivery)
    assert {len(look(bench, ended).answers) for ended in deliveries[:5]} == {1}
    *_, waiting = deliveries
    assert (look(bench, waiting).where, seen(look(bench, waiting))) == (
        Where.WAITING,
        [(1, "InvalidAccessKeyId.NotFound", Became.HELD)],
    )


def test_of_many_answers_the_newest_twenty_stay(lane: LaneDriver) -> None:
    lane.publish("a")
    for number in range(1, 24):
        assert throttle(lane, lane.take_next(), number)
    kept = CallAnswer.parse_all(lane.redis.get(answers_key(lane.job_id("a"))).decode())  # type: ignore[union-attr]
    assert [answer.number for answer in kept] == list(range(4, 24))


def test_a_report_of_a_worker_that_has_lost_the_job_keeps_no_answer(lane: LaneDriver, redis: Redis) -> None:
    lane.publish("a")
    name = lane.take_next()
    assert throttle(lane, name, 1)
    assert not throttle(lane, name, 2)
    (answer,) = CallAnswer.parse_all(redis.get(answers_key(lane.job_id("a"))).decode())  # type: ignore[union-attr]
    assert answer == CallAnswer(number=1, at=AT, code="Throttling", became=Became.THROTTLED)


def test_an_answer_that_would_be_held_is_not_kept_of_a_job_that_ends(lane: LaneDriver, redis: Redis) -> None:
    lane.publish("a")
    answer = CallAnswer(number=1, at=AT, code="InvalidAccessKeyId", became=Became.HELD)
    report = Ended(
        job=lane.taken_jobs[lane.take_next()],
        call=LastCall.WELL,
        record=ENDED,
        kept=KEPT,
        if_held=CALLED_ONCE,
        answered=KeptAnswer(answer, KEPT),
    )
    assert lane.report(report).rests[0] not in {None, WAITS_FOR_KEY}
    assert redis.exists(answers_key(lane.job_id("a"))) == 0


def test_a_key_of_another_type_keeps_no_job_from_its_report(lane: LaneDriver, redis: Redis) -> None:
    lane.publish("a")
    redis.lpush(answers_key(lane.job_id("a")), "of another program")
    assert throttle(lane, lane.take_next(), 1)
    assert lane.waiting() == ["a"]
    assert redis.type(answers_key(lane.job_id("a"))) == b"list"


def test_an_answer_is_read_as_it_was_written_with_its_message_cut() -> None:
    answer = CallAnswer(
        number=7,
        at=AT,
        seconds=0.25,
        code="Fehler",
        message="\x01 größer" * 100,
        request_id="r-1",
        became=Became.RETRIED,
    )
    (read,) = CallAnswer.parse_all(str(answer))
    assert read == answer.model_copy(update={"message": (answer.message or "")[:200]})


@pytest.mark.parametrize("text", ["", "{", "7", '{"number": 1}', '{"number": 1, "became": "of a newer version"}'])
def test_what_this_version_cannot_read_is_left_out(text: str) -> None:
    answer = CallAnswer(number=1, at=AT, became=Became.RETRIED)
    assert CallAnswer.parse_all(f"{text}\x01{answer}\x01{text}") == [answer]


@pytest.mark.parametrize(
    ("result", "calls", "code", "has_answer"),
    [
        (Result.STOPPED, 1, None, True),
        (Result.GAVE_UP, 3, "InternalError", True),
        (Result.GAVE_UP, 3, None, False),  # lost with its worker
        (Result.EXPIRED, 2, None, False),
        (Result.CANCELLED, 0, None, False),
        (Result.CANCELLED, 1, "InternalError", True),  # during the call
        (Result.REFUSED, 0, None, False),
    ],
)
def test_an_outcome_has_the_last_answer_if_a_call_ended_the_job(
    result: Result, calls: int, code: str | None, has_answer: bool
) -> None:
    outcome = Outcome(result=result, job_id="j", operation="o", account="a", calls=calls, code=code, ended_at=AT)
    last = (CallAnswer(number=calls, at=AT, code=code, became=Became.ENDED),) if has_answer else ()
    earlier = CallAnswer(number=1, at=AT, became=Became.THROTTLED)
    assert with_last([earlier], outcome) == (earlier, *last)
    assert with_last([earlier], None) == (earlier,)

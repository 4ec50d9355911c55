"""The screen of a job, on a real Redis: its calls with their answers, in the order in which they happened."""

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from streamstop import Became, CallAnswer, Client, Lane, Outcome, Result
from streamstop._core.answers import answers_key
from streamstop._core.lane import result_key
from streamstop._wire.results import outcome_record
from streamstop.operations import StopMPUTask
from tests.support.http_app import FOR_PEOPLE, HttpApp, http_app

LANE = Lane("live-cn", "live.StopMPUTask")
STOP = StopMPUTask(app_id="a", task_id="t")
#: Markup in a vendor's message.
PLANTED = "<b>bold</b><script>alert('x')</script>"
SENT = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[HttpApp]:
    with http_app(redis_url, tmp_path) as running:
        running.sign_in("everything")
        yield running


def steps_of(service: HttpApp, job_id: str) -> list[str]:
    """Return the text of each step of a job's timeline."""
    answer = service.client.get(f"/jobs/{job_id}", headers=FOR_PEOPLE)
    assert answer.status_code == 200, answer.text
    assert "<b>" not in answer.text
    assert "<script>alert" not in answer.text
    (timeline,) = re.findall(r'(?s)<ol class="timeline">(.*?)</ol>', answer.text)
    steps = (
        re.sub(r"<[^>]*>", "", re.sub("</d[td]>", " ", step)) for step in re.findall(r"(?s)<li>(.*?)</li>", timeline)
    )
    return [html.unescape(" ".join(step.split())).replace("\u2019", "'") for step in steps]


def end(redis: Redis, result: Result, job_id: str, **more: Any) -> None:
    """Store how a job ended, a minute after it was sent."""
    outcome = Outcome(
        result=result,
        job_id=job_id,
        operation=LANE.operation,
        account=LANE.account,
        ended_at=SENT + timedelta(minutes=1),
        **more,
    )
    redis.set(result_key(job_id), outcome_record(outcome), ex=60)


def test_a_job_is_shown_with_each_call_and_its_answer(service: HttpApp, client: Client, real_redis: Redis) -> None:
    job = client.enqueue(STOP, account=LANE.account)
    answers = [
        CallAnswer(
            number=number,
            at=SENT + timedelta(seconds=number),
            seconds=1.0,
            code=code,
            message=f"{code}: {PLANTED}",
            request_id=f"R-{number}",
            became=became,
        )
        for number, code, became in (
            (1, "InternalError", Became.RETRIED),
            (2, "Throttling", Became.THROTTLED),
            (5, "InvalidAccessKeyId", Became.HELD),
        )
    ]
    real_redis.set(answers_key(job.id), "\x01".join(map(str, reversed(answers))), ex=60)
    end(real_redis, Result.GAVE_UP, job.id, code="ServiceUnavailable", request_id="R-6", calls=6)
    enqueued, *steps = steps_of(service, job.id)
    assert enqueued.endswith(" enqueued")
    key_refused = "the account's key is refused: the job waits until the vendor accepts it"
    assert steps == [
        "2026-01-01 12:00:00 admitted: the first call is sent",
        "2026-01-01 12:00:01 call 1 answered: the job waits to be called again Code InternalError"
        f" Message InternalError: {PLANTED} Request id R-1 Took 1 s",
        "2026-01-01 12:00:02 call 2 answered: throttled: the lane rests, and this is no attempt Code Throttling"
        f" Message Throttling: {PLANTED} Request id R-2 Took 1 s",
        "calls 3 to 4: the answer is not kept here; see the workers' logs",
        f"2026-01-01 12:00:05 call 5 answered: {key_refused} Code InvalidAccessKeyId"
        f" Message InvalidAccessKeyId: {PLANTED} Request id R-5 Took 1 s",
        "2026-01-01 12:01:00 ▲ gave_up, by the answer to call 6 Code ServiceUnavailable Request id R-6",
    ]
    document = service.client.get(f"/v1/jobs/{job.id}", headers=service.bearer("everything")).json()
    assert [(one["number"], one["code"], one["became"]) for one in document["answers"]] == [
        (1, "InternalError", "retried"),
        (2, "Throttling", "throttled"),
        (5, "InvalidAccessKeyId", "held"),
        (6, "ServiceUnavailable", "ended"),
    ]


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (0, ["the vendor was not called", "2026-01-01 12:01:00 cancelled Message why"]),
        (
            1,
            ["call 1: the answer is not kept here; see the workers' logs", "2026-01-01 12:01:00 cancelled Message why"],
        ),
    ],
)
def test_a_job_that_no_answer_ended_says_whether_it_was_called(
    service: HttpApp, real_redis: Redis, calls: int, expected: list[str]
) -> None:
    job_id = LANE.new_job_id()
    end(real_redis, Result.CANCELLED, job_id, message="why", calls=calls)
    assert steps_of(service, job_id) == ["at a moment that is not known enqueued", *expected]


def test_a_job_of_one_call_shows_when_it_was_sent(service: HttpApp, real_redis: Redis) -> None:
    job_id = LANE.new_job_id()
    end(
        real_redis,
        Result.STOPPED,
        job_id,
        request_id="R-1",
        attempts=1,
        calls=1,
        call_seconds=2.0,
        enqueued_at=SENT,
    )
    assert steps_of(service, job_id) == [
        "2026-01-01 12:00:00 enqueued",
        "2026-01-01 12:00:58 admitted: the first call is sent, 58 s after the job was enqueued",
        "2026-01-01 12:01:00 stopped after 60 s, by the answer to call 1 Request id R-1 Took 2 s",
    ]

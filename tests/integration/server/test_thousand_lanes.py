"""A thousand lanes: screens stay small and quick, and reading them costs the same whoever looks."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from streamstop import Client, Command, Lane
from streamstop.operations import StopMPUTask
from tests.support.http_app import FOR_PEOPLE, HttpApp, http_app

LANES = [Lane(f"an-account-of-somebody-{number:04}", "live.StopMPUTask") for number in range(1000)]
LARGEST, SLOWEST_S = 200_000, 0.3


@pytest.fixture
def service(redis_url: str, real_redis: Redis, client: Client, tmp_path: Path) -> Iterator[HttpApp]:
    stop = StopMPUTask(app_id="app", task_id="task")
    client.enqueue_many([Command(operation=stop, account=lane.account) for lane in LANES for _ in range(2)])
    with http_app(redis_url, tmp_path) as running:
        running.sign_in("everything")
        called(real_redis, calls=0)
        assert get(running, "/")
        called(real_redis, calls=37)
        running.client.post(
            "/pauses", data={"scope": "all"}, headers={"Sec-Fetch-Site": "same-origin"}
        )  # after an act, the lanes are read anew
        yield running


def called(redis: Redis, *, calls: int) -> None:
    """Let every lane have made so many calls, and met many errors."""
    pipeline, now_us = redis.pipeline(transaction=False), int(time.time() * 1_000_000)
    fields: dict[str, str | int] = {
        "interval": 100_000,
        "tat": now_us,
        "share": 50,
        "calls": calls,
        "throttled": calls // 2,
    }
    fields |= {"error_code": "Throttling.User", "error_at": now_us}
    for lane in LANES:
        pipeline.hset(lane.pace, mapping=fields)  # type: ignore[arg-type]
        pipeline.expire(lane.pace, 3600)
    pipeline.execute()


def get(service: HttpApp, path: str, **headers: str) -> str:
    answer = service.client.get(path, headers={**FOR_PEOPLE, **headers})
    assert answer.status_code == httpx.codes.OK
    return answer.text


@pytest.mark.parametrize(
    "path", ["/", "/?page=10", "/?q=somebody&state=paused", f"/lanes/{LANES[0].account}/live.StopMPUTask"]
)
def test_no_screen_is_large_or_slow(path: str, service: HttpApp) -> None:
    took = []
    for headers in ({}, {"HX-Request": "true"}) * 10:
        began = time.process_time()  # what the service computes, not how long it waits for a busy machine
        text = get(service, path, **headers)
        took.append(time.process_time() - began)
        assert len(text.encode()) < LARGEST
    assert "<svg" in text
    assert min(took) < SLOWEST_S, "the quickest: the lanes may be read beside another"


@pytest.mark.long
def test_each_lane_is_on_one_page_and_the_sums_are_of_all(service: HttpApp) -> None:
    pages = [get(service, f"/?page={page}") for page in range(1, 11)]
    for lane in LANES:
        assert sum(f'href="/lanes/{lane.account}/' in page for page in pages) == 1
    assert all("1,000 lanes" in page and "2,000" in page for page in pages)
    assert "Page 10 of 10" in pages[-1]
    assert get(service, "/?page=99").count('href="/lanes/') == get(service, "/?page=10").count('href="/lanes/')

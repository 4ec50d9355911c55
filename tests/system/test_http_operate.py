"""What people on call do by the HTTP service, with real workers: every worker obeys, and every screen shows it."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from streamstop import Command, Result
from streamstop.operations import StopMPUTask
from streamstop_simulator import FaultKind
from tests.support.http_service import HttpService, http_service
from tests.support.polling import eventually
from tests.support.world import ALIYUN, World, world

pytestmark = pytest.mark.paced

LANE = f"{ALIYUN}/live.StopMPUTask"
SCREEN = f"/lanes/{LANE}"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture
def made(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, limits={"live.StopMPUTask": 20.0}) as running:
        running.simulator.settings(auto_start=True)
        running.await_account(ALIYUN)
        yield running


@pytest.fixture
def service(made: World) -> Iterator[HttpService]:
    with http_service(made.server.url, made.folder) as running:
        yield running


def stops(count: int, name: str = "t") -> list[Command]:
    return [Command(operation=StopMPUTask(app_id="app", task_id=f"{name}{n}"), account=ALIYUN) for n in range(count)]


@contextmanager
def page_of(service: HttpService, token: str) -> Iterator[httpx.Client]:
    """A browser of somebody who is signed in, without JavaScript."""
    with httpx.Client(base_url=service.url, timeout=30, headers=SAME_ORIGIN) as page:
        assert page.post("/sign-in", data={"token": service.tokens[token]}).status_code == httpx.codes.SEE_OTHER
        yield page


@contextmanager
def told(page: httpx.Client, path: str) -> Iterator[Sequence[str]]:
    """Listen to a stream; give the events that have come so far."""
    names: list[str] = []
    with page.stream("GET", path) as stream:

        def listen() -> None:
            try:
                for line in stream.iter_lines():
                    names.extend([line] if line.startswith("event: ") else [])  # at once, not at the stream's end
            except (httpx.HTTPError, httpx.StreamError):
                return  # the test is over

        threading.Thread(target=listen, daemon=True).start()
        eventually(lambda: names, "the stream begins")
        yield names


@pytest.mark.long
def test_a_pause_of_one_person_is_on_everybodys_screen_and_obeyed_by_the_workers(
    made: World, service: HttpService
) -> None:
    with (
        http_service(made.server.url, made.folder) as other_process,
        page_of(service, "operator") as operator,
        page_of(other_process, "reader") as reader,
        told(reader, "/live/lanes") as changes,
        told(reader, "/live/events") as events,
    ):
        before, events_before = len(changes), len(events)
        answer = operator.post("/pauses", data={"scope": ALIYUN, "reason": "by <hand>", "back": "/"})
        assert answer.status_code == httpx.codes.SEE_OTHER
        assert "by operator: by &lt;hand&gt;" in operator.get("/").text, "the one who acted sees it at once"
        eventually(lambda: len(changes) > before, "others are told of the pause")
        part = {"HX-Request": "true"}
        eventually(lambda: "by operator: by &lt;hand&gt;" in reader.get("/", headers=part).text, "others see the pause")
        eventually(lambda: len(events) > events_before, "others are told of the event")
        eventually(lambda: "operator" in reader.get("/events", headers=part).text, "others see the event")
        jobs = made.client.enqueue_many(stops(5))
        eventually(
            lambda: "5 <span" in reader.get(SCREEN).text and jobs[0].id in operator.get(SCREEN).text, "they wait"
        )
        assert made.simulator.calls(ALIYUN) == []
        assert operator.post("/pauses/end", data={"scope": ALIYUN, "back": SCREEN}).headers["location"] == SCREEN
        outcomes = list(made.client.outcomes(jobs, 60))
        assert {outcome.result for outcome in outcomes} == {Result.STOPPED}
    kinds = [(event.kind, event.by) for event in made.client.events(account=ALIYUN) if event.by is not None]
    assert kinds == [("paused", "operator"), ("resumed", "operator")]


@pytest.mark.long
def test_calls_and_throttled_calls_are_counted_as_the_vendor_saw_them(made: World, service: HttpService) -> None:
    throttled = 5
    made.simulator.add_fault(FaultKind.THROTTLE, account=ALIYUN, times=throttled)
    with service.http("reader") as http, page_of(service, "reader") as page:
        page.get("/")  # from now on the service counts
        jobs = made.client.enqueue_many(stops(60))
        assert len(list(made.client.outcomes(jobs, 90))) == 60
        calls = made.simulator.calls(ALIYUN, "live.StopMPUTask")
        assert sum(call.answer == "Throttling.User" for call in calls) == throttled

        def counted() -> bool:
            lane = http.get(f"/v1/lanes/{LANE}").json()
            return (lane["calls"], lane["throttled"]) == (len(calls), throttled)

        def shown() -> bool:
            text = page.get(SCREEN).text
            return "<rect" in text and "Throttling.User" in text

        eventually(counted, f"the lane has {len(calls)} calls, {throttled} throttled")
        eventually(shown, "the screen has bars, and the vendor's code")


@pytest.mark.long
def test_a_limit_a_drain_and_a_cancellation_by_the_api(made: World, service: HttpService) -> None:
    with service.http("operator") as http:
        assert http.put(f"/v1/limits/{LANE}", json={"limit": 2, "reason": "slowly"}).json()["by"] == "operator"
        jobs = made.client.enqueue_many(stops(1000))  # of which the worker takes few before it obeys
        eventually(lambda: http.get(f"/v1/lanes/{LANE}").json()["limit"] == 2, "the worker obeys the limit")
        assert http.post(f"/v1/lanes/{LANE}:drain", json={}).json()["waiting"] > 200
        drained = http.post(f"/v1/lanes/{LANE}:drain", json={"dry_run": False}).json()
        assert drained["jobs"] > 200
        assert http.delete(f"/v1/limits/{LANE}").status_code == httpx.codes.NO_CONTENT
    outcomes = list(made.client.outcomes(jobs, 90))
    cancelled = [outcome for outcome in outcomes if outcome.result is Result.CANCELLED]
    assert len(cancelled) == drained["jobs"]
    assert {outcome.message for outcome in cancelled} == {"drained by operator"}
    assert [(event.kind, event.by) for event in made.client.events(account=ALIYUN) if event.by == "operator"] == [
        ("limit_set", "operator"),
        ("drained", "operator"),
        ("limit_cleared", "operator"),
    ]

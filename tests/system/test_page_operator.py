"""A walk of somebody on call, by the page alone: a vendor refuses a key, the key is mended, the backlog drains."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from streamstop import Command, EventKind, Result
from streamstop.operations import StopMPUTask
from streamstop_simulator import TaskState
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.browser import browser, visit
from tests.support.http_service import HttpService, http_service
from tests.support.polling import eventually
from tests.support.world import ALIYUN, World, world

pytestmark = [pytest.mark.browser, pytest.mark.long]

JOBS = 400
OPERATION = "live.StopMPUTask"
LIMITS = {OPERATION: 40.0}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, limits=LIMITS) as made:
        made.await_account(ALIYUN)
        yield made


@pytest.fixture
def service(queue: World, tmp_path: Path) -> Iterator[HttpService]:
    with http_service(queue.server.url, tmp_path) as running:
        yield running


def test_a_refused_key_is_seen_first_and_after_it_is_mended_the_backlog_drains_live(
    queue: World, service: HttpService
) -> None:
    stops = [StopMPUTask(app_id="app", task_id=f"relay-{number}") for number in range(JOBS)]
    queue.simulator.start_tasks(ALIYUN, stops)
    (mine,) = at_vendors([account for account in DEFAULT_ACCOUNTS if account.name == ALIYUN])
    queue.client.set_limit(ALIYUN, OPERATION, 2)  # most of the backlog is there when the key is refused
    with browser() as running, visit(running, service, "operator") as visiting:
        page = visiting.page
        visiting.go("/")
        jobs = queue.client.enqueue_many(Command(operation=stop, account=ALIYUN) for stop in stops)
        lane = page.get_by_role("row").filter(has_text=f"{ALIYUN} {OPERATION}")
        expect(lane).to_contain_text("running")

        # The vendor knows another key from now on. The screen that is open says so, above everything else.
        queue.simulator.wait_for_calls(2, ALIYUN, timeout=timedelta(seconds=60))
        queue.simulator.add_accounts([replace(mine, access_key_id="another-key")])
        queue.client.clear_limit(ALIYUN, OPERATION)
        held = page.locator("#held > *").first
        expect(held).to_contain_text(f"held {ALIYUN}: the vendor refuses its key")
        expect(held).to_contain_text("InvalidAccessKeyId.NotFound")
        expect(held).to_contain_text("send them SIGHUP")
        assert held.get_by_role("link", name="Dead letters with this code").get_attribute("href") == (
            f"/dead-letters?account={ALIYUN}&code=InvalidAccessKeyId.NotFound"
        )
        expect(page.locator("#lanes tbody tr").first).to_contain_text("held")

        # The key is back at the vendor, and one click lets the account go on.
        waiting = lane.get_by_role("cell").nth(1)
        expect(waiting).to_have_text(re.compile(r"^[1-9]\d*$"))
        queue.simulator.add_accounts([mine])
        held.get_by_role("button", name="Resume").click()
        expect(page.locator("#held")).not_to_contain_text(ALIYUN)

        # The backlog drains before the eyes: the count falls without a click, down to nothing.
        expect(waiting).to_have_text("0")
        assert visiting.complaints == []

        outcomes = list(queue.client.outcomes(jobs, timeout=60))
        refused = [outcome for outcome in outcomes if outcome.result is Result.REFUSED]
        assert len(outcomes) == JOBS
        assert 1 <= len(refused) <= 5
        assert {outcome.result for outcome in outcomes} <= {Result.STOPPED, Result.ALREADY_STOPPED, Result.REFUSED}
        released = [event for event in queue.client.events(account=ALIYUN) if event.kind is EventKind.RELEASED]
        assert "operator" in {event.by for event in released}, "the event names who acted"

        # What was refused meanwhile is requeued: first a count, then the act.
        visiting.go("/dead-letters?result=refused&code=InvalidAccessKeyId.NotFound")
        page.get_by_role("button", name="Requeue all that match").click()
        page.get_by_role("button", name=f"Requeue {len(refused)} letter").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("requeued")
        assert visiting.complaints == []
        over = {TaskState.STOPPED}
        eventually(
            lambda: {task.state for task in queue.simulator.tasks(ALIYUN)} == over, "every stream task has stopped"
        )
        assert queue.client.dead_letters.count() == 0
        (requeued,) = [event for event in queue.client.events() if event.kind is EventKind.REQUEUED]
        assert requeued.by == "operator"

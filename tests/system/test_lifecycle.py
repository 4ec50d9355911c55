"""A worker's life: start, accounts, shutdown and death; and several clients of one Redis."""

import os
import signal
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from streamstop import (
    Client,
    Command,
    Deferral,
    EventKind,
    NotCancellable,
    Outcome,
    OutcomeTimeout,
    Result,
    UnknownAccount,
)
from streamstop._core.lane import Lane
from streamstop._core.pace import Pace
from streamstop.operations import StopEdgeTranscodeJob, StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_worker.accounts import Account
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.polling import TIMEOUT_S, eventually
from tests.support.still import PATIENT_CALLS, held_answers, network_to_vendors
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, world

#: How many jobs of the lane may be under way at once.
WINDOW = Pace.of_limit(StopStreamIngest.spec.limit).window


def test_a_mistake_in_the_accounts_file_stops_the_worker_with_one_message_that_names_the_key(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.accounts.write_text('[accounts.live-cn]\nvendor = "alibaba"\n')
        running = made.start_worker(ready=False)
        assert running.process.wait(TIMEOUT_S) != 0
        last_line = running.text().strip().splitlines()[-1]
        assert "accounts.live-cn.vendor" in last_line
        assert '"aliyun"' in last_line or "aliyun" in last_line
        assert "Traceback" not in running.text()


@pytest.mark.long
def test_a_missing_accounts_file_is_reported_in_one_message(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.accounts.unlink()
        running = made.start_worker(ready=False)
        assert running.process.wait(TIMEOUT_S) != 0
        assert str(made.accounts) in running.text()
        assert "Traceback" not in running.text()


@pytest.mark.long
def test_celerys_own_flags_go_before_the_apps_settings(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        running = made.start_worker("--concurrency", "3", "--loglevel", "WARNING", ready=False)
        running.await_line("concurrency: 3 (")
        made.simulator.settings(auto_start=True)
        assert made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="t"), account=TENCENT).outcome(TIMEOUT_S).ok
        assert not [line for line in running.lines() if line["level"] == "info"]


def test_sighup_takes_over_a_changed_accounts_file_and_keeps_the_old_one_for_a_mistake(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        running = made.workers[0]
        new = Account("brand-new", "aliyun", "fake-new-key", "fake-new-secret")
        stop = StopMPUTask(app_id="a", task_id="t")
        made.simulator.add_accounts(at_vendors([new]))
        with pytest.raises(UnknownAccount, match="brand-new"):
            made.client.enqueue(stop, account="brand-new")

        made.accounts.write_text("[accounts.demo-tencent]\nvendor = 1\n")
        running.signal(signal.SIGHUP)
        running.await_line("the accounts file has an error and is not loaded")
        assert made.client.enqueue(stop, account=ALIYUN).outcome(TIMEOUT_S).ok

        slower = [replace(account, limits={"live.StopMPUTask": 4.0}) for account in DEFAULT_ACCOUNTS[:1]]
        made.write_accounts([*slower, *DEFAULT_ACCOUNTS[1:], new])
        running.signal(signal.SIGHUP)
        running.await_line('"added": ["brand-new"]')
        (line,) = [line for line in running.lines() if "added" in line]
        limit = f"{ALIYUN} live.StopMPUTask: 10 -> 4"
        assert (line["event"], line["limits"], line.keys() & {"removed", "changed"}) == (
            "accounts are loaded",
            [limit],
            set(),
        )
        changed = EventKind.ACCOUNTS_CHANGED
        eventually(lambda: [one for one in made.client.events() if one.kind is changed], "the event is written")
        (event,) = [one for one in made.client.events() if one.kind is changed]
        assert (event.by, event.text) == ("w1@test", f"added: brand-new; {limit}")
        made.await_account("brand-new")
        assert made.client.enqueue(stop, account="brand-new").outcome(TIMEOUT_S).result is Result.STOPPED
        assert running.process.poll() is None


@pytest.mark.long
def test_a_command_for_an_account_that_no_worker_knows_waits_for_one_that_does(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        job = made.client.enqueue(StopMPUTask(app_id="a", task_id="t"), account="late")
        first = made.start_worker()
        first.await_line("left to another worker")
        left = eventually(job.peek, "the job deferred")
        assert isinstance(left, Deferral)
        assert "no running worker has account 'late'" in left.reason
        late = Account("late", "aliyun", "fake-late-key", "fake-late-secret")
        made.simulator.settings(auto_start=True)
        made.simulator.add_accounts(at_vendors([late]))
        made.write_accounts([*DEFAULT_ACCOUNTS, late])
        made.start_worker()
        assert job.outcome(TIMEOUT_S).result is Result.STOPPED


@pytest.mark.long
def test_a_command_is_left_to_the_worker_that_has_its_account(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        made.write_accounts([account for account in DEFAULT_ACCOUNTS if account.name != TENCENT])
        made.start_worker()
        jobs = made.client.enqueue_many(
            [Command(operation=StopStreamIngest(sdk_app_id=1, task_id=f"t{n}"), account=TENCENT) for n in range(10)]
        )
        assert {outcome.result for outcome in made.client.outcomes(jobs, timeout=60)} == {Result.STOPPED}


def test_sigterm_lets_calls_in_flight_end_and_gives_the_rest_back_at_once(tmp_path: Path) -> None:
    lane = Lane(ALIYUN, "live.StopEdgeTranscodeJob")
    with (
        world(tmp_path, workers=0, environ=PATIENT_CALLS) as made,
        network_to_vendors(made, {lane.operation: 40.0}) as network,  # the vendor allows 100: it never throttles
    ):
        made.simulator.settings(auto_start=True)
        running = made.start_worker()
        stops = [StopEdgeTranscodeJob(cluster_id="c", job_id=f"j{n}") for n in range(120)]
        with held_answers(network):
            jobs = made.client.enqueue_many([Command(operation=stop, account=ALIYUN) for stop in stops])
            made.simulator.wait_for_calls(1)
            running.signal(signal.SIGTERM)
            running.await_line("Warm shutdown")
        assert running.process.wait(TIMEOUT_S) == 0
        called = made.simulator.calls()
        ended = [job for job in jobs if isinstance(job.peek(), Outcome)]
        assert len(ended) == len(called) < len(jobs), "every call has its outcome, and no other job has one"
        assert all(job.peek() is None for job in jobs if job not in ended), "no call was cut off"
        view = made.client.lanes([lane])[0]
        assert view.waiting + view.in_flight == len(jobs) - len(ended)

        made.start_worker()
        assert {outcome.result for outcome in made.client.outcomes(jobs, timeout=60)} == {Result.STOPPED}
        assert len(made.simulator.calls()) == len(jobs), "nothing was called twice"


def test_the_jobs_of_a_killed_worker_run_again_after_one_lease(tmp_path: Path) -> None:
    with world(tmp_path, environ={"STREAMSTOP_CALL_TIMEOUT": "5"}) as made:
        made.simulator.settings(auto_start=True, latency_ms=300)
        stops = [StopStreamIngest(sdk_app_id=1, task_id=f"k{n}") for n in range(60)]
        jobs = made.client.enqueue_many([Command(operation=stop, account=TENCENT) for stop in stops])
        made.simulator.wait_for_calls(10)
        made.workers[0].kill()
        made.start_worker()
        outcomes = list(made.client.outcomes(jobs, timeout=60))
        assert len(outcomes) == len(jobs)
        assert {outcome.result for outcome in outcomes} <= {Result.STOPPED, Result.ALREADY_STOPPED}
        calls = made.simulator.calls()
        assert {call.params["TaskId"] for call in calls} == {f"k{n}" for n in range(60)}
        assert len(calls) - len(jobs) <= WINDOW, "only what was under way at the kill was called twice"


def test_an_expired_command_is_never_sent_and_a_cancelled_one_neither(tmp_path: Path) -> None:
    with world(tmp_path, workers=0) as made:
        made.simulator.settings(auto_start=True)
        brief = made.client.enqueue(
            StopMPUTask(app_id="a", task_id="brief"), account=ALIYUN, expires_in=timedelta(milliseconds=1)
        )
        taken_back = made.client.enqueue(StopMPUTask(app_id="a", task_id="taken back"), account=ALIYUN)
        kept = made.client.enqueue(StopMPUTask(app_id="a", task_id="kept"), account=ALIYUN)
        assert taken_back.cancel().result is Result.CANCELLED
        assert taken_back.cancel().result is Result.CANCELLED, "it is safe to say twice"
        with pytest.raises(OutcomeTimeout):
            kept.outcome(timeout=0)
        made.start_worker()
        assert [job.outcome(TIMEOUT_S).result for job in (brief, taken_back, kept)] == [
            Result.EXPIRED,
            Result.CANCELLED,
            Result.STOPPED,
        ]
        assert [call.params["TaskId"] for call in made.simulator.calls()] == ["kept"]
        with pytest.raises(NotCancellable, match="ended"):
            kept.cancel()


@pytest.mark.long
def test_one_client_serves_many_threads_and_forked_children(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        made.simulator.settings(auto_start=True)
        ends: list[Result] = []

        def stop_some(name: str) -> None:
            for n in range(5):
                job = made.client.enqueue(StopEdgeTranscodeJob(cluster_id=name, job_id=str(n)), account=ALIYUN)
                ends.append(job.outcome(TIMEOUT_S).result)

        threads = [threading.Thread(target=stop_some, args=(f"thread-{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ends == [Result.STOPPED] * 40

        child = os.fork()
        if child == 0:
            try:
                stop_some("child")
            finally:  # an error must not run the rest of the tests in the child
                os._exit(0 if ends == [Result.STOPPED] * 45 else 1)
        stop_some("parent")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert ends == [Result.STOPPED] * 45
        made.simulator.wait_for_calls(50)


@pytest.mark.long
def test_a_lane_that_has_ended_leaves_nothing_without_a_time_to_live(tmp_path: Path) -> None:
    with world(tmp_path, environ={"STREAMSTOP_CALL_TIMEOUT": "2"}) as made:
        made.simulator.settings(auto_start=True)
        relays = [StopLivePullToPush(region="cn-shanghai", task_id=f"t{n}") for n in range(5)]
        jobs = made.client.enqueue_many([Command(operation=relay, account=OTHER_ALIYUN) for relay in relays])
        assert len(list(made.client.outcomes(jobs, timeout=TIMEOUT_S))) == 5
        made.workers[0].stop()
        made.start_worker()
        probe = made.client.enqueue(StopStreamIngest(sdk_app_id=1, task_id="t"), account=TENCENT)
        assert probe.outcome(TIMEOUT_S).ok
        # When the last lease would have ended, the sweep removes its lane from the index.
        eventually(lambda: not _kept(made.redis), lambda: f"the end of {_kept(made.redis)}")
        made.workers[1].stop()
        assert not _kept(made.redis)


def _kept(redis: Redis) -> set[bytes]:
    """Return the keys without a time to live, except kombu's and the latest events."""
    keys = {key for key in redis.scan_iter("*") if redis.ttl(key) == -1} - {b"streamstop.events"}
    return {key for key in keys if not key.startswith(b"_kombu.")}


@pytest.mark.long
def test_two_clients_of_one_service_share_nothing_but_redis(tmp_path: Path) -> None:
    with world(tmp_path) as made, Client(made.server.url) as other:
        made.simulator.settings(auto_start=True)
        job = made.client.enqueue(StopMPUTask(app_id="a", task_id="t"), account=ALIYUN)
        assert other.job(job.id).outcome(TIMEOUT_S) == job.outcome(TIMEOUT_S)

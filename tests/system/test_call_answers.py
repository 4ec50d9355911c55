"""What people see of each call of a job: real workers, Redis and simulated vendors."""

from streamstop import Became, Job, JobView, Operation, Result, Where
from streamstop._core.constants import ANSWERS
from streamstop.operations import StopMPUTask
from streamstop_simulator import FaultKind
from tests.support.executable import objects, run
from tests.support.world import ALIYUN, World

TIMEOUT = 60


def enqueue(world: World, operation: Operation) -> Job:
    world.await_account(ALIYUN)
    return world.client.enqueue(operation, account=ALIYUN)


def look(job: Job) -> JobView:
    view = job.look()
    assert view is not None
    return view


def answered(world: World, operation: Operation) -> list[tuple[int, str]]:
    """Return the calls that the vendor answered: their numbers and request ids."""
    calls = [call for call in world.simulator.calls(ALIYUN) if call.params == operation.params]
    return [(number, call.request_id) for number, call in enumerate(calls, 1)]


def test_a_job_shows_each_call_with_the_vendors_request_id(shared_world: World) -> None:
    stop = StopMPUTask(app_id="app", task_id="flaky")
    shared_world.simulator.start_tasks(ALIYUN, [stop])
    shared_world.simulator.add_fault("500", account=ALIYUN, task=stop.params)
    shared_world.simulator.add_fault(FaultKind.CODE, account=ALIYUN, task=stop.params, code="Throttling.User")
    job = enqueue(shared_world, stop)
    outcome = job.outcome(TIMEOUT)
    assert (outcome.result, outcome.attempts, outcome.calls) == (Result.STOPPED, 2, 3)
    view = look(job)
    assert [(one.number, one.request_id) for one in view.answers] == answered(shared_world, stop)
    first, second, last = view.answers
    assert (first.became, second.became, last.became) == (Became.RETRIED, Became.THROTTLED, Became.ENDED)
    assert first.code is not None
    assert (second.code, last.code) == ("Throttling.User", None)
    assert view.enqueued_at is not None
    assert first.sent_at is not None
    assert first.at is not None
    assert second.sent_at is not None
    assert view.enqueued_at < first.sent_at < first.at < second.sent_at
    assert last.at == outcome.ended_at
    page = run(shared_world.server.url, "job", job.id).stdout.splitlines()
    assert [line.partition(" ")[2].split()[0] for line in page if line.startswith("call ")] == ["1", "2"]
    (shown,) = objects(run(shared_world.server.url, "job", job.id, "--json").stdout)
    assert shown["answers"] == [one.model_dump(mode="json") for one in view.answers]


def test_a_dead_letter_shows_the_calls_before_its_last(shared_world: World) -> None:
    stop = StopMPUTask(app_id="app", task_id="refused in the end")
    shared_world.simulator.add_fault("503", account=ALIYUN, task=stop.params)
    shared_world.simulator.add_fault(FaultKind.CODE, account=ALIYUN, task=stop.params, code="Forbidden.RAM")
    job = enqueue(shared_world, stop)
    assert job.outcome(TIMEOUT).result is Result.REFUSED
    view = look(job)
    assert (view.where, [one.became for one in view.answers]) == (Where.DEAD, [Became.RETRIED, Became.ENDED])
    assert [(one.number, one.request_id) for one in view.answers] == answered(shared_world, stop)
    (shown,) = objects(run(shared_world.server.url, "dead", "show", job.id, "--json").stdout)
    assert shown["answers"] == [one.model_dump(mode="json") for one in view.answers]
    again = shared_world.client.dead_letters.requeue(job.id)
    assert again.outcome(TIMEOUT).result is Result.NOT_FOUND
    assert [one.number for one in look(again).answers] == [1], "the requeued job begins anew"
    assert look(job).answers == view.answers, "its own job shows them as long as its outcome"
    shared_world.client.dead_letters.drop(again.id)


def test_a_job_of_one_call_has_no_key_of_answers(shared_world: World) -> None:
    stop = StopMPUTask(app_id="app", task_id="good")
    shared_world.simulator.start_tasks(ALIYUN, [stop])
    job = enqueue(shared_world, stop)
    assert job.outcome(TIMEOUT).result is Result.STOPPED
    assert shared_world.redis.exists(f"{ANSWERS}{job.id}") == 0
    view = look(job)
    assert [(one.number, one.request_id) for one in view.answers] == answered(shared_world, stop)
    (only,) = view.answers
    assert view.enqueued_at is not None
    assert only.sent_at is not None
    assert only.at is not None
    assert view.enqueued_at < only.sent_at < only.at

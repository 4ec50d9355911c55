"""A world for the tests of the page: a real Redis, a worker, simulated vendors, the service, and something to see."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from streamstop import Command, Result, Shutdown
from streamstop.operations import StopMPUTask, StopStreamIngest
from streamstop_simulator import FaultKind
from tests.support.http_service import HttpService, http_service
from tests.support.polling import eventually
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World, world

#: What a planted script would do: open a dialog, which a visit reports, and leave a mark.
PLANTED = '<img src=x onerror="alert(1)"><script>document.title=`planted`</script>'
#: A room whose name is as awkward as can be.
ROOM = f"näme/with %2F 'quotes' \"and\" 🎬 {PLANTED}"
#: A lane that takes so few calls in a second that its 600 jobs last for 20 minutes, longer than a file's tests.
SLOW = "live.StopMPUTask"
LIMITS: Mapping[str, float] = {SLOW: 0.5, "trtc.StopStreamIngest": 100.0}


@dataclass
class PageWorld:
    """A world with a service, in which there is one of everything that screens show."""

    world: World
    service: HttpService
    #: A shutdown that goes on for 20 minutes, and one that needs attention.
    running: Shutdown
    ended: Shutdown
    #: A job that waits behind the running shutdown, one that is stopped, and two dead letters.
    #: The refused one was called twice.
    waiting: str
    stopped: str
    dead: str
    refused: str

    @property
    def names(self) -> Mapping[str, str]:
        """What the parameters of paths stand for, percent-encoded."""
        names = {
            "account": ALIYUN,
            "operation": SLOW,
            "odd_room": ROOM,
            "planted": PLANTED,
            "running": self.running.id,
            "ended": self.ended.id,
            "waiting": self.waiting,
            "stopped": self.stopped,
            "dead": self.dead,
            "refused": self.refused,
        }
        return {name: quote(value, safe="") for name, value in names.items()}


@contextmanager
def page_world(folder: Path) -> Iterator[PageWorld]:
    """Make the world."""
    with world(folder, limits=LIMITS) as made, http_service(made.server.url, folder) as service:
        made.await_account(TENCENT)
        client = made.client
        odd = [StopStreamIngest(sdk_app_id=1, task_id=f"{PLANTED}{number}") for number in range(3)]
        made.simulator.start_tasks(TENCENT, odd[:2])
        made.simulator.add_fault(FaultKind.CODE, task=odd[0].params, code="InternalError", message=f"Later: {PLANTED}")
        made.simulator.add_fault(
            FaultKind.CODE, task=odd[0].params, code="UnauthorizedOperation", message=f"Refused: {PLANTED}"
        )
        client.register_many(ROOM, [Command(operation=stop, account=TENCENT) for stop in odd])
        ended = client.stop_room(ROOM)
        ended.wait(60)
        outcomes = {outcome.result: outcome.job_id for outcome in ended.outcomes()}
        relays = [StopMPUTask(app_id="app", task_id=f"relay-{number}") for number in range(600)]
        made.simulator.start_tasks(ALIYUN, relays)
        client.register_many("concert", [Command(operation=stop, account=ALIYUN) for stop in relays])
        running = client.stop_room("concert")
        eventually(
            lambda: sum(lane.total for lane in running.progress().lanes) == len(relays), "its jobs are in the lane"
        )
        client.pause(OTHER_ALIYUN, reason=PLANTED, by=f"ana <b>{PLANTED[:20]}")
        waiting = client.enqueue(StopMPUTask(app_id="app", task_id=PLANTED), account=ALIYUN, priority=9)
        yield PageWorld(
            made,
            service,
            running,
            ended,
            waiting.id,
            stopped=outcomes[Result.STOPPED],
            dead=outcomes[Result.NOT_FOUND],
            refused=outcomes[Result.REFUSED],
        )

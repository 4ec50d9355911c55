"""Pictures of the page for the README and the guides: a real service, real workers, simulated vendors.

::

    python -m tests.support.page_pictures docs/images
"""

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from playwright.sync_api import expect

from streamstop import Command
from streamstop.operations import StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_simulator import FaultKind
from tests.support.accounts import DEFAULT_ACCOUNTS, at_vendors
from tests.support.browser import Scheme, browser, visit
from tests.support.http_service import http_service
from tests.support.world import ALIYUN, OTHER_ALIYUN, TENCENT, World, world

_LIMITS = {"live.StopMPUTask": 10.0, "live.StopLivePullToPush": 10.0, "trtc.StopStreamIngest": 20.0}
_WIDTH, _HEIGHT = 1280, 660


def busy(made: World) -> str:
    """Fill the queue, as in the evening of a busy day; return the id of a shutdown that goes on."""
    for account in (ALIYUN, OTHER_ALIYUN, TENCENT):
        made.await_account(account)
    made.simulator.settings(auto_start=True)
    made.simulator.add_fault(FaultKind.THROTTLE, account=TENCENT, times=12)
    relays = [StopMPUTask(app_id="app", task_id=f"relay-{number}") for number in range(2000)]
    pulled = [StopLivePullToPush(region="cn-shanghai", task_id=f"pulled-{number}") for number in range(900)]
    ingests = [StopStreamIngest(sdk_app_id=1, task_id=f"ingest-{number}") for number in range(2500)]
    made.client.enqueue_many(Command(operation=stop, account=ALIYUN) for stop in pulled)
    made.client.enqueue_many(Command(operation=stop, account=OTHER_ALIYUN) for stop in relays[:700])
    made.client.register_many("evening-show", [Command(operation=stop, account=ALIYUN) for stop in relays])
    made.client.register_many("evening-show", [Command(operation=stop, account=TENCENT) for stop in ingests])
    return made.client.stop_room("evening-show").id


def main(folder: Path) -> None:
    """Take the pictures."""
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        with world(home, limits=_LIMITS) as made, http_service(made.server.url, home) as service, browser() as running:
            shutdown = busy(made)
            made.simulator.wait_for_calls(300, ALIYUN, timeout=timedelta(seconds=120))
            (key,) = at_vendors([account for account in DEFAULT_ACCOUNTS if account.name == OTHER_ALIYUN])
            made.simulator.add_accounts([replace(key, access_key_id="a-new-key")])
            made.client.pause(
                f"{ALIYUN}.live.StopLivePullToPush", lasting=1800, reason="the vendor asked us to", by="night"
            )
            screens: Mapping[str, tuple[str, Scheme]] = {
                "page-lanes": ("/", "light"),
                "page-lane": (f"/lanes/{ALIYUN}/live.StopMPUTask", "dark"),
                "page-shutdown": (f"/shutdowns/{shutdown}", "light"),
            }
            for name, (path, scheme) in screens.items():
                with visit(running, service, width=_WIDTH, scheme=scheme) as visiting:
                    visiting.page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
                    visiting.go(path)
                    if path == "/":
                        expect(visiting.page.locator("#held")).to_contain_text("held")
                    visiting.page.screenshot(path=folder / f"{name}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The benchmark's own instruments, on which its figures depend."""

import http.client
import json
from datetime import UTC, datetime
from pathlib import Path

from streamstop.operations import Operation, StopLivePullToPush, StopMPUTask, StopStreamIngest
from streamstop_worker.accounts import Account
from streamstop_worker.vendors import PROTOCOLS
from tests.bench.answering import Arrival, answering, most_in_a_second
from tests.bench.plot import Line, Panel
from tests.bench.profiling import count
from tests.bench.results import Plot, Section, Target, target_lines, write
from tests.bench.soak_load import command_of
from tests.support.simulated_vendors import arrival_of

ALIYUN = Account("one", "aliyun", "key-one", "secret-one")
TENCENT = Account("two", "tencent", "key-two", "secret-two", region="ap-singapore")


def called(connection: http.client.HTTPConnection, account: Account, operation: Operation) -> object:
    request = PROTOCOLS[account.vendor].build(operation, account, now=datetime.now(UTC), nonce="nonce")
    arrival = arrival_of(request, 0.0)
    connection.request(request.method, f"/?{arrival.query}", request.body, request.headers)
    with connection.getresponse() as response:
        return json.loads(response.read())


def test_the_answering_vendor_tells_lanes_and_the_moments_of_enqueueing_of_both_vendors_calls() -> None:
    with answering() as vendor:
        connection = http.client.HTTPConnection(vendor.url.removeprefix("http://"))
        assert called(connection, ALIYUN, command_of(StopMPUTask, 1, 1000.5))
        assert called(connection, ALIYUN, command_of(StopLivePullToPush, 2, 1001.5))
        assert called(connection, TENCENT, command_of(StopStreamIngest, 3, 1002.5))
        connection.close()
        assert vendor.counts() == {"one": 2, "two": 1}
        seen = [(one.account, one.operation, one.sent_at) for one in vendor.take()]
        assert vendor.take() == []
    assert seen == [
        ("one", "live.StopMPUTask", 1000.5),
        ("one", "live.StopLivePullToPush", 1001.5),
        ("two", "trtc.StopStreamIngest", 1002.5),
    ]


def test_the_most_calls_in_a_second_are_those_of_the_worst_second_wherever_it_begins() -> None:
    moments = (0.0, 0.5, 0.9, 1.4, 1.49, 2.4)
    arrivals = [Arrival(at, at, "one", "live.StopMPUTask", 0.0) for at in moments]
    assert most_in_a_second(arrivals) == {("one", "live.StopMPUTask"): 4}


def test_a_call_a_whole_second_after_another_is_in_a_second_of_its_own() -> None:
    arrivals = [Arrival(at, at, "one", "live.StopMPUTask", 0.0) for at in (0.0, 1.0, 2.0)]
    assert most_in_a_second(arrivals) == {("one", "live.StopMPUTask"): 1}


def test_a_sample_counts_for_the_innermost_part_of_its_stack() -> None:
    within = "Thread.run (threading.py:982);Executor.execute (streamstop_worker/pipeline/execute.py:86)"
    counted = count(
        [
            f"{within} 3",
            f"{within};build_report (streamstop_worker/pipeline/conclude.py:9);dumps (json/__init__.py:231) 5",
            f"{within};Transport.send (streamstop_worker/transport.py:60);request (aiohttp/client.py:900) 7",
            f"{within};Transport.send (streamstop_worker/transport.py:60);__init__ (<string>:5) 2",
            "Thread.run (threading.py:982) 1",
        ]
    )
    assert counted == {"decisions about a job": 8, "HTTP": 9, "other": 1}


def test_what_limits_a_figure_is_shown_with_a_missed_goal_alone() -> None:
    missed, reached = Target("jobs/s", False, "7", "the CPU"), Target("jobs/s", True, "9", "the CPU")
    assert list(target_lines([missed, reached])) == [
        "  MISSED   jobs/s: 7. The limit: the CPU",
        "  reached  jobs/s: 9",
    ]


def section(name: str, *, reached: bool = True) -> Section:
    plot = Plot(f"{name}.svg", ["1", "100"], [Panel("jobs", [Line("ours", [1.0, 2.0])])])
    targets = [Target("jobs/s", reached, "7")]
    return Section(name, f"Text of {name}.", ["", "jobs/s"], [["case", "7"]], targets, [{"jobs": 7.1}], [plot])


def test_a_run_of_one_scenario_leaves_what_was_written_of_the_others(tmp_path: Path) -> None:
    write(section("first"), {"machine": "calm"}, tmp_path)
    write(section("second"), {"machine": "busy"}, tmp_path)
    write(section("first", reached=False), {"machine": "busy"}, tmp_path)
    recorded = json.loads((tmp_path / "bench.json").read_text())
    assert list(recorded) == ["first", "second"]
    assert recorded["first"]["figures"] == [{"jobs": 7.1}]
    markdown = (tmp_path / "bench.md").read_text()
    assert "- **missed**: jobs/s: 7" in markdown
    assert "- reached: jobs/s: 7" in markdown
    assert "![second](second.svg)" in markdown
    assert (tmp_path / "second.svg").read_text().startswith("<svg")

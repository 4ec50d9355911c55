"""What the demo shows: pure functions from data to lines."""

from dataclasses import replace
from datetime import timedelta

import click
import pytest

from streamstop import Result
from streamstop_simulator.demo.scenario import LANES, quick
from streamstop_simulator.demo.screen import (
    LaneEnd,
    LaneNow,
    Totals,
    over_limit_line,
    plot_lines,
    progress_bar,
    progress_lines,
    state,
    table_lines,
    totals_line,
)

LANE = LaneNow("demo-aliyun-1", "live.StopEdgeTranscodeJob", limit=100, total=400, to_call=400)
TOTALS = Totals(timedelta(seconds=58.2), ended=118, total=216, calls=131, errors=107, throttled=12, over_limit=0)
END = LaneEnd(
    "demo-aliyun-1",
    "live.StopEdgeTranscodeJob",
    limit=100,
    results={Result.STOPPED: 388, Result.ALREADY_STOPPED: 7, Result.NOT_FOUND: 5},
    calls_per_second=[100, 50, 0, 1],
    errors=11,
    throttled=2,
    most_in_a_second=100,
    took=timedelta(seconds=12.34),
)


def plain(lines: list[str]) -> list[str]:
    return [click.unstyle(line).rstrip() for line in lines]


@pytest.mark.parametrize(
    ("done", "bar"),
    [
        (0, "░░░░░"),
        (1, "▏░░░░"),  # 1/40 of 5 characters is one eighth of a character
        (8, "█░░░░"),
        (20, "██▌░░"),
        (39, "████▉"),
        (40, "█████"),
    ],
)
def test_a_bar_grows_by_eighths_and_is_full_only_at_the_end(done: int, bar: str) -> None:
    assert progress_bar(done, 40, 5) == bar


def test_a_bar_of_nothing_is_full() -> None:
    assert progress_bar(0, 0, 3) == "███"


@pytest.mark.parametrize(
    ("lane", "text"),
    [
        (replace(LANE, pace=97), "running"),
        (replace(LANE, pace=None), "running"),
        (replace(LANE, pace=48.5), "at 48.5/s"),
        (replace(LANE, pace=48.5, rest=timedelta(seconds=0.84)), "rests 0.8 s"),
        (replace(LANE, deferred=3), "running"),
        (replace(LANE, deferred=3, to_call=0), "3 to retry"),
        (replace(LANE, ended=400, to_call=0, took=timedelta(seconds=9.87)), "done 9.9 s"),
    ],
)
def test_a_lane_tells_what_it_does_now(lane: LaneNow, text: str) -> None:
    assert state(lane)[0] == text


def test_the_live_view_is_a_line_a_lane_and_names_each_account_once() -> None:
    other = replace(LANE, operation="live.StopMPUTask", limit=10, total=40, ended=10, pace=4.85)
    lines = plain(progress_lines([LANE, other], TOTALS))
    assert lines == [
        "account       operation                 limit tasks ended           now",
        "demo-aliyun-1 live.StopEdgeTranscodeJob 100/s ░░░░░░░░░░░░░░░ 0/400 running",
        "              live.StopMPUTask           10/s ███▊░░░░░░░░░░░ 10/40 at 4.8/s",
        "",
        "58.2 s  118 of 216 ended, 131 calls: 107 got a 500, 12 throttled, 0 over a limit",
    ]


def test_the_table_counts_every_outcome_and_adds_up() -> None:
    other = replace(
        END,
        account="demo-tencent",
        operation="trtc.StopStreamIngest",
        results={Result.STOPPED: 3},
        calls_per_second=[3],
        errors=0,
        throttled=0,
        took=timedelta(seconds=0.9),
    )
    assert plain(table_lines([END, other])) == [
        "                                    already   not",
        "outcomes                    stopped stopped found calls 500s throttled   took",
        "demo-aliyun-1",
        "  live.StopEdgeTranscodeJob     388       7     5   151   11         2 12.3 s",
        "demo-tencent",
        "  trtc.StopStreamIngest           3       ·     ·     3    ·         ·  0.9 s",
        "together                        391       7     5   154   11         2 12.3 s",
    ]


def test_the_table_has_a_column_for_an_outcome_that_should_not_be() -> None:
    lines = plain(table_lines([replace(END, results={Result.GAVE_UP: 2})]))
    assert "gave" in lines[0]
    assert "up" in lines[1]


def test_the_plot_draws_each_second_below_the_line_of_the_limit() -> None:
    assert plain(plot_lines([END])) == [
        f"calls per second            limit{'':33}  most in 1 s",
        "demo-aliyun-1               100/s   ╌╌╌╌╌╌╌╌",
        f"  live.StopEdgeTranscodeJob         ██▄▄  ▁▁{'':22}  100 of 100",
        "                                    0 s",
    ]


def test_the_plot_lifts_a_second_over_the_limit_above_its_line() -> None:
    lines = plain(plot_lines([replace(END, limit=10, calls_per_second=[10, 11], most_in_a_second=11)]))
    assert lines[1].endswith("╌╌██")
    assert lines[2].split() == ["live.StopEdgeTranscodeJob", "████", "11", "of", "10"]


@pytest.mark.parametrize(("seconds", "cells"), [(15, 30), (16, 16), (30, 30), (31, 16), (100, 25)])
def test_the_plot_of_a_long_demo_takes_more_seconds_a_cell(seconds: int, cells: int) -> None:
    limit = plain(plot_lines([replace(END, calls_per_second=[1] * seconds)]))[1]
    assert limit.count("╌") == cells


def test_a_plot_of_no_calls_is_empty() -> None:
    assert len(plot_lines([replace(END, calls_per_second=[])])) == 4


@pytest.mark.parametrize("quickly", [False, True])
def test_every_line_of_the_demo_fits_80_columns(quickly: bool) -> None:
    scenes = [quick(scene) for scene in LANES] if quickly else LANES
    now = [
        LaneNow(
            scene.account,
            scene.operation.spec.id,
            scene.limit,
            scene.count,
            rest=timedelta(seconds=30),
            took=timedelta(seconds=59.9),
            ended=ended,
        )
        for scene in scenes
        for ended in (0, scene.count)
    ]
    ends = [
        replace(END, account=scene.account, operation=scene.operation.spec.id, calls_per_second=[999] * 40)
        for scene in scenes
    ]
    lines = [*progress_lines(now, TOTALS), *table_lines(ends), *plot_lines(ends)]
    assert max(len(line) for line in plain(lines)) <= 80


def test_the_last_word_is_the_number_of_calls_over_a_limit() -> None:
    assert click.unstyle(over_limit_line(0)) == "calls over a limit: 0"
    assert click.unstyle(over_limit_line(3)) == "calls over a limit: 3"


def test_a_plain_line_tells_of_all_lanes() -> None:
    line = click.unstyle(totals_line(replace(TOTALS, elapsed=timedelta(seconds=2), over_limit=1)))
    assert line == " 2.0 s  118 of 216 ended, 131 calls: 107 got a 500, 12 throttled, 1 over a limit"

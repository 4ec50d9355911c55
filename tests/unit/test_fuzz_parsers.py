"""Every parser of outside data accepts any input: random, of the expected shape, and from the fuzzer's corpus."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"

PARAMS: dict[str, object] = {"AppId": "a", "TaskId": "t"}
COMMAND: dict[str, object] = {"v": 1, "operation": "live.StopMPUTask", "account": "a", "params": PARAMS}

#: Names that some parser looks for.
_KNOWN = """
    Code Message RequestId RetCode Description Response Error Status v operation account params enqueued_at expires_at
    shutdown member verify patience round requeued follow stopped since TaskId AppId Region SdkAppId status result
    exc_type exc_message job_id priority expires_in body headers properties body_encoding accounts vendor
"""
NAMES = st.sampled_from(_KNOWN.split()) | st.text(max_size=5)
VALUES = st.sampled_from(
    ["live.StopMPUTask", "trtc.StopStreamIngest", "live-cn", "SUCCESS", "JobFailed", "JobDeferred", "base64", "\ud800"]
) | st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | VALUES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=15,
)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary() | st.text().map(lambda text: text.encode(errors="surrogatepass")))
def test_no_bytes_make_a_parser_raise(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", ["aliyun", "tencent", "command", "envelope", "record", "lines"])
@given(value=JSON, before=st.binary(min_size=2, max_size=2))
def test_no_json_makes_a_parser_raise(target: str, value: object, before: bytes) -> None:
    prefix = before + b"\n" if target in {"aliyun", "tencent"} else b""
    TARGETS[target](prefix + json.dumps(value).encode())


@given(
    changed=st.dictionaries(NAMES, JSON, max_size=3),
    params=st.dictionaries(NAMES, JSON, max_size=3),
    shutdown=st.none() | st.dictionaries(NAMES, JSON, max_size=5),
)
def test_no_command_that_is_nearly_right_makes_a_worker_raise(
    changed: dict[str, object], params: dict[str, object], shutdown: dict[str, object] | None
) -> None:
    command = {
        "v": 1,
        "operation": "live.StopMPUTask",
        "account": "a",
        "params": {"AppId": "a", "TaskId": "t"} | params,
    }
    if shutdown is not None:
        command["shutdown"] = {"shutdown": "s", "member": "m"} | shutdown
    TARGETS["command"](json.dumps(command | changed).encode())


@pytest.mark.parametrize("key", ["v", "operation", "account", "params", "expires_at"])
@pytest.mark.parametrize("value", ["x" * 100_000, ["x"] * 20_000, {"x" * 100_000: 1}], ids=["text", "list", "name"])
def test_the_reason_for_refusing_a_message_is_short(key: str, value: object) -> None:
    TARGETS["command"](json.dumps(COMMAND | {key: value}).encode())


@pytest.mark.parametrize("params", [{"x" * 100_000: 1}, {"TaskId": "x" * 100_000}, {"AppId": ["x"] * 20_000}])
def test_the_reason_for_refusing_a_parameter_is_short(params: dict[str, object]) -> None:
    TARGETS["command"](json.dumps(COMMAND | {"params": PARAMS | params}).encode())


@pytest.mark.parametrize("target", TARGETS)
def test_no_input_of_the_corpus_fails(target: str) -> None:
    found = sorted((CORPUS / target).iterdir())
    assert found
    for file in found:
        TARGETS[target](file.read_bytes())


@pytest.mark.long
def test_the_fuzzer_runs_every_target() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", "--runs", "300"], check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-5000:]
    for target in TARGETS:
        assert f"{target}: " in done.stderr
    if "atheris is not installed" not in done.stderr:
        assert done.stderr.count("stat::number_of_executed_units") == len(TARGETS)

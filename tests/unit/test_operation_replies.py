"""Replies to operations: the meaning of each status value and error code."""

import pytest

from streamstop.operations import (
    OPERATIONS,
    Kind,
    Meaning,
    StatusField,
    find,
)
from streamstop.operations.aliyun import ALIYUN
from streamstop.operations.base import Spec, meaning_of
from streamstop.operations.tencent import TENCENT
from streamstop.outcomes import State

MPU: dict[int | str, State] = dict.fromkeys(range(7), State.STOPPED)
MPU |= {0: State.WAITING, 1: State.RUNNING}
#: Each status operation that tells one task's state: the vendor's values, and what they mean.
TABLES: dict[str, dict[int | str, State]] = {
    "live.GetMPUTaskStatus": MPU,
    "rtc.GetMPUTaskStatus": MPU,
    "live.DescribeLivePullToPush": {
        0: State.WAITING,
        1: State.RUNNING,
        2: State.ABNORMAL,
        3: State.STOPPED,
        -1: State.STOPPED,
    },
    "live.GetEdgeTranscodeJob": {
        "0": State.WAITING,
        "1": State.RUNNING,
        0: State.WAITING,
        1: State.RUNNING,
    },
    "trtc.DescribeStreamIngest": {"InProgress": State.RUNNING, "NotExist": State.STOPPED},
    "trtc.DescribeCloudRecording": {
        "Idle": State.WAITING,
        "InProgress": State.RUNNING,
        "Exited": State.STOPPED,
    },
}


def field_of(operation_id: str) -> StatusField:
    field = OPERATIONS[operation_id].spec.status
    assert field is not None
    return field


def reply(field: StatusField, raw: object) -> dict[str, object]:
    value = raw
    for name in reversed(field.path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def test_every_status_operation_has_its_table_here() -> None:
    assert {name for name, cls in OPERATIONS.items() if cls.spec.status is not None} == set(TABLES)


@pytest.mark.parametrize(
    ("operation_id", "raw", "state"),
    [(name, raw, state) for name, table in TABLES.items() for raw, state in table.items()],
)
def test_a_status_value_means_what_the_vendors_page_says(operation_id: str, raw: int | str, state: State) -> None:
    field = field_of(operation_id)
    status = field.read(reply(field, raw))
    assert (status.raw, status.state, status.over) == (raw, state, state is State.STOPPED)


@pytest.mark.parametrize("operation_id", TABLES)
@pytest.mark.parametrize("raw", [99, "Paused", ""])
def test_a_status_value_that_no_page_lists_is_unknown_and_not_over(operation_id: str, raw: int | str) -> None:
    field = field_of(operation_id)
    status = field.read(reply(field, raw))
    assert (status.raw, status.state, status.over) == (raw, State.UNKNOWN, False)


@pytest.mark.parametrize("operation_id", TABLES)
@pytest.mark.parametrize("answer", [{}, {"Status": None}, {"Status": [1]}, {"Job": "x"}, {"Job": {"Status": {}}}])
def test_a_reply_without_a_status_is_unknown_and_not_over(operation_id: str, answer: dict[str, object]) -> None:
    status = field_of(operation_id).read(answer)
    assert (status.raw, status.state, status.over) == (None, State.UNKNOWN, False)


def test_an_exact_code_goes_before_a_prefix_and_a_longer_prefix_before_a_shorter() -> None:
    codes = {"A*": Meaning.REFUSED, "A.B*": Meaning.TRANSIENT, "A.B.C": Meaning.NOT_FOUND}
    assert meaning_of("A", codes) is Meaning.REFUSED
    assert meaning_of("A.X", codes) is Meaning.REFUSED
    assert meaning_of("A.B.X", codes) is Meaning.TRANSIENT
    assert meaning_of("A.B.C", codes) is Meaning.NOT_FOUND
    assert meaning_of("B", codes) is None
    assert meaning_of("A*", {"A*": Meaning.REFUSED}) is Meaning.REFUSED


def test_an_operations_own_codes_go_before_its_vendors() -> None:
    spec = Spec(find("live.StopMPUTask").spec.product, "X", Kind.STOP, 1, codes={"Internal*": Meaning.REFUSED})
    assert spec.meaning("InternalError") is Meaning.REFUSED
    assert spec.meaning("CodeTaskHasStopped") is Meaning.ALREADY_STOPPED
    assert spec.meaning("NobodyKnows") is None


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("Throttling.User", Meaning.THROTTLED),
        ("Throttling", Meaning.THROTTLED),
        ("Forbidden.RAM", Meaning.REFUSED),
        ("InvalidTask.NotFound", Meaning.NOT_FOUND),
        ("InvalidTimeStamp.Expired", Meaning.SIGN_AGAIN),
    ],
)
def test_alibabas_families_of_codes(code: str, meaning: Meaning) -> None:
    assert meaning_of(code, ALIYUN.codes) is meaning


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("LimitExceeded.Tasks", Meaning.REFUSED),
        ("RequestLimitExceeded.UinLimitExceeded", Meaning.THROTTLED),
        ("AuthFailure.SignatureExpire", Meaning.SIGN_AGAIN),
        ("AuthFailure.SecretIdNotFound", Meaning.KEY_REFUSED),
        ("FailedOperation.TaskFinished", Meaning.ALREADY_STOPPED),
    ],
)
def test_tencents_families_of_codes(code: str, meaning: Meaning) -> None:
    assert meaning_of(code, TENCENT.codes) is meaning

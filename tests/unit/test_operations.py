"""Operations: each parameter is checked before anything is sent, and a mistake is one sentence that names it."""

import pytest

from streamstop.errors import InvalidCommand, UnknownOperation
from streamstop.operations import (
    OPERATIONS,
    AnyRegion,
    DescribeLivePullToPushList,
    Kind,
    Operation,
    StopLiveMPUTask,
    StopLivePullToPush,
    StopMPUTask,
    StopStreamIngest,
    find,
    parse,
)

REGIONS = (
    "ap-northeast-1, ap-southeast-1, ap-southeast-5, eu-central-1, me-central-1, "
    "cn-beijing, cn-shanghai, cn-shenzhen, cn-qingdao, preregion"
)


def wrong(operation: str, **params: object) -> InvalidCommand:
    with pytest.raises(InvalidCommand) as raised:
        parse(operation, params)
    assert str(raised.value).startswith(f"{operation}: ")
    return raised.value


def test_an_operation_is_made_by_our_names_and_travels_under_the_vendors() -> None:
    operation = StopMPUTask(app_id="app", task_id="t-1")
    assert operation.params == {"AppId": "app", "TaskId": "t-1"}
    assert parse("live.StopMPUTask", operation.params) == operation


def test_a_parameter_that_was_left_out_is_not_sent() -> None:
    operation = DescribeLivePullToPushList(region="cn-shanghai", page_number=2)
    assert operation.params == {"Region": "cn-shanghai", "PageNumber": 2}


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_every_parameter_that_is_required_is_named_when_it_is_missing(operation_id: str) -> None:
    required = [f.alias for f in OPERATIONS[operation_id].model_fields.values() if f.is_required()]
    problem = wrong(operation_id)
    assert problem.field == required[0]
    assert f"{required[0]} is required (parameters: " in str(problem)


def test_an_unknown_parameter_is_named_with_the_known_ones() -> None:
    problem = wrong("live.StopMPUTask", AppId="a", TaskId="t", Region="cn-shanghai")
    assert str(problem) == ("live.StopMPUTask: Region is not a parameter of this operation (parameters: AppId, TaskId)")
    assert problem.field == "Region"


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("Appid", "AppId"), ("appId", "AppId"), ("TASKID", "TaskId"), ("TaskdId", "TaskId")]
)
def test_a_misspelt_parameter_is_named_with_the_nearest_one(misspelt: str, meant: str) -> None:
    params = {"AppId": "a", "TaskId": "t"}
    hint = f"live.StopMPUTask: {misspelt} is not a parameter of this operation (did you mean {meant}?)"
    instead = wrong("live.StopMPUTask", **{misspelt if name == meant else name: params[name] for name in params})
    assert (str(instead), instead.field) == (hint, misspelt)
    assert str(wrong("live.StopMPUTask", **params, **{misspelt: "x"})) == hint


def test_only_the_first_of_many_unknown_parameters_are_compared() -> None:
    unknown = {f"x{number}": "x" for number in range(1000)}
    assert "AppId is required" in str(wrong("live.StopMPUTask", **unknown, Appid="a"))
    assert "did you mean AppId?" in str(wrong("live.StopMPUTask", Appid="a", **unknown))


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("", "TaskId must not be empty"),
        (" \t", "TaskId must not be empty"),
        ("t\n", "TaskId must not contain control characters"),
        ("\x00", "TaskId must not contain control characters"),
        ("\ud800", "TaskId must be a valid string"),
        ("t" * 256, "TaskId must have at most 255 characters"),
        (7, "TaskId must be a valid string"),
        (None, "TaskId must be a valid string"),
        (["t"], "TaskId must be a valid string"),
    ],
)
def test_a_text_that_no_vendor_takes_is_refused(value: object, complaint: str) -> None:
    problem = wrong("live.StopMPUTask", AppId="a", TaskId=value)
    assert complaint in str(problem)
    assert problem.field == "TaskId"


@pytest.mark.parametrize("value", [0, -1, 2**63, "7", 7.0, True, None])
def test_a_number_that_no_vendor_takes_is_refused(value: object) -> None:
    assert wrong("trtc.StopStreamIngest", SdkAppId=value, TaskId="t").field == "SdkAppId"


@pytest.mark.parametrize(("page", "size", "field"), [(0, 1, "PageNumber"), (1, 0, "PageSize"), (1, 101, "PageSize")])
def test_pages_have_bounds(page: int, size: int, field: str) -> None:
    params = {"Region": "cn-shanghai", "PageNumber": page, "PageSize": size}
    assert wrong("live.DescribeLivePullToPushList", **params).field == field


def test_the_stop_under_its_newer_name_takes_shorter_ids() -> None:
    assert len(StopLiveMPUTask(app_id="a" * 64, task_id="t" * 55).task_id) == 55
    assert "at most 55" in str(wrong("live.StopLiveMPUTask", AppId="a", TaskId="t" * 56))
    assert "at most 64" in str(wrong("live.StopLiveMPUTask", AppId="a" * 65, TaskId="t"))


def test_a_region_that_is_not_listed_is_refused_with_the_list_and_the_way_around_it() -> None:
    problem = wrong("live.StopLivePullToPush", Region="cn-new", TaskId="t")
    assert f"Region must be one of {REGIONS}, not 'cn-new' (AnyRegion or --any-region allows a newer one)" in str(
        problem
    )


def test_a_region_newer_than_the_list_is_accepted_on_request() -> None:
    operation = StopLivePullToPush(region=AnyRegion("cn-new"), task_id="t")
    assert operation.params["Region"] == "cn-new"
    assert type(operation.params["Region"]) is str
    assert parse("live.StopLivePullToPush", operation.params, any_region=True) == operation


@pytest.mark.parametrize("region", ["", "cn\n", "r" * 256])
def test_any_region_is_still_a_name(region: str) -> None:
    with pytest.raises(InvalidCommand, match="Region"):
        StopLivePullToPush(region=AnyRegion(region), task_id="t")


def test_an_operation_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        StopMPUTask(app_id="a", task_id="t").task_id = "other"  # type: ignore[misc]  # that is the point


def test_an_error_message_never_repeats_an_arbitrary_value() -> None:
    assert "hush" not in str(wrong("live.StopMPUTask", AppId="hush\n", TaskId="t"))


def test_text_values_of_numbers_become_numbers() -> None:
    assert StopStreamIngest.from_strings({"SdkAppId": "1400000001", "TaskId": "7"}) == StopStreamIngest(
        sdk_app_id=1400000001, task_id="7"
    )


def test_text_values_of_numbers_that_may_be_left_out_become_numbers_too() -> None:
    operation = DescribeLivePullToPushList.from_strings({"Region": "cn-shanghai", "PageNumber": "2", "PageSize": "5"})
    assert (operation.page_number, operation.page_size) == (2, 5)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "٣", "9" * 30, "9" * 5000, "0x10", " 7"])
def test_a_text_value_that_is_no_such_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidCommand) as raised:
        StopStreamIngest.from_strings({"SdkAppId": text, "TaskId": "t"})
    assert raised.value.field == "SdkAppId"


def test_a_strangers_parameter_may_be_called_self() -> None:
    assert wrong("live.StopMPUTask", AppId="a", TaskId="t", self=1).field == "self"


def test_an_unknown_operation_is_answered_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownOperation) as raised:
        find("live.StopMPUTsk")
    assert "operation 'live.StopMPUTsk' is not known (did you mean live.StopMPUTask" in str(raised.value)
    assert raised.value.field == "operation"


def test_an_operation_unlike_any_is_answered_with_all() -> None:
    with pytest.raises(UnknownOperation) as raised:
        find("?")
    assert all(operation_id in str(raised.value) for operation_id in OPERATIONS)


def test_operations_of_one_action_differ_by_product() -> None:
    assert find("rtc.StopMPUTask") is not find("live.StopMPUTask")
    assert find("rtc.StopMPUTask").spec.action == "StopMPUTask"


@pytest.mark.parametrize("declaration", OPERATIONS.values(), ids=list(OPERATIONS))
def test_every_declaration_is_complete(declaration: type[Operation]) -> None:
    spec = declaration.spec
    assert spec.limit > 0
    assert spec.source.startswith("https://")
    assert spec.action in spec.source
    assert spec.product.version in spec.source
    if spec.status_twin is not None:
        twin = find(spec.status_twin)
        assert spec.kind is Kind.STOP
        assert twin.spec.kind is Kind.STATUS
        assert set(twin.model_fields) == set(declaration.model_fields)
    assert (spec.status is None) or spec.kind is Kind.STATUS

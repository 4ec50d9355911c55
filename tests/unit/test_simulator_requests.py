"""The simulated vendors check an operation's name, version, region and parameters."""

import hashlib
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import pytest

from streamstop.operations import (
    Operation,
)
from streamstop_simulator.messages import Answer, ReceivedRequest
from streamstop_simulator.simulation import Settings
from tests.support import sdk_signatures
from tests.support.simulated_vendors import LIVE, TRTC, Vendors, code
from tests.support.simulator_operations import EVERY, INGEST, account_for, example, named


@pytest.mark.parametrize("cls", EVERY, ids=named)
def test_a_required_parameter_that_is_missing_is_named(cls: type[Operation]) -> None:
    vendors, account = Vendors(), account_for(cls)
    operation = example(cls)
    for name, field in cls.model_fields.items():
        if field.is_required():
            lacking = operation.model_copy(update={name: None})
            answer = vendors.send(vendors.sign(account, lacking))
            assert code(answer) == "MissingParameter"
            assert str(field.alias) in answer.body.decode()


def alibaba_says(action: str, query: dict[str, str], version: str = "2016-11-01") -> tuple[Vendors, Answer]:
    """Send a call that Alibaba's SDK signed, with parameters that our declarations would not let through."""
    vendors = Vendors(settings=Settings(auto_start=True))
    headers = {
        "host": "live.aliyuncs.com",
        "x-acs-action": action,
        "x-acs-version": version,
        "x-acs-date": "2025-01-02T03:04:05Z",
        "x-acs-signature-nonce": "n",
        "x-acs-content-sha256": hashlib.sha256(b"").hexdigest(),
    }
    key, secret = LIVE.access_key_id, LIVE.access_key_secret
    headers["authorization"] = sdk_signatures.aliyun_v3("POST", query, headers, key, secret)
    return vendors, vendors.send(ReceivedRequest("POST", "/", urlencode(query), headers, b"", vendors.epoch, 0))


def tencent_says(action: str, params: Any, region: str = "ap-singapore") -> tuple[Vendors, Answer]:
    """Send a call that Tencent's SDK signed, with parameters that our declarations would not let through."""
    headers, body = sdk_signatures.tencent_request(
        action, params, key_id=TRTC.access_key_id, secret=TRTC.access_key_secret, token=None, region=region
    )
    vendors = Vendors(settings=Settings(auto_start=True), epoch=float(headers["X-TC-Timestamp"]))
    named = {name.lower(): value for name, value in headers.items()}
    return vendors, vendors.send(ReceivedRequest("POST", "/", "", named, body, vendors.epoch, 0))


def test_alibaba_passes_over_parameters_that_an_operation_does_not_have() -> None:
    vendors, answer = alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t", "OwnerId": "7"})

    assert code(answer) is None
    (call,) = vendors.simulation.journal.since(0)
    assert call.params == {"AppId": "app", "TaskId": "t"}


def test_alibaba_refuses_a_page_number_that_is_no_number() -> None:
    _, answer = alibaba_says("DescribeLivePullToPushList", {"Region": "cn-shanghai", "PageNumber": "two"})

    assert code(answer) == "InvalidParameter"


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"SdkAppId": 1, "TaskId": "t"}, None),
        ({"SdkAppId": "1", "TaskId": "t"}, "InvalidParameter"),
        ({"SdkAppId": True, "TaskId": "t"}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": 7}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": []}, "InvalidParameter"),
        ({"SdkAppId": 1, "TaskId": "t", "More": 1}, "UnknownParameter"),
        ({"SdkAppId": 1}, "MissingParameter"),
    ],
    ids=str,
)
def test_tencent_checks_the_parameters_types_and_names(params: dict[str, Any], expected: str | None) -> None:
    _, answer = tencent_says("StopStreamIngest", params)

    assert code(answer) == expected


def test_tencent_takes_posts_only() -> None:
    vendors = Vendors()

    assert code(vendors.send(replace(vendors.sign(TRTC, INGEST), method="GET"))) == "UnsupportedProtocol"


@pytest.mark.parametrize("region", ["eu-frankfurt", ""])
def test_tencent_wants_a_region_that_serves_the_product(region: str) -> None:
    _, answer = tencent_says("StopStreamIngest", {"SdkAppId": 1, "TaskId": "t"}, region)

    assert code(answer) == "UnsupportedRegion"


def test_an_action_that_no_vendor_has_is_answered_in_the_vendors_words() -> None:
    vendors, answer = alibaba_says("StopEverything", {})

    assert (answer.status, code(answer)) == (404, "InvalidApi.NotFound")
    (call,) = vendors.simulation.journal.since(0)
    assert (call.operation, call.action, call.authenticated) == (None, "StopEverything", True)
    assert vendors.simulation.journal.refusals == {"InvalidApi.NotFound": 1}
    assert code(tencent_says("StopEverything", {})[1]) == "InvalidAction"


def test_tencent_knows_no_other_version() -> None:
    vendors = Vendors()
    call = vendors.sign(TRTC, INGEST)
    # TC3 need not sign this header.
    older = replace(call, headers=dict(call.headers) | {"x-tc-version": "1999-01-01"})

    assert code(vendors.send(older)) == "NoSuchVersion"


def test_the_version_tells_a_products_action_from_anothers_of_the_same_name() -> None:
    vendors, _ = alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t"}, version="2018-01-11")

    assert [call.operation for call in vendors.simulation.journal.since(0)] == ["rtc.StopMPUTask"]
    assert code(alibaba_says("StopMPUTask", {"AppId": "app", "TaskId": "t"}, version="2020-01-01")[1]) == (
        "InvalidApi.NotFound"
    )

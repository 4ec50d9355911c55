"""The vendors' official SDKs, as oracles: what they sign must be what we sign, byte for byte."""

import warnings
from collections.abc import Mapping
from typing import Any

from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.sign import Sign
from tencentcloud.trtc.v20190722.trtc_client import TrtcClient


def aliyun_v3(method: str, query: Mapping[str, str], headers: Mapping[str, str], key_id: str, secret: str) -> str:
    """Return the Authorization that Alibaba's SDK makes."""
    request = DaraRequest()
    request.method, request.pathname = method, "/"
    request.query, request.headers = dict(query), dict(headers)
    payload = headers["x-acs-content-sha256"]
    return str(Utils.get_authorization(request, "ACS3-HMAC-SHA256", payload, key_id, secret))


def aliyun_v1(method: str, params: Mapping[str, str], secret: str) -> str:
    """Return the Signature that Alibaba's SDK makes."""
    return str(Utils.get_rpcsignature(dict(params), method, secret))


def tencent_tc3(secret: str, date: str, service: str, string_to_sign: str) -> str:
    """Return the hexadecimal signature that Tencent's SDK makes."""
    return str(Sign.sign_tc3(secret, date, service, string_to_sign))


def tencent_request(
    action: str, params: Mapping[str, Any], *, key_id: str, secret: str, token: str | None, region: str
) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of the request that Tencent's SDK would send, signed at its own time."""
    client: AbstractClient = TrtcClient(Credential(key_id, secret, token), region)
    request = RequestInternal(client._get_endpoint(), "POST", "/")
    with warnings.catch_warnings():
        # The SDK uses a function that Python 3.12 deprecates.
        warnings.filterwarnings("ignore", r"datetime\.datetime\.utcfromtimestamp", DeprecationWarning)
        client._build_req_with_tc3_signature(action, dict(params), request)
    return dict(request.header), request.data.encode()

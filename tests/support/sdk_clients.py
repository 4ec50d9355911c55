"""The vendors' official SDK clients, pointed at a server of ours over plain HTTP."""

import warnings
from urllib.parse import urlsplit

from streamstop_worker.accounts import Account
from tests.support.polling import TIMEOUT_S

with warnings.catch_warnings():
    # The SDKs' own modules warn when they are imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from alibabacloud_live20161101 import models as live_models
    from alibabacloud_live20161101.client import Client as LiveClient
    from alibabacloud_tea_openapi.exceptions import ClientException, ServerException, ThrottlingException
    from alibabacloud_tea_openapi.models import Config
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.exception import TencentCloudSDKException
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.trtc.v20190722 import models as trtc_models
    from tencentcloud.trtc.v20190722.trtc_client import TrtcClient

_TIMEOUT_MS = int(TIMEOUT_S * 1000)

__all__ = [
    "ClientException",
    "LiveClient",
    "ServerException",
    "TencentCloudSDKException",
    "ThrottlingException",
    "TrtcClient",
    "live_client",
    "live_models",
    "trtc_client",
    "trtc_models",
]


def live_client(url: str, account: Account) -> LiveClient:
    """Return Alibaba's client of ApsaraVideo Live."""
    config = Config(
        access_key_id=account.access_key_id,
        access_key_secret=account.access_key_secret,
        security_token=account.security_token,
        endpoint=urlsplit(url).netloc,
        protocol="http",
        connect_timeout=_TIMEOUT_MS,
        read_timeout=_TIMEOUT_MS,
    )
    return LiveClient(config)


def trtc_client(url: str, account: Account, *, region: str = "ap-singapore") -> TrtcClient:
    """Return Tencent's client of TRTC."""
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=urlsplit(url).netloc))
    credential = Credential(account.access_key_id, account.access_key_secret, account.security_token)
    return TrtcClient(credential, region, profile)

"""Signed calls to the simulated vendors, and the same calls with a change."""

import hashlib
from dataclasses import replace

from streamstop.operations import Operation, StopMPUTask, StopStreamIngest
from streamstop_simulator.messages import ReceivedRequest
from streamstop_worker.accounts import Account
from tests.support import sdk_signatures
from tests.support.simulated_vendors import LIVE, LIVE_STS, LIVE_V1, TRTC, TRTC_STS, Vendors

MPU = StopMPUTask(app_id="app", task_id="t 1+/=*~é")
INGEST = StopStreamIngest(sdk_app_id=1400000000, task_id="a+/=.")
EVERY = [(LIVE, MPU), (LIVE_V1, MPU), (LIVE_STS, MPU), (TRTC, INGEST), (TRTC_STS, INGEST)]
IDS = [account.name for account, _ in EVERY]
ALIYUN, TENCENT = EVERY[:3], EVERY[3:]


def vendors_with(account: Account, operation: Operation) -> Vendors:
    vendors = Vendors()
    vendors.start(account, operation)
    return vendors


def with_headers(arrival: ReceivedRequest, **changes: str | None) -> ReceivedRequest:
    """Return the call with headers changed (``x_acs_date=…``) or, for None, left out."""
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    unchanged = {name: value for name, value in arrival.headers.items() if name not in named}
    return replace(arrival, headers=unchanged | {name: value for name, value in named.items() if value is not None})


def with_body(call: ReceivedRequest, body: bytes) -> ReceivedRequest:
    return replace(with_headers(call, x_acs_content_sha256=hashlib.sha256(body).hexdigest()), body=body)


def signed_by_hand(call: ReceivedRequest, signed: str) -> ReceivedRequest:
    """Return a call to Tencent signed anew over the headers `signed`, in lower case as the vendor's page has it."""
    date = call.headers["authorization"].split("/")[1]
    lines = "".join(f"{name}:{call.headers[name].lower()}\n" for name in signed.split(";"))
    canonical = f"POST\n/\n\n{lines}\n{signed}\n{hashlib.sha256(call.body).hexdigest()}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"TC3-HMAC-SHA256\n{call.headers['x-tc-timestamp']}\n{date}/trtc/tc3_request\n{digest}"
    signature = sdk_signatures.tencent_tc3(TRTC.access_key_secret, date, "trtc", text)
    credential = f"{TRTC.access_key_id}/{date}/trtc/tc3_request"
    authorization = f"TC3-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}"
    return with_headers(call, authorization=authorization)

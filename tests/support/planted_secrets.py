"""Accounts and passwords whose secrets tests plant, and a search for them in any text."""

import base64
import re

from streamstop_worker.accounts import Account

V3 = Account("live-v3", "aliyun", "LTAIplanted0v3keyid", "hush+v3/secret==planted", "CAISv3+token/planted==")
V1 = Account(
    "live-v1", "aliyun", "LTAIplanted0v1keyid", "hush+v1/secret==planted", "CAISv1+token/planted==", signature="v1"
)
TC3 = Account(
    "trtc", "tencent", "AKIDplanted0tckeyid", "hush+tc/secret==planted", "tctoken+/planted==", region="ap-singapore"
)
ECHO = Account(
    "echo", "aliyun", "LTAIplanted0echokey", "hush+ec/secret==planted", "CAISec+token/planted==", signature="v1"
)
WRONG = Account("wrong", "aliyun", "LTAIplanted0wrongid", "hush+wr/secret==planted", "CAISwr+token/planted==")
ACCOUNTS = (V3, V1, TC3, ECHO, WRONG)
CALLBACK = "callback+secret/planted=="
PASSWORD = "redis+pass/planted=="
MISTAKEN = "hush+mistaken/planted=="
EVERY_SECRET = [secret for account in ACCOUNTS for secret in account.secrets] + [CALLBACK, PASSWORD, MISTAKEN]


def contains_secret(secret: str, text: bytes) -> bool:
    """Return whether `text` contains the secret, percent-encoded any number of times or in base64."""
    encoded = "".join(f"(?:%(?:25)*(?i:{ord(c):02x})|{re.escape(c)})" for c in secret)
    if re.search(encoded.encode(), text):
        return True
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode())
        # The characters that the bytes beside the secret do not affect.
        if coded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6] in text:
            return True
    return False


def secrets_in(text: str | bytes) -> list[str]:
    """Return the planted secrets that `text` contains."""
    data = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return [secret for secret in EVERY_SECRET if contains_secret(secret, data)]

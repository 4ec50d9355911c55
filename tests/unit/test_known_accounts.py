"""Known accounts: the error about an unknown account says which accounts there are."""

import pytest

from streamstop._redis.accounts import vendor_among
from streamstop.errors import UnknownAccount

KNOWN = {"live-sg": "aliyun", "live-cn": "aliyun", "trtc-sg": "tencent"}


def test_an_account_that_workers_have_has_its_vendor() -> None:
    assert vendor_among(KNOWN, "trtc-sg") == "tencent"


def test_without_a_worker_no_account_is_refused() -> None:
    assert vendor_among({}, "live-cn") is None


@pytest.mark.parametrize(
    ("account", "hint"),
    [
        ("live-cm", "did you mean live-cn, live-sg? accounts: live-cn, live-sg, trtc-sg"),
        ("zzz", "accounts: live-cn, live-sg, trtc-sg"),
    ],
)
def test_an_unknown_account_is_refused_with_those_that_there_are(account: str, hint: str) -> None:
    with pytest.raises(UnknownAccount) as raised:
        vendor_among(KNOWN, account)
    assert str(raised.value) == f"no running worker has account {account!r} ({hint})"


def test_at_most_twenty_accounts_are_listed() -> None:
    with pytest.raises(UnknownAccount) as raised:
        vendor_among({f"a-{number:02}": "aliyun" for number in range(25)}, "zzz")
    assert str(raised.value).endswith("a-18, a-19 and 5 more)")

"""What a second read of the accounts file has changed, as a log line and an event tell it."""

from dataclasses import replace

import pytest

from streamstop_worker.account_changes import find_changes
from streamstop_worker.accounts import Account

STOP = "live.StopMPUTask"
ACCOUNT = Account("live-cn", "aliyun", "LTAI-id", "hush-hush", "hush-token", limits={STOP: 8.0})
OTHER = Account("live-sg", "aliyun", "LTAI-other", "hush-other")


def test_accounts_come_and_go() -> None:
    changes = find_changes({"live-cn": ACCOUNT}, {"live-sg": OTHER})
    assert changes.fields == {"added": ["live-sg"], "removed": ["live-cn"]}
    assert changes.text == "added: live-sg; removed: live-cn"


def test_an_unchanged_file_changes_nothing() -> None:
    both = {"live-cn": ACCOUNT, "live-sg": OTHER}
    changes = find_changes(both, {name: replace(account) for name, account in both.items()})
    assert (changes.fields, changes.text) == ({}, "")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"access_key_id": "LTAI-hush"}, ["credentials"]),
        ({"access_key_secret": "hush-new"}, ["credentials"]),
        ({"security_token": None}, ["credentials"]),
        ({"endpoint": "https://elsewhere"}, ["endpoint"]),
        (
            {"signature": "v1", "region": "cn-shanghai", "access_key_secret": "hush"},
            ["credentials", "region", "signature"],
        ),
    ],
)
def test_what_differs_is_named_and_never_shown(changed: dict[str, str], what: list[str]) -> None:
    changes = find_changes({"live-cn": ACCOUNT}, {"live-cn": replace(ACCOUNT, **changed)})  # type: ignore[arg-type]
    assert changes.fields == {"changed": {"live-cn": what}}
    assert changes.text == f"live-cn: new {', '.join(what)}"
    assert "hush" not in f"{changes}{changes.text}"


def test_limits_are_told_old_and_new_and_without_one_that_of_the_vendors_page_counts() -> None:
    lower = replace(ACCOUNT, limits={STOP: 2.5, "live.GetMPUTaskStatus": 5.0})
    assert find_changes({"live-cn": ACCOUNT}, {"live-cn": lower}).fields == {
        "limits": ["live-cn live.GetMPUTaskStatus: 10 -> 5", f"live-cn {STOP}: 8 -> 2.5"]
    }
    as_the_page = replace(ACCOUNT, limits={})
    assert find_changes({"live-cn": ACCOUNT}, {"live-cn": as_the_page}).limits == [f"live-cn {STOP}: 8 -> 10"]
    spelt_out = replace(ACCOUNT, limits={STOP: 10.0})
    assert find_changes({"live-cn": as_the_page}, {"live-cn": spelt_out}).fields == {}

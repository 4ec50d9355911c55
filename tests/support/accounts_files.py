"""Contents of accounts files, and the complaints about them."""

import traceback
from collections.abc import Mapping
from pathlib import Path

import pytest

from streamstop.errors import InvalidSettings
from streamstop_worker.accounts import load_accounts

EXAMPLE = Path(__file__).parents[2] / "accounts.example.toml"
ALIYUN = '[accounts.live-cn]\nvendor = "aliyun"\naccess_key_id = "LTAI-id"\naccess_key_secret = "hush-hush"\n'
TENCENT = (
    '[accounts.trtc]\nvendor = "tencent"\naccess_key_id = "AKID"\naccess_key_secret = "hush-hush"\n'
    'region = "ap-singapore"\n'
)


def complaint(accounts_file: Path, content: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """Return the message about `content`, without the file's name."""
    accounts_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidSettings) as raised:
        load_accounts(accounts_file, environ or {})
    message = str(raised.value)
    assert message.startswith(f"{accounts_file}: ")
    assert "\n" not in message
    # A report with all local variables of the frames, except this test's, contains no secret.
    frames = raised.value.__traceback__ and raised.value.__traceback__.tb_next
    shown = traceback.TracebackException(type(raised.value), raised.value, frames, capture_locals=True).format()
    assert "hush-hush" not in "".join(shown)
    assert raised.value.__context__ is None
    return message.removeprefix(f"{accounts_file}: ")


def secret_file(name: str) -> str:
    return ALIYUN.replace('"hush-hush"', f'{{ file = "{name}" }}')

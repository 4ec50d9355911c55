"""Accounts: named credentials at a vendor, read from a TOML file. Nothing else ever holds a secret."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Account:
    """Credentials at one vendor under the name that commands carry. Secrets are in no ``repr``."""

    name: str
    vendor: str
    access_key_id: str = field(repr=False)
    access_key_secret: str = field(repr=False)
    security_token: str | None = field(default=None, repr=False)
    #: Tencent: the X-TC-Region.
    region: str | None = None
    #: Overrides the host of every product: ``https://…``, or ``http://…`` on loopback.
    endpoint: str | None = None
    #: Alibaba: ``v3`` (ACS3-HMAC-SHA256) or ``v1`` (RPC HMAC-SHA1).
    signature: str = "v3"
    #: Calls per second by operation id, where they differ from the vendor's page.
    limits: Mapping[str, float] = field(default_factory=dict)

    def origin(self, host: str) -> str:
        """Return where calls go, such as ``https://live.aliyuncs.com``: the account's endpoint, or `host` without one."""
        return self.endpoint or f"https://{host}"

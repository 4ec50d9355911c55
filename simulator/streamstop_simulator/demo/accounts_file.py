"""The workers' accounts file: every account, with the simulator in place of its vendor."""

from collections.abc import Collection
from pathlib import Path

from streamstop_simulator import Account


def accounts_toml(accounts: Collection[Account], endpoint: str) -> str:
    """Return the file's text; `endpoint` is the simulator's URL."""
    return "\n".join(line for account in accounts for line in _lines(account, endpoint))


def write_accounts_file(folder: Path, accounts: Collection[Account], endpoint: str) -> Path:
    """Write ``accounts.toml`` to `folder`, readable by this user only, and return its path."""
    path = folder / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text(accounts_toml(accounts, endpoint))
    return path


def _lines(account: Account, endpoint: str) -> list[str]:
    lines = [
        f"[accounts.{account.name}]",
        f'vendor = "{account.vendor}"',
        f'endpoint = "{endpoint}"',
        f'access_key_id = "{account.access_key_id}"',
        f'access_key_secret = "{account.access_key_secret}"',
    ]
    if account.vendor == "tencent":
        lines.append('region = "ap-singapore"')
    if account.limits:
        lines.append(f"[accounts.{account.name}.limits]")
        lines += [f'"{operation}" = {limit:g}' for operation, limit in account.limits.items()]
    return [*lines, ""]

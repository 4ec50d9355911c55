"""Loopback: whether a host is this machine alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether `host`, a name or an address with or without brackets, is this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"

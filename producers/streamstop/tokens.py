"""Tokens of the HTTP service: how one is made, and the hash that the service's tokens file holds."""

import hashlib
import re
import secrets

#: What a token may be called.
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
#: What a token may be used for.
SCOPES = ("enqueue", "read", "operate")
_PREFIX = "sst_"


def new_token() -> str:
    """Return a new token: 256 random bits, with a prefix that scanners for secrets can look for."""
    return _PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """Return the hash of a token, as the tokens file has it. A plain hash suffices: a token cannot be guessed."""
    return "sha256:" + hashlib.sha256(token.encode(errors="replace")).hexdigest()

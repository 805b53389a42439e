"""Mask passwords, keys and tokens in texts.

They are found by their format, or as values of environment variables named like secrets. They must not reach a store,
log, artifact or message. So every error is `redacted` when it is created, and a config with a secret is rejected when
it is loaded.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["MASK", "looks_secret", "redacted", "without_password"]

MASK = "***"
SHORTEST = 8
"""Minimum length of a value that is masked: masking every "admin" would make texts unreadable."""

_NAME = re.compile(
    r"PASSW|PASSPHRASE|PGPASS|SECRET|TOKEN(?!IZ)|(API|ACCESS|PRIVATE|ENCRYPTION|ACCOUNT)_?KEY|CREDENTIAL|AUTH_STRING"
)
_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s/?#'\"]*)@", re.IGNORECASE)
_PARAMETER = re.compile(
    r"(?P<name>[?&](?:[\w-]*(?:token|secret|password|signature|credential|api_?key|access_?key)|sig|pwd)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_TOKENS = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_[A-Za-z0-9]{20,}"
    r"|xox[a-z]-[\w-]{10,}|sk-[\w-]{20,}|AIza[\w-]{30,}|pnu_\w{16,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----(?:[^-]*-----END [A-Z ]*PRIVATE KEY-----)?"
)
_RANDOM = re.compile(r"(?![/.~])[A-Za-z0-9+/=_-]{32,}")
_BITS = 4.5
"""Entropy per character, above that of names, paths and hexadecimal digests."""


def redacted(text: str) -> str:
    """Return a text with every secret masked."""
    for value in sorted(set(_known(os.environ)), key=len, reverse=True):
        text = text.replace(value, MASK)
    text = _ADDRESS.sub(lambda found: f"{found['scheme']}{MASK}@" if _is_private(found["user"]) else found[0], text)
    text = _PARAMETER.sub(rf"\g<name>{MASK}", text)
    return _TOKENS.sub(MASK, text)


def without_password(address: str) -> str:
    """Return a URL without user and password."""
    return _ADDRESS.sub(r"\g<scheme>", address)


def looks_secret(value: str) -> str:
    """Return what kind of secret a value looks like; empty if it looks like none."""
    if any(_is_private(found["user"]) for found in _ADDRESS.finditer(value)):
        return "an address with a password"
    if _PARAMETER.search(value) or _TOKENS.search(value):
        return "a key or token"
    if any(known in value for known in _known(os.environ)):
        return "the value of a secret environment variable"
    return "a random key" if _RANDOM.fullmatch(value) and _is_random(value) else ""


def _known(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield values of environment variables named like secrets, and passwords in URLs."""
    for name, value in environment.items():
        # A path to a key file is not a secret.
        if _NAME.search(name.upper()) and len(value) >= SHORTEST and not value.startswith("/"):
            yield value
        for found in _ADDRESS.finditer(value) if "://" in value else ():
            password = found["user"].partition(":")[2]
            yield from (each for each in (password, unquote(password)) if len(each) >= SHORTEST)


def _is_private(user: str) -> bool:
    """Return whether the user part of a URL is more than a name such as git in git@host."""
    return ":" in user or len(user) >= 16


def _is_random(text: str) -> bool:
    kinds = (str.isupper, str.islower, str.isdigit)
    shares = [count / len(text) for count in Counter(text).values()]
    bits = -sum(share * math.log2(share) for share in shares)
    return bits >= _BITS and all(any(kind(each) for each in text) for kind in kinds)

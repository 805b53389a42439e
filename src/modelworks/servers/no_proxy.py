"""Servers of our own, asked directly: a proxy that the environment names is for the world outside.

It would hear the token that a server of ours demands, and from where it stands 127.0.0.1 is another machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from modelworks.project import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from http.client import HTTPResponse
    from urllib.request import Request

__all__ = ["ask", "spare_this_machine"]


def ask(request: str | Request, seconds: float) -> HTTPResponse:
    """What a server of ours answers; to be closed.

    Raises:
        OSError: it does not answer within that time, or with a status of failure (`HTTPError`).
    """
    from urllib.request import ProxyHandler, build_opener

    return cast("HTTPResponse", build_opener(ProxyHandler({})).open(request, timeout=seconds))


def spare_this_machine(environment: MutableMapping[str, str]) -> None:
    """Tell the libraries of a process, Prefect's client first of all, to reach this machine without a proxy."""
    named = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    names = [name.strip() for name in named.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in LOOPBACK[:2] if name not in names]
    environment["no_proxy"] = ",".join(names)

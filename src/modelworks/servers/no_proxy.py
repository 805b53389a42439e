"""Send requests to our own servers without a proxy.

A proxy would receive the server's token, and 127.0.0.1 would be the proxy's own machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from modelworks.project import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from http.client import HTTPResponse
    from urllib.request import Request

__all__ = ["ask", "bypass_proxy_for_loopback"]


def ask(request: str | Request, seconds: float, *, ours: bool = True) -> HTTPResponse:
    """Return the response of a server; the caller closes it. Only a server that is not `ours` is reached by a proxy.

    Raises:
        OSError: no response within the timeout, or an error status (`HTTPError`, whose response is closed).
    """
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({})) if ours else build_opener()
    try:
        return cast("HTTPResponse", opener.open(request, timeout=seconds))
    except HTTPError as error:
        error.close()  # it would keep the socket open for as long as its traceback lives
        raise


def bypass_proxy_for_loopback(environment: MutableMapping[str, str]) -> None:
    """Add loopback to `no_proxy`, for Prefect's client and other libraries."""
    before = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    names = [name.strip() for name in before.split(",") if name.strip()]
    if "*" not in names:
        names += [name for name in LOOPBACK[:2] if name not in names]
    environment["no_proxy"] = ",".join(names)

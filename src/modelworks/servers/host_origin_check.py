"""Check Host, Origin and token of requests to our servers.

Every page in a browser on this machine can send requests to a server on loopback, and with DNS rebinding (its own name
pointed at 127.0.0.1) read the replies. So the Host header must be allowed, and so must the Origin header, if there is
one. Servers that other machines can reach need a token too.
"""

from __future__ import annotations

import hmac
import ipaddress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.project import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from modelworks.settings import Exposure

__all__ = ["Access", "guarded"]


@dataclass(frozen=True)
class Access:
    """Allowed hosts and origins, and the token."""

    hosts: frozenset[str]
    """Allowed Host headers, with the port unless it is 80."""
    origins: frozenset[str]
    """Allowed Origin headers; a request without one does not come from another site's page."""
    token: str = field(default="", repr=False)
    """The token of `Authorization: Bearer`; empty if none is required."""

    @classmethod
    def local(cls, port: int) -> Access:
        """Return the access rules of a server on loopback."""
        # Clients omit the default port.
        suffixes = ("", ":80") if port == 80 else (f":{port}",)
        names = [f"[{name}]" if ":" in name else name for name in LOOPBACK]
        hosts = frozenset(name + suffix for name in names for suffix in suffixes)
        return cls(hosts=hosts, origins=frozenset(f"http://{each}" for each in hosts))

    @classmethod
    def at(cls, host: str, port: int, exposure: Exposure) -> Access:
        """Return the access rules of a server at any address.

        Raises:
            BadInput: the address is not loopback, and token, hosts and origins are not all set.
        """
        local = cls.local(port)
        if _is_loopback(host):
            return replace(local, token=exposure.token)
        if exposure.missing:
            raise BadInput(
                f"--host {host} is reachable from other machines, and these are not set: {', '.join(exposure.missing)}",
                "set all of them and use a TLS proxy; or omit --host to serve this machine only",
                code="server.exposed",
            )
        return cls(
            hosts=local.hosts | {*exposure.hosts}, origins=local.origins | {*exposure.origins}, token=exposure.token
        )

    def rejection(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """Return HTTP status and reason if a request is rejected; else None."""
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
        if host not in self.hosts:
            return 403, "host not allowed"
        if origin and origin not in self.origins:
            return 403, "origin not allowed"
        authorization = headers.get(b"authorization", b"")
        if self.token and not hmac.compare_digest(authorization, f"Bearer {self.token}".encode()):
            return 401, "token required: Authorization: Bearer ..."
        return None


def guarded(app: ASGIApp, access: Access) -> ASGIApp:
    """Wrap an app in the access check, which must be the outermost middleware."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        rejection = None if scope["type"] == "lifespan" else access.rejection(dict(scope["headers"]))
        if rejection is None:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": rejection[1]})
        else:
            status, reason = rejection
            challenge = [(b"www-authenticate", b"Bearer")] if status == 401 else []
            headers = [(b"content-type", b"text/plain"), *challenge]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": reason.encode()})

    return answer


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise BadInput(f"--host {host}: not an address", "e.g. 127.0.0.1", code="server.address") from None

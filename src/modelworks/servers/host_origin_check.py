"""Who may ask a server of ours: by default whoever sits at this machine, and no page of the web in their browser.

A server on loopback is reached by every page that a browser of this machine shows: one may post to it at once, and by
pointing its own name at 127.0.0.1 ("DNS rebinding") read as well. So the Host header must be one of ours, and the
Origin header, which pages cannot leave out where it matters, too. Beyond loopback a token is needed on top.
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
    """What a request must show."""

    hosts: frozenset[str]
    """Host headers, with the port unless it is 80."""
    origins: frozenset[str]
    """Origin headers; a request without one comes from no page."""
    token: str = field(default="", repr=False)
    """Of `Authorization: Bearer`; empty where none is needed."""

    @classmethod
    def local(cls, port: int) -> Access:
        """Of a server on loopback."""
        # Clients leave out the port that goes without saying.
        suffixes = ("", ":80") if port == 80 else (f":{port}",)
        names = [f"[{name}]" if ":" in name else name for name in LOOPBACK]
        hosts = frozenset(name + suffix for name in names for suffix in suffixes)
        return cls(hosts=hosts, origins=frozenset(f"http://{each}" for each in hosts))

    @classmethod
    def at(cls, host: str, port: int, exposure: Exposure) -> Access:
        """Of a server at any address.

        Raises:
            BadInput: the address is not this machine's own, and authentication, hosts and origins are not all set.
        """
        local = cls.local(port)
        if _is_loopback(host):
            return replace(local, token=exposure.token)
        if exposure.missing:
            raise BadInput(
                f"--host {host} is open to other machines, and not set: {', '.join(exposure.missing)}",
                "set them all, and put TLS in front; or leave --host out, for this machine alone",
                code="server.exposed",
            )
        return cls(
            hosts=local.hosts | {*exposure.hosts}, origins=local.origins | {*exposure.origins}, token=exposure.token
        )

    def objection(self, headers: dict[bytes, bytes]) -> tuple[int, str] | None:
        """HTTP status and reason when a request is refused."""
        host, origin = headers.get(b"host", b"").decode("latin-1"), headers.get(b"origin", b"").decode("latin-1")
        if host not in self.hosts:
            return 403, "this server is not known under that name"
        if origin and origin not in self.origins:
            return 403, "pages of other sites may not ask this server"
        given = headers.get(b"authorization", b"")
        if self.token and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return 401, "give the token: Authorization: Bearer ..."
        return None


def guarded(app: ASGIApp, access: Access) -> ASGIApp:
    """The app, asked only by those who may. It must be the outermost: nothing answers before it."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        objection = None if scope["type"] == "lifespan" else access.objection(dict(scope["headers"]))
        if objection is None:
            await app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": objection[1]})
        else:
            status, reason = objection
            wanted = [(b"www-authenticate", b"Bearer")] if status == 401 else []
            headers = [(b"content-type", b"text/plain"), *wanted]
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

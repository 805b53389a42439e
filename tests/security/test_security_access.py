"""Access checks of our servers: host, origin and token."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelworks.errors import BadInput
from modelworks.servers.host_origin_check import Access, guarded
from modelworks.settings import Exposure

TOKEN = "a token of more than twenty characters"
COMPLETE = {
    "MODELWORKS_SERVER_TOKEN": TOKEN,
    "MODELWORKS_SERVER_HOSTS": "models.example.org, models.example.org:5001",
    "MODELWORKS_SERVER_ORIGINS": "https://example.org",
}


def request(access: Access, kind: str = "http", **headers: str) -> Any:
    """Return the status of the response, or the first message of a websocket."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        raise AssertionError("a refused request must not be read")

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guarded(app, access)({"type": kind, "headers": raw}, receive, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize("host", ["127.0.0.1:5001", "localhost:5001", "[::1]:5001"])
def test_requests_to_loopback_names_are_allowed(host: str) -> None:
    assert request(Access.local(5001), host=host) == 200
    assert request(Access.local(5001), host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.1:80"])
def test_default_port_may_be_left_out(host: str) -> None:
    assert request(Access.local(80), host=host) == 200
    assert request(Access.local(80), host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize("host", ["evil.org", "evil.org:5001", "127.0.0.1", "127.0.0.1:80", "192.168.1.5:5001", ""])
def test_other_host_is_refused(host: str) -> None:
    assert request(Access.local(5001), host=host) == 403


@pytest.mark.parametrize("origin", ["http://evil.org", "null", "http://127.0.0.1:9999", "https://localhost:5001"])
def test_other_origin_is_refused(origin: str) -> None:
    assert request(Access.local(5001), host="127.0.0.1:5001", origin=origin) == 403
    assert request(Access.local(5001), "websocket", host="127.0.0.1:5001", origin=origin) == "websocket.close"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_public_host_needs_token_hosts_and_origins(host: str) -> None:
    for name in COMPLETE:
        incomplete = {each: value for each, value in COMPLETE.items() if each != name}
        with pytest.raises(BadInput, match=name) as caught:
            Access.at(host, 5001, Exposure.find(incomplete))
        assert caught.value.code == "server.exposed"
    with pytest.raises(BadInput, match=r"TOKEN.*HOSTS.*ORIGINS"):
        Access.at(host, 5001, Exposure.find({}))
    assert Access.at(host, 5001, Exposure.find(COMPLETE)).token == TOKEN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELWORKS_SERVER_TOKEN", "short"),
        ("MODELWORKS_SERVER_HOSTS", "*"),
        ("MODELWORKS_SERVER_HOSTS", " , "),
        ("MODELWORKS_SERVER_ORIGINS", "https://*.example.org"),
    ],
)
def test_permissive_value_counts_as_not_set(name: str, value: str) -> None:
    with pytest.raises(BadInput, match=name):
        Access.at("0.0.0.0", 5001, Exposure.find({**COMPLETE, name: value}))


def test_public_access_checks_host_origin_and_token() -> None:
    access = Access.at("0.0.0.0", 5001, Exposure.find(COMPLETE))
    good = {"host": "models.example.org", "origin": "https://example.org", "authorization": f"Bearer {TOKEN}"}
    assert request(access, **good) == 200
    assert request(access, **{**good, "host": "evil.org"}) == 403
    assert request(access, **{**good, "origin": "https://evil.org"}) == 403
    assert request(access, **{**good, "authorization": f"Bearer {TOKEN}x"}) == 401
    assert request(access, host="models.example.org") == 401


def test_token_is_also_required_on_loopback() -> None:
    access = Access.at("127.0.0.1", 5001, Exposure.find({"MODELWORKS_SERVER_TOKEN": TOKEN}))
    assert request(access, host="127.0.0.1:5001") == 401


def test_host_name_is_rejected_as_listen_address() -> None:
    with pytest.raises(BadInput) as caught:
        Access.at("example.org", 5001, Exposure.find({}))
    assert caught.value.code == "server.address"

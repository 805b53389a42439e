"""Who may ask a server of ours."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from modelworks.errors import BadInput
from modelworks.servers.host_origin_check import Access, guarded
from modelworks.settings import Exposure

TOKEN = "a token of more than twenty characters"
WHOLE = {
    "MODELWORKS_SERVER_TOKEN": TOKEN,
    "MODELWORKS_SERVER_HOSTS": "models.example.org, models.example.org:5001",
    "MODELWORKS_SERVER_ORIGINS": "https://example.org",
}


def ask(access: Access, kind: str = "http", **headers: str) -> Any:
    """The status of the answer, or the first message of a websocket."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive() -> Any:
        raise AssertionError("nothing is read of what is refused")

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guarded(app, access)({"type": kind, "headers": raw}, receive, send))
    return sent[0].get("status", sent[0]["type"])


@pytest.mark.parametrize("host", ["127.0.0.1:5001", "localhost:5001", "[::1]:5001"])
def test_this_machine_may_ask_by_its_own_names(host: str) -> None:
    assert ask(Access.local(5001), host=host) == 200
    assert ask(Access.local(5001), host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.0.0.1:80"])
def test_the_port_that_goes_without_saying_may_be_left_out(host: str) -> None:
    assert ask(Access.local(80), host=host) == 200
    assert ask(Access.local(80), host=host, origin=f"http://{host}") == 200


@pytest.mark.parametrize("host", ["evil.org", "evil.org:5001", "127.0.0.1", "127.0.0.1:80", "192.168.1.5:5001", ""])
def test_another_host_is_refused(host: str) -> None:
    assert ask(Access.local(5001), host=host) == 403


@pytest.mark.parametrize("origin", ["http://evil.org", "null", "http://127.0.0.1:9999", "https://localhost:5001"])
def test_another_origin_is_refused(origin: str) -> None:
    assert ask(Access.local(5001), host="127.0.0.1:5001", origin=origin) == 403
    assert ask(Access.local(5001), "websocket", host="127.0.0.1:5001", origin=origin) == "websocket.close"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::"])
def test_other_machines_are_let_in_with_all_three_alone(host: str) -> None:
    for name in WHOLE:
        some = {each: value for each, value in WHOLE.items() if each != name}
        with pytest.raises(BadInput, match=name):
            Access.at(host, 5001, Exposure.find(some))
    with pytest.raises(BadInput, match=r"TOKEN.*HOSTS.*ORIGINS"):
        Access.at(host, 5001, Exposure.find({}))
    assert Access.at(host, 5001, Exposure.find(WHOLE)).token == TOKEN


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MODELWORKS_SERVER_TOKEN", "short"),
        ("MODELWORKS_SERVER_HOSTS", "*"),
        ("MODELWORKS_SERVER_HOSTS", " , "),
        ("MODELWORKS_SERVER_ORIGINS", "https://*.example.org"),
    ],
)
def test_what_lets_everybody_in_counts_as_not_set(name: str, value: str) -> None:
    with pytest.raises(BadInput, match=name):
        Access.at("0.0.0.0", 5001, Exposure.find({**WHOLE, name: value}))


def test_beyond_loopback_host_origin_and_token_must_all_be_right() -> None:
    access = Access.at("0.0.0.0", 5001, Exposure.find(WHOLE))
    good = {"host": "models.example.org", "origin": "https://example.org", "authorization": f"Bearer {TOKEN}"}
    assert ask(access, **good) == 200
    assert ask(access, **{**good, "host": "evil.org"}) == 403
    assert ask(access, **{**good, "origin": "https://evil.org"}) == 403
    assert ask(access, **{**good, "authorization": f"Bearer {TOKEN}x"}) == 401
    assert ask(access, host="models.example.org") == 401


def test_a_token_that_is_set_is_demanded_on_loopback_too() -> None:
    access = Access.at("127.0.0.1", 5001, Exposure.find({"MODELWORKS_SERVER_TOKEN": TOKEN}))
    assert ask(access, host="127.0.0.1:5001") == 401


def test_what_is_no_address_is_a_mistake() -> None:
    with pytest.raises(BadInput, match="not an address"):
        Access.at("example.org", 5001, Exposure.find({}))

"""One attempt to tell a receiver, over real connections."""

import asyncio
import socket
from functools import partial

import pytest
from aiohttp import web
from tests.support.receiver import SECRET, receiver

from anypod.api.webhooks import new_secret, parse_secret
from anypod_gateway.webhooks import sender
from anypod_gateway.webhooks.guard import Guard, networks
from anypod_gateway.webhooks.names import Names
from anypod_gateway.webhooks.sender import Outcome

HERE = Guard(networks(["127.0.0.0/8", "::1/128"]), (), is_plain=True)
NOWHERE = Guard((), (), is_plain=False)


async def send(url: str, guard: Guard = HERE, *secrets: str) -> Outcome:
    keys = [parse_secret(one) for one in secrets or (SECRET,)]
    return await sender.send(url, "j-1", b"{}", keys, guard, Names())


async def test_every_secret_signs() -> None:
    other = new_secret()
    async with receiver() as it:
        assert await send(it.url, HERE, SECRET, other) == Outcome()
        assert it.told[0].is_signed_with(SECRET)
        assert it.told[0].is_signed_with(other)
        assert not it.told[0].is_signed_with(new_secret())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "127.1", "0x7f.1"])
async def test_nothing_is_sent_inside_by_whatever_name(host: str) -> None:
    async with receiver() as it:
        outcome = await send(it.url.replace("http://127.0.0.1", f"https://{host}"), NOWHERE)
        assert outcome.is_final
        assert outcome.problem
        assert it.told == []


async def test_a_name_that_means_something_else_now_gets_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each look has another answer, as of who tricks a check that is not the connection's own."""
    answers = iter([("93.184.216.34", 443), ("127.0.0.1", 443)])

    def rebound(*_: object) -> list[object]:
        address = next(answers)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)]

    async with receiver() as it:
        port = int(it.url.rpartition(":")[2].partition("/")[0])
        monkeypatch.setattr(socket, "getaddrinfo", rebound)
        names = Names()
        assert (await names.resolve("evil.example", port))[0]["host"] == "93.184.216.34"
        url = f"https://evil.example:{port}/"
        outcome = await sender.send(url, "j-1", b"{}", [b"k"], NOWHERE, names)
        assert outcome == Outcome("the pool does not allow its address")
        assert it.told == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiver() as it, receiver() as other:
        it.say(status, Location=other.url)
        assert await send(it.url) == Outcome(f"it answered {status}", is_final=False)
        assert other.told == []


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (200, {}, Outcome()),
        (299, {}, Outcome()),
        (500, {}, Outcome("it answered 500", is_final=False)),
        (410, {}, Outcome("it answered 410")),
        (429, {"Retry-After": "7"}, Outcome("it answered 429", is_final=False, asked=7)),
        (503, {"Retry-After": "99999"}, Outcome("it answered 503", is_final=False, asked=3600)),
        (503, {"Retry-After": "-1e9"}, Outcome("it answered 503", is_final=False)),
    ],
)
async def test_what_an_answer_means(status: int, headers: dict[str, str], outcome: Outcome) -> None:
    async with receiver() as it:
        it.say(status, **headers)
        assert await send(it.url) == outcome


async def test_an_answer_without_an_end_is_not_read() -> None:
    async with receiver() as it:
        it.answers.append(partial(web.Response, body=b"x" * 50_000_000))
        assert await send(it.url) == Outcome()


async def test_a_receiver_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "DEADLINE_SECONDS", 0.2)
    async with receiver() as it:
        it.let_go.clear()
        outcome = await send(it.url)
        assert outcome == Outcome("it did not answer within 0.2 seconds", is_final=False)


async def test_what_cannot_be_reached_is_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
    assert await send(url) == Outcome("it could not be reached", is_final=False)
    found = await send("http://no-such-name.invalid/")
    assert found == Outcome("its name was not found", is_final=False)


async def test_what_does_not_speak_http_is_tried_again() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-hush\r\n\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        outcome = await send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert not outcome.is_final
    assert "hush" not in outcome.problem


async def test_a_receiver_without_tls_is_not_told_by_https() -> None:
    async with receiver() as it:
        outcome = await send(it.url.replace("http:", "https:"))
    assert not outcome.is_final
    assert it.told == []

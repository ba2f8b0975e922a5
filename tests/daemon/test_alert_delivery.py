"""Telling for real: HTTP servers that fail on purpose, a mail server, and a sender that is killed while it sends."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import time

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from daemon.outbound import delivery
from daemon.outbound.around import Around
from daemon.outbound.dispatcher import Route
from daemon.outbound.message import Message
from daemon.outbound.payloads import Target
from daemon.outbound.sender import Channel, Sender, _through_apprise
from daemon.outbound.teller import Teller, TellerOptions
from daemon.outbound.watching import Quiet
from tests.daemon.alerting import (
    SECOND,
    START,
    Counts,
    Receiver,
    alert,
    cut,
    later,
    opened,
    resolved,
    slow,
    verified,
)
from tests.support import require_program
from web.status import SourceStatus

SECRET = "a very secret signing key"


class Clock:
    """Time that a test moves."""

    def __init__(self):
        self.now = START / 1e6

    def __call__(self):
        return self.now


class World:
    """What a teller sees of the daemon, as a test wants it."""

    def __init__(self):
        self.events, self.complaints, self.files = [], [], []
        self.alive = (True, "")

    async def audit(self, event):
        self.events.append(event)

    def around(self):
        return Around(
            lambda: self.files, lambda: self.complaints, lambda: self.alive, self.audit, lambda: "http://here"
        )


@pytest.fixture
def environ(monkeypatch):
    return {"SIGNING": SECRET}


def hook(url, **more):
    return Channel("hook", "webhook", url=url, secret_env="SIGNING", **more)


def teller(tmp_path, channels, environ, clock, *, world=None, observer=None, **more):
    options = TellerOptions(
        channels=tuple(channels), routes=(Route(tuple(c.name for c in channels), wait_us=0),), **more
    )
    return Teller(
        options,
        str(tmp_path / "outbox"),
        observer or Counts(),
        environ,
        (world or World()).around(),
        clock=clock,
    )


async def worked(made, clock, *, until, most=200):
    """Step workers and time until something holds; no real waiting."""
    for _ in range(most):
        await made.dispatch()
        for worker in made._workers.values():
            wait = await worker.step()
            if wait:
                clock.now += wait
        if until():
            return
    pytest.fail("it did not come about")


async def test_an_alert_gets_through_500s_cuts_timeouts_and_waits_with_one_key(tmp_path, environ):
    """Whatever the receiver does, in the end it has the alert; every attempt has the same id and a good signature."""
    clock, counts = Clock(), Counts()
    answers = [500, cut, slow(5), 503, later(120), 408, 200]
    async with Receiver(answers) as receiver:
        made = teller(tmp_path, [hook(receiver.url, timeout_seconds=0.2)], environ, clock, observer=counts)
        await made.accept([opened()])
        await worked(
            made,
            clock,
            until=lambda: counts.counted["alert_messages", ("channel", "hook"), ("result", "sent")],
        )
        assert len(set(receiver.keys())) == 1
        assert len(receiver.requests) == len(answers)
        assert all(verified(headers, body, SECRET.encode()) for headers, body in receiver.requests)
        assert not made.outbox.pending
        made.close()
        await made._sender.close()


async def test_retry_after_is_honoured(tmp_path, environ):
    """Not a second before the receiver said."""
    clock = Clock()
    async with Receiver([later(777), 200]) as receiver:
        made = teller(tmp_path, [hook(receiver.url)], environ, clock)
        await made.accept([opened()])
        await made.dispatch()
        [worker] = made._workers.values()
        await worker.step()
        wait = await worker.step()
        assert wait == pytest.approx(777)
        assert len(receiver.requests) == 1
        made.close()
        await made._sender.close()


@pytest.mark.parametrize("status", [400, 401, 404, 302])
async def test_what_cannot_succeed_is_a_dead_letter_at_once_and_can_be_sent_again(tmp_path, environ, status):
    """A 4xx is final, a redirect is not followed; after somebody repaired it, `retry` sends it under the same key."""
    clock, world = Clock(), World()
    other = []

    async def elsewhere(request):
        other.append(request)
        return web.Response()

    async def answer(request):
        return web.Response(
            status=status, headers={"Location": "/elsewhere"} if status == 302 else {}, text=SECRET
        )

    async with Receiver([answer, 200]) as receiver:
        made = teller(tmp_path, [hook(receiver.url)], environ, clock, world=world)
        await made.accept([opened()])
        await worked(made, clock, until=lambda: made.outbox.dead)
        assert len(receiver.requests) == 1
        codes = dict(made.complaints())
        assert "dead-letters" in codes
        assert SECRET not in str([codes, made.status(), made.outbox.shown()])
        assert (await made.letters("retry"))["changed"] == 1
        await worked(made, clock, until=lambda: not made.outbox.pending)
        assert len(set(receiver.keys())) == 1
        assert not dict(made.complaints())
        made.close()
        await made._sender.close()


async def test_after_a_day_a_message_is_given_up_and_kept(tmp_path, environ):
    """Loudly: counted, complained about, and there to be sent again."""
    clock, counts = Clock(), Counts()
    async with Receiver([500]) as receiver:
        made = teller(tmp_path, [hook(receiver.url)], environ, clock, observer=counts)
        await made.accept([opened()])
        await worked(made, clock, until=lambda: made.outbox.dead, most=400)
        assert 86_400 <= clock.now - START / 1e6 < 86_400 + 2 * delivery.LONGEST_WAIT_SECONDS
        assert "given up after a day" in next(iter(made.outbox.dead.values())).why
        assert len(receiver.requests) > 90  # at least every fifteen minutes
        made.close()
        await made._sender.close()


async def test_one_message_that_a_receiver_cannot_take_does_not_hold_up_the_others(tmp_path, environ):
    """A 500 for one group; the next group's message gets through meanwhile, and an end never overtakes its beginning."""
    clock = Clock()

    async def picky(request):
        return web.Response(status=500 if b'"poison"' in await request.read() else 200)

    async with Receiver([picky]) as receiver:
        made = teller(tmp_path, [hook(receiver.url)], environ, clock)
        poison = opened("poison", rule="poison")
        await made.accept([poison])
        await made.dispatch()
        clock.now += 1
        await made.accept([opened("fine", rule="other")])
        await worked(
            made, clock, until=lambda: [m.alerts[0].id for m in made.outbox.pending.values()] == ["poison"]
        )
        await made.accept([resolved(poison)])
        clock.now += 300
        for _ in range(20):
            await made.dispatch()
            clock.now += await made._workers["hook"].step() or 0
        kinds = {body["type"] for body in receiver.bodies() if body["data"]["alerts"][0]["id"] == "poison"}
        assert kinds == {"alert.firing"}
        made.close()
        await made._sender.close()


async def test_a_flood_becomes_a_digest_for_people(tmp_path):
    """Forty groups at once: a few messages, none of the alerts forgotten."""
    clock, counts = Clock(), Counts()
    async with Receiver() as receiver:
        chat = Channel("chat", "slack", url_env="CHAT", per_minute=2)
        made = teller(tmp_path, [chat], {"CHAT": receiver.url}, clock, observer=counts)
        await made.accept([opened(f"a{n}", rule=f"r{n}") for n in range(40)])
        await worked(made, clock, until=lambda: not made.outbox.pending)
        assert len(receiver.requests) <= delivery.BURST
        assert "more" in str(receiver.bodies()[-1])
        assert counts.counted["alert_digests", ("channel", "chat")] == 1
        made.close()
        await made._sender.close()


async def test_an_answer_without_end_is_read_only_so_far(tmp_path, environ):
    """A receiver cannot fill our memory or hold us."""

    async def endless(request):
        response = web.StreamResponse(status=500)
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x" * 65_536)
        return response

    async with Receiver([endless]) as receiver:
        sender = Sender(environ)
        message = Message("k", "hook", "g", "firing", (alert(),), START)
        outcome = await sender.send(hook(receiver.url), message)
        assert not outcome.ok
        assert len(outcome.what) < 400
        await sender.close()


async def test_neither_address_nor_secret_is_ever_said(tmp_path):
    """Also when the receiver or the library repeats them."""

    async def echo(request):
        return web.Response(
            status=500, text=f"no hook {request.path} for R0UTINGKEY " + "x" * 240 + "R0UTINGKEY"
        )

    async with Receiver([echo]) as receiver:
        path = tmp_path / "url"
        path.write_text(f"{receiver.url}/services/T0P/S3CRET\n")
        (tmp_path / "key").write_text("R0UTINGKEY")
        sender = Sender({})
        channel = Channel("c", "webhook", url_file=str(path), secret_file=str(tmp_path / "key"))
        message = Message("k", "c", "g", "firing", (alert(),), START)
        for _ in range(2):
            outcome = await sender.send(channel, message)
            assert not outcome.ok
            assert "S3CRET" not in outcome.what
            assert "R0UT" not in outcome.what
            path.write_text("nonsense://T0P/S3CRET")
        gone = await sender.send(Channel("c", "webhook", url_file=str(tmp_path / "none")), message)
        assert "cannot be read" in gone.what
        await sender.close()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Mailbox:
    """Takes mail, or refuses it."""

    def __init__(self, answers):
        self.answers, self.mails = list(answers), []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802 - the library's name
        self.mails.append(envelope)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_letter_arrives_after_the_server_was_busy(tmp_path):
    """A 451 is tried again with the same Message-ID; a 550 is final."""
    mailbox = Mailbox(["451 busy", "250 OK", "550 unwanted"])
    server = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        port = server.port
        clock = Clock()
        box = Channel(
            "mail",
            "email",
            host="127.0.0.1",
            port=port,
            tls="none",
            sender="w@example.org",
            to=("o@example.org",),
        )
        made = teller(tmp_path, [box], {}, clock)
        await made.accept([opened()])
        await worked(made, clock, until=lambda: len(mailbox.mails) == 2)
        ids = {
            line
            for mail in mailbox.mails
            for line in mail.content.splitlines()
            if line.startswith(b"Message-ID")
        }
        assert len(ids) == 1
        await made.accept([opened("b", rule="other")])
        await worked(made, clock, until=lambda: made.outbox.dead)
        assert "550" in next(iter(made.outbox.dead.values())).why
        made.close()
        await made._sender.close()
    finally:
        server.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    openssl = require_program("openssl")
    folder = tmp_path_factory.mktemp("tls")
    made, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", key, "-out", made, "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("tls", ["starttls", "tls"])
async def test_a_letter_goes_only_through_a_channel_that_is_what_it_claims(certificate, monkeypatch, tls):
    """Encrypted to a server whose certificate is trusted; to another, or to one that speaks plainly, nothing is sent."""
    trusted, context = certificate
    mailbox = Mailbox(["250 OK"])
    port = free_port()
    if tls == "tls":
        server = Controller(mailbox, hostname="127.0.0.1", port=port, ssl_context=context)
    else:
        server = Controller(
            mailbox, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True
        )
    plainly = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    for each in (server, plainly):
        each.start()
    try:
        sender = Sender({})
        message = Message("k", "mail", "g", "firing", (alert(),), START)

        def to(where):
            return Channel(
                "mail",
                "email",
                host="127.0.0.1",
                port=where,
                tls=tls,
                sender="w@x.org",
                to=("o@x.org",),
                timeout_seconds=5,
            )

        stranger = await sender.send(to(port), message)
        assert not stranger.ok
        assert not stranger.permanent
        assert not (await sender.send(to(plainly.port), message)).ok
        assert not mailbox.mails
        monkeypatch.setenv("SSL_CERT_FILE", trusted)
        assert (await sender.send(to(port), message)).ok
        assert len(mailbox.mails) == 1
    finally:
        server.stop()
        plainly.stop()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_apprise_reaches_what_it_knows(tmp_path):
    """The real library, to a local server; skipped where the extra is not installed."""
    if not os.environ.get("CI"):
        pytest.importorskip("apprise")
    async with Receiver() as receiver:
        target = Target("a", receiver.url.replace("http://", "json://"))
        message = Message("k", "a", "g", "firing", (alert(),), START)
        outcome = await asyncio.to_thread(_through_apprise, target, message)
        assert outcome.ok
        assert "Many failed logins" in str(receiver.bodies())


async def test_a_test_message_says_what_came_back(tmp_path, environ):
    """Also on a pager, where it closes what it opened."""
    async with Receiver([201, 202, 202]) as receiver:
        pager = Channel("pager", "pagerduty", url=receiver.url, secret_env="SIGNING")
        made = teller(tmp_path, [hook(receiver.url), pager], environ, Clock())
        answer = await made.test("hook")
        assert (answer["ok"], answer["answer"]) == (True, "status 201: said")
        assert (await made.test("pager"))["ok"]
        assert [body["event_action"] for body in receiver.bodies()[1:]] == ["trigger", "resolve"]
        with pytest.raises(ValueError, match="there are hook, pager"):
            await made.test("nobody")
        made.close()
        await made._sender.close()


def source(size, file="app-1.jsonl"):
    return SourceStatus("s1", f"/logs/{file}", file, size, size, size, 1, 1, 0, None, "live")


async def test_a_source_that_falls_silent_is_an_alert_and_its_return_ends_it(tmp_path, environ):
    """Fifteen minutes without growth; told once, and once that it is over; both are events of the archive."""
    clock, world = Clock(), World()
    async with Receiver() as receiver:
        made = teller(
            tmp_path, [hook(receiver.url)], environ, clock, world=world, quiet=(Quiet("app-*", 900 * SECOND),)
        )
        for minute in range(40):
            clock.now += 60
            world.files = [source(min(minute, 5) if minute < 30 else minute)]
            await made.observe()
            await made.dispatch()
            clock.now += await made._workers["hook"].step() or 0
        assert [body["type"] for body in receiver.bodies()] == ["alert.firing", "alert.resolved"]
        assert receiver.bodies()[0]["data"]["alerts"][0]["group"] == {"source": "app-*"}
        assert len(world.events) == 2
        made.close()
        await made._sender.close()


async def test_the_daemons_own_trouble_is_an_alert_if_it_lasts(tmp_path, environ):
    """A minute of it is told to nobody; a restart in the middle neither forgets nor doubles it."""
    clock, world = Clock(), World()
    async with Receiver() as receiver:

        async def minutes(made, count, codes):
            world.complaints = [{"code": code, "detail": f"{code} is wrong"} for code in codes]
            for _ in range(count):
                await made.observe()
                await made.dispatch()
                clock.now += await made._workers["hook"].step() or 0
                clock.now += 30

        first = teller(tmp_path, [hook(receiver.url)], environ, clock, world=world)
        await minutes(first, 2, ["watches"])
        await minutes(first, 3, [])
        assert not receiver.requests
        await minutes(first, 5, ["gap"])
        assert receiver.bodies()[0]["data"]["alerts"][0]["level"] == "critical"
        first.close()
        await first._sender.close()
        second = teller(tmp_path, [hook(receiver.url)], environ, clock, world=world)
        await minutes(second, 10, ["gap"])
        assert len(receiver.requests) == 1
        await minutes(second, 20, [])
        assert [body["type"] for body in receiver.bodies()] == ["alert.firing", "alert.resolved"]
        second.close()
        await second._sender.close()


async def test_the_daemons_own_alerts_are_looked_after_as_others_are(tmp_path, environ):
    """Acknowledged, ended and opened again by a person, over restarts; each change is told, and is an event with who made it."""
    clock, world = Clock(), World()
    async with Receiver() as receiver:

        async def minutes(made, count, *codes):
            world.complaints = [{"code": code, "detail": f"{code} is wrong"} for code in codes]
            for _ in range(2 * count):
                await made.observe()
                await made.dispatch()
                clock.now += await made._workers["hook"].step() or 0
                clock.now += 30
            return [alert.state for alert in made.alerts()]

        def started():
            return teller(tmp_path, [hook(receiver.url)], environ, clock, world=world)

        made = started()
        assert await minutes(made, 3, "gap") == ["open"]
        name = made.alerts()[0].id
        changed = await made.change(name, "acknowledged", by="ann", comment="looking")
        assert (changed.state, changed.by, changed.comment) == ("acknowledged", "ann", "looking")
        assert await made.change(name, "acknowledged", by="bob") == changed
        assert await made.change("unknown", "resolved", by="bob") is None
        made.close()
        await made._sender.close()

        made = started()
        assert await minutes(made, 10, "gap") == ["acknowledged"]
        await made.change(name, "resolved", by="ann")
        assert await minutes(made, 50, "gap") == ["resolved"]  # as quiet as what a person resolved of a rule
        await made.change(name, "reopened", by="ann")
        assert await minutes(made, 10) == ["open"]  # only a person ends it now
        await made.change(name, "resolved", by="ann")
        await minutes(made, 70)
        assert await minutes(made, 3, "gap") == ["open", "resolved"]
        assert await minutes(made, 3) == ["resolved", "resolved"]
        kinds = [body["type"].removeprefix("alert.") for body in receiver.bodies()]
        assert kinds[:3] == ["firing", "acknowledged", "resolved"]
        told = [
            (e["action"], e.get("user", {}).get("id"), e["metadata"]["alert"]["comment"])
            for e in world.events
        ]
        assert told[:3] == [
            ("system_event", None, ""),
            ("alert_acknowledged", "ann", "looking"),
            ("alert_resolved", "ann", ""),
        ]
        made.close()
        await made._sender.close()


@pytest.mark.parametrize("written", [False, True])
async def test_a_crash_between_telling_and_the_event_costs_no_event_of_our_own_alerts(
    tmp_path, environ, written
):
    """Whoever was told finds it in the archive, once: what is missing is made after the start."""
    clock, world = Clock(), World()
    world.complaints = [{"code": "gap", "detail": "lines are missing"}]

    async def cut(event):
        if written:
            world.events.append(event)
        raise OSError("killed")

    around = dataclasses.replace(
        world.around(), logged=lambda ids: ids & {event["eventId"] for event in world.events}
    )
    options = TellerOptions(channels=(hook("http://127.0.0.1:1"),), routes=(Route(("hook",), wait_us=0),))
    for audit in (cut, world.audit, world.audit):
        seen = dataclasses.replace(around, audit=audit)
        made = Teller(options, str(tmp_path / "outbox"), Counts(), environ, seen, clock=clock)
        for _ in range(4):
            try:
                await made.observe()
            except OSError:
                break
            clock.now += 30
        made.close()
        await made._sender.close()
    assert [event["metadata"]["group"]["code"] for event in world.events] == ["gap"]


async def test_a_heartbeat_is_sent_only_while_lines_are_archived(tmp_path, environ):
    """Whoever listens for it must miss it when the daemon is in trouble."""
    world = World()
    async with Receiver() as receiver:
        made = teller(
            tmp_path,
            [hook(receiver.url)],
            environ,
            time.time,
            world=world,
            heartbeat="hook",
            heartbeat_seconds=0.01,
        )
        task = asyncio.ensure_future(made.run())
        await receiver.got.wait()
        assert receiver.bodies()[0]["type"] == "heartbeat"
        world.alive = (False, "the disk is full")
        await asyncio.sleep(0.1)
        seen = len(receiver.requests)
        await asyncio.sleep(0.1)
        assert len(receiver.requests) == seen
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        made.close()


async def test_silences_are_durable_events_and_end(tmp_path, environ):
    """Made, kept over a restart, ended; each a word in the archive."""
    world, clock = World(), Clock()
    made = teller(tmp_path, [], environ, clock, world=world)
    asked = {"matchers": ["user.id=42"], "author": "ann", "comment": "test", "seconds": 900}
    silence = await made.silence(asked)
    made.close()
    again = teller(tmp_path, [], environ, clock, world=world)
    [one] = again.silences()["silences"]
    assert (one["id"], one["state"]) == (silence["id"], "in force")
    await again.expire({"id": silence["id"], "author": "bob"})
    assert again.silences()["silences"][0]["state"] == "ended"
    assert [event["action"] for event in world.events] == ["create", "delete"]
    with pytest.raises(ValueError, match="no silence"):
        await again.expire({"id": silence["id"], "author": "bob"})
    with pytest.raises(ValueError, match="matcher"):
        await again.silence(asked | {"matchers": []})
    again.close()


SENDING = """
    import asyncio, sys, time
    from daemon.failpoints import plant
    from tests.daemon.alerting import Counts, opened
    from tests.daemon.test_alert_delivery import World, hook, SECRET, Route, Teller, TellerOptions

    async def main():
        options = TellerOptions(channels=(hook(sys.argv[1], per_minute=10_000),), routes=(Route(("hook",), group_by=("...",), wait_us=0),))
        made = Teller(options, sys.argv[2], Counts(), {"SIGNING": SECRET}, World().around())
        task = asyncio.ensure_future(made.run())
        for n in range(int(sys.argv[3]), 30):
            await made.accept([opened(f"a{n}")])
            print(n, flush=True)
        while made.outbox.pending or made.outbox.dispatcher.next_us is not None and made._changed.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        print("end", flush=True)
        task.cancel()

    asyncio.run(main())
"""


async def test_killed_again_and_again_while_sending_it_loses_no_alert(tmp_path):
    """Real processes, SIGKILL at the moment of a request: every alert arrives, repeats have the key they had before."""
    processes: list[asyncio.subprocess.Process] = []

    async def kill_sometimes(request):
        if len(receiver.requests) % 4 == 0 and processes[-1].returncode is None:
            processes[-1].send_signal(signal.SIGKILL)
        return web.Response()

    async with Receiver([kill_sometimes]) as receiver:
        accepted = 0
        for _ in range(60):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                textwrap.dedent(SENDING),
                receiver.url,
                str(tmp_path / "outbox"),
                str(accepted),
                stdout=subprocess.PIPE,
            )
            processes.append(process)
            out, _ = await process.communicate()
            words = out.decode().split()
            accepted += sum(word.isdigit() for word in words)
            if "end" in words:
                break
        by_alert: dict[str, list[str]] = {}
        for (_, _), key, body in zip(receiver.requests, receiver.keys(), receiver.bodies(), strict=True):
            for one in body["data"]["alerts"]:
                by_alert.setdefault(one["id"], []).append(key)
        assert len(processes) > 3
        assert set(by_alert) == {f"a{n}" for n in range(30)}
        assert all(len(set(keys)) == 1 for keys in by_alert.values())
        assert len(receiver.requests) <= 30 + len(processes)


async def test_what_comes_after_a_digest_waits_for_it(tmp_path):
    """The end of an alert that a digest names must not overtake the digest."""
    clock = Clock()
    async with Receiver([500, 200]) as receiver:
        chat = Channel("chat", "slack", url_env="CHAT", per_minute=2)
        made = teller(tmp_path, [chat], {"CHAT": receiver.url}, clock)
        worker = made._workers["chat"]
        worker._pace.tokens = 0.0
        changes = [opened(f"a{n}", rule=f"r{n}") for n in range(9)]
        await made.accept(changes)
        await worked(made, clock, until=lambda: len(receiver.requests) == 1)
        [waiting] = worker.waiting()
        assert waiting.key.endswith("-digest")
        clock.now += 600
        await made.accept([resolved(changes[0])])
        await made.dispatch()
        assert len(worker.waiting()) == 2
        await worked(made, clock, until=lambda: not made.outbox.pending)
        assert "firing" in receiver.bodies()[1]["text"]
        assert "resolved" in receiver.bodies()[2]["text"]
        made.close()
        await made._sender.close()


async def test_what_the_full_outbox_refuses_is_counted(tmp_path, environ):
    """Bounded, and loud."""
    counts = Counts()
    made = teller(
        tmp_path, [hook("http://127.0.0.1:1")], environ, Clock(), observer=counts, outbox_messages=10
    )
    await made.accept([opened(f"a{n}", rule=f"r{n}") for n in range(12)])
    await made.dispatch()
    assert counts.counted["alert_messages", ("channel", "hook"), ("result", "refused")] == 2
    assert len(made.outbox.pending) == 10
    made.close()


async def test_an_open_address_leaves_the_answer_readable(environ):
    """An address that stands in the file is no secret; its path may be a letter of every word."""
    async with Receiver([500]) as receiver:
        sender = Sender(environ)
        message = Message("k", "hook", "g", "firing", (alert(),), START)
        outcome = await sender.send(hook(f"{receiver.url}/a"), message)
        assert outcome.what == "status 500: said"
        await sender.close()

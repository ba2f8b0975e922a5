"""A day with attacks in it: how many of them our own rules find, and what they find where nothing is wrong.

    python -m benchmarks attacks --events 2000000

Ordinary traffic of a company, forty attacks of all families, and forty things that only look like one. What was planted
is written to `labels.json`, which no rule sees; every alert that no label explains is a false one.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from benchmarks.measure import DEFAULT_DATA, ROOT, table
from daemon.rulebook import PACK, read
from storage.backtest import anchors_of
from storage.duck import connect
from storage.reader import read_snapshot

DAY = 86_400
BEGIN = 1_780_272_000  # 2026-06-01, a Monday
HISTORY_DAYS = 10  # before it, so that users have habits
HISTORY_EVENTS = 5  # of each user a day
USERS = 2_000
EACH = 40  # attacks, and look-alikes
SEED = 7
AFTERWARDS_US = 4 * 3_600 * 1_000_000
SHOWN_FALSE = 20
MEMORY_MB = 384  # of DuckDB, as beside a daemon
SPELL_US = 600 * 1_000_000  # a rule that goes on firing with shorter pauses does so for one reason
SLACK_US = 120 * 1_000_000  # between what was planted and where a rule fires

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that was planted: its family, whether it is an attack, when, about whom, and which rules may say so."""

    family: str
    attack: bool
    title: str
    start: float
    end: float
    who: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(slots=True)
class Person:
    """A user with habits."""

    name: str
    address: str
    country: str
    latitude: float
    longitude: float
    agent: str
    session: str

    def line(self, at: float, **event: Any) -> Line:
        """Return an event of theirs, at their usual place unless ``event`` says otherwise."""
        usual: Line = {
            "timestamp": round(at, 3),
            "level": "info",
            "category": "data_management",
            "outcome": "success",
            "user": {"id": self.name, "username": self.name},
            "sessionId": f"{self.session}-{int(at // DAY)}",
            "location": {"country": self.country, "latitude": self.latitude, "longitude": self.longitude},
        }
        request = {
            "ip": self.address,
            "userAgent": self.agent,
            "method": "GET",
            "path": "/",
            "statusCode": 200,
        }
        return {**usual, **event, "request": {**request, **event.get("request", {})}}


PLACES = (("DE", 52.5, 13.4), ("DE", 48.1, 11.6), ("FR", 48.9, 2.4), ("GB", 51.5, -0.1), ("US", 40.7, -74.0), ("US", 37.8, -122.4))  # fmt: skip
AGENTS = ("Mozilla/5.0 (Windows NT 10.0) Chrome/140.0", "Mozilla/5.0 (X11; Linux) Firefox/141.0", "Mozilla/5.0 (Macintosh) Safari/18.1")  # fmt: skip
FAR = {"location": {"country": "NZ", "latitude": -36.8, "longitude": 174.8}}


def people(chance: random.Random) -> list[Person]:
    """Return the company: half of it in offices behind a few addresses."""
    found = []
    for number in range(USERS):
        country, latitude, longitude = chance.choice(PLACES)
        office = chance.random() < 0.5
        address = (
            f"198.51.100.{PLACES.index((country, latitude, longitude))}"
            if office
            else f"10.{number >> 8 & 255}.{number & 255}.7"
        )
        found.append(
            Person(
                f"user-{number}", address, country, latitude, longitude, chance.choice(AGENTS), f"s{number}"
            )
        )
    return found


def ordinary(chance: random.Random, staff: Sequence[Person], start: float, amount: int) -> Iterator[Line]:
    """Yield a day of what people do, in order."""
    for number in range(amount):
        at = start + number * DAY / amount
        person = staff[chance.randrange(USERS)]
        dice = chance.random()
        if dice < 0.02:
            failed = chance.random() < 0.08
            outcome = "failure" if failed else "success"
            yield person.line(at, category="authentication", action="login", outcome=outcome, level="warning" if failed else "info", request={"statusCode": 401 if failed else 200})  # fmt: skip
        elif dice < 0.03:
            yield person.line(
                at, action="update", entity={"type": "order", "id": str(chance.randrange(5_000))}
            )
        elif dice < 0.0305:
            yield person.line(at, action="export", metadata={"rows": chance.randrange(500)})
        elif dice < 0.031:
            yield person.line(at, action="delete", entity={"type": "draft", "id": str(number)})
        elif dice < 0.034:
            yield person.line(at, action="api_call", category="api", request={"statusCode": 404, "path": f"/old/{number % 97}"})  # fmt: skip
        else:
            yield person.line(at, action="read", entity={"type": "order", "id": str(chance.randrange(5_000))}, request={"path": f"/orders/{number % 5000}"})  # fmt: skip


# What is planted: each takes randomness, a person and a beginning, and returns lines with who it is about.
Planted = tuple[list[Line], tuple[str, ...]]
Make = Callable[[random.Random, Person, float], Planted]


def _repeat(person: Person, start: float, times: int, every: float, **event: Any) -> list[Line]:
    return [person.line(start + number * every, **event) for number in range(times)]


def _login(outcome: str, **request: Any) -> Line:
    level = "info" if outcome == "success" else "warning"
    return {
        "category": "authentication",
        "action": "login",
        "outcome": outcome,
        "level": level,
        "request": request,
    }


def _brute(times: int, every: float) -> Make:
    return lambda _c, p, at: (
        _repeat(p, at, times, every, **_login("failure", ip="203.0.113.200")),
        (p.name,),
    )


def _from_address(times: int, every: float, users: int) -> Make:
    def make(chance: random.Random, _p: Person, at: float) -> Planted:
        address = f"203.0.113.{chance.randrange(100, 150)}"
        lines = [
            Person(f"guess-{number % users}", address, "NL", 52.4, 4.9, "curl/8.0", "x").line(
                at + number * every, **_login("failure")
            )
            for number in range(times)
        ]
        return lines, (address,)

    return make


def _wide(times: int, users: int, addresses: int, every: float) -> Make:
    def make(_c: random.Random, _p: Person, at: float) -> Planted:
        lines = [
            Person(
                f"wide-{n % users}", f"203.0.113.{150 + n % addresses}", "NL", 52.4, 4.9, "curl/8.0", "x"
            ).line(at + n * every, **_login("failure"))
            for n in range(times)
        ]
        return lines, ()

    return make


def _then_success(failures: int, gap: float) -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        lines = _repeat(p, at, failures, 15, **_login("failure"))
        return [*lines, p.line(at + failures * 15 + gap, **_login("success"))], (p.name,)

    return make


def _factor(times: int, every: float) -> Make:
    return lambda _c, p, at: (
        _repeat(p, at, times, every, category="authentication", action="mfa_challenge", outcome="denied"),
        (p.name,),
    )


def _travel(hours: float) -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        away = {**FAR, "request": {"ip": "203.0.113.77"}}
        return [p.line(at, action="read"), p.line(at + hours * 3600, **{"action": "read", **away})], (p.name,)

    return make


def _abroad(country: str, action: str) -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        place = {"location": {"country": country}}  # no position, so no speed
        event = _login("success", ip="203.0.113.88") if action == "login" else {"action": action}
        return [p.line(at, **{**event, **place})], (p.name,)

    return make


def _session(addresses: int, agents: int, gap: float) -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        session = f"{p.session}-stolen-{int(at)}"
        lines = [
            p.line(
                at + n * gap,
                action="read",
                sessionId=session,
                request={"ip": f"203.0.113.{40 + n % addresses}", "userAgent": AGENTS[n % agents]},
            )
            for n in range(4)
        ]
        return lines, (session,)

    return make


def _grant(target: str, role: str, outcome: str = "success") -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        about = p.name if target == "self" else target
        entity = {"type": "user", "id": about}
        return [p.line(at, category="authorization", action="permission_change", outcome=outcome, entity=entity, metadata={"role": role})], (p.name,)  # fmt: skip

    return make


def _often(action: str, times: int, every: float, **event: Any) -> Make:
    return lambda _c, p, at: (_repeat(p, at, times, every, action=action, **event), (p.name,))


def _walk(times: int, distinct: int, every: float) -> Make:
    def make(_c: random.Random, p: Person, at: float) -> Planted:
        lines = [
            p.line(at + n * every, action="read", entity={"type": "customer", "id": str(n % distinct)})
            for n in range(times)
        ]
        return lines, (p.name,)

    return make


def _requests(times: int, every: float, **request: Any) -> Make:
    def make(chance: random.Random, _p: Person, at: float) -> Planted:
        address = f"203.0.113.{chance.randrange(210, 250)}"
        stranger = Person("", address, "NL", 52.4, 4.9, "script/1.0", "x")
        lines = []
        for n in range(times):
            line = stranger.line(
                at + n * every, action="api_call", category="api", request={"path": f"/try/{n}", **request}
            )
            line.pop("user")
            line.pop("sessionId")
            lines.append(line)
        return lines, (address,)

    return make


FAMILIES: Mapping[str, tuple[tuple[str, ...], tuple[tuple[str, Make], ...], tuple[tuple[str, Make], ...]]] = {
    "brute force by user": (("brute_force_user",), (("15 failures in 5 minutes", _brute(15, 20)), ("12 in 9 minutes", _brute(12, 45)), ("40 in 2 minutes", _brute(40, 3))), (("8 failures in 8 minutes", _brute(8, 60)), ("20 over two hours", _brute(20, 360)))),
    "brute force by address": (("brute_force_address", "password_spraying"), (("30 failures of 4 users", _from_address(30, 15, 4)), ("60 of 3", _from_address(60, 5, 3))), (("15 failures of 3 users", _from_address(15, 30, 3)), ("30 over two hours", _from_address(30, 240, 5)))),
    "password spraying": (("password_spraying", "brute_force_address"), (("30 users twice", _from_address(60, 15, 30)), ("16 users once", _from_address(16, 60, 16)), ("25 users once", _from_address(25, 20, 25))), (("7 users twice, slowly", _from_address(14, 80, 7)), ("12 users once over three hours", _from_address(12, 900, 12)))),
    "distributed spraying": (("distributed_spraying",), (("60 tries, 20 users, 12 addresses", _wide(60, 20, 12, 8)), ("45 tries, 15 users, 9 addresses", _wide(45, 15, 9, 15))), (("20 tries, 10 users, 4 addresses", _wide(20, 10, 4, 120)), ("30 tries over four hours", _wide(30, 15, 10, 480)))),
    "success after failures": (("success_after_failures", "brute_force_user"), (("8 failures, success after a minute", _then_success(8, 60)), ("6, after ten minutes", _then_success(6, 600)), ("20, at once", _then_success(20, 5))), (("3 failures, then success", _then_success(3, 30)), ("4, after two minutes", _then_success(4, 120)))),
    "second factor refused": (("mfa_fatigue",), (("15 refusals in 5 minutes", _factor(15, 20)), ("11 in 8 minutes", _factor(11, 45))), (("4 refusals", _factor(4, 30)), ("12 over three hours", _factor(12, 900)))),
    "impossible travel": (("impossible_travel",), (("the other side of the world in an hour", _travel(1)), ("in six hours", _travel(6))), (("in two days", _travel(23.9)),)),
    "new country": (("new_country", "new_country_for_all"), (("a login from Brazil", _abroad("BR", "login")), ("a login from Japan", _abroad("JP", "login"))), (("a read, no login, from Spain", _abroad("ES", "read")),)),
    "session stolen": (("session_two_addresses", "session_hijack"), (("two addresses, two browsers", _session(2, 2, 30)), ("four addresses", _session(4, 3, 20))), (("one address, two browsers", _session(1, 2, 30)), ("two addresses, an hour apart", _session(2, 1, 3600)))),
    "escalation": (("admin_granted", "self_grant", "many_grants", "deny_grant_use"), (("made an administrator", _grant("user-9", "admin")), ("made oneself an owner", _grant("self", "owner")), ("granted oneself", _grant("self", "editor"))), (("made a reader", _grant("user-9", "reader")), ("was not allowed to", _grant("user-9", "admin", "denied")))),
    "mass export": (("mass_export", "large_export", "rare_sensitive_action"), (("40 downloads in 7 minutes", _often("file_download", 40, 10)), ("one of 50,000 rows", _often("export", 1, 0, metadata={"rows": 50_000})), ("30 exports in 8 minutes", _often("export", 30, 15))), (("10 downloads", _often("file_download", 10, 30)), ("one of 2,000 rows", _often("file_download", 1, 0, metadata={"rows": 2_000})), ("30 downloads over two hours", _often("file_download", 30, 240)))),
    "mass deletion": (("mass_delete", "rare_sensitive_action"), (("30 deletions in 20 minutes", _often("delete", 30, 40)), ("60 in 5 minutes", _often("delete", 60, 5))), (("10 updates", _often("update", 10, 60)), ("25 deletions that were denied", _often("delete", 25, 60, outcome="denied")))),
    "unusual access": (("wide_access",), (("150 customers in 40 minutes", _walk(150, 150, 16)), ("300 in 50 minutes", _walk(300, 300, 10))), (("150 reads of 20 customers", _walk(150, 20, 16)), ("120 customers in a day", _walk(120, 120, 600)))),
    "abuse of the API": (("request_rate_address", "request_errors", "path_scan", "attack_tool", "rate_limited"), (("800 requests in a minute", _requests(800, 0.07)), ("40 paths that do not exist", _requests(40, 1, statusCode=404)), ("100 requests of a scanner", _requests(100, 2, userAgent="nuclei/3.2")), ("150 times the limit", _requests(150, 10, statusCode=429))), (("300 requests in a minute", _requests(300, 0.2)), ("10 paths that do not exist", _requests(10, 20, statusCode=404)), ("a crawler that is slow", _requests(200, 30, userAgent="GoodBot/1.0")))),
}  # fmt: skip


def planted(chance: random.Random, staff: Sequence[Person], start: float) -> tuple[list[Line], list[Label]]:
    """Return the lines of all attacks and look-alikes, each at a time and of a person of its own, and their labels."""
    lines: list[Line] = []
    labels: list[Label] = []
    chosen = iter(chance.sample(range(USERS), 2 * EACH + 20))
    for attack in (True, False):
        makes = [
            (family, rules, title, make)
            for family, (rules, attacks, others) in FAMILIES.items()
            for title, make in (attacks if attack else others)
        ]
        picked = makes + [makes[n % len(makes)] for n in range(max(0, EACH - len(makes)))]
        for number, (family, rules, title, make) in enumerate(
            picked[:EACH] if len(picked) >= EACH else picked
        ):
            begin = start + (number + (0.5 if attack else 0.0)) * (DAY - 14_400) / EACH
            made, who = make(chance, staff[next(chosen)], begin)
            lines += made
            times = [line["timestamp"] for line in made]
            labels.append(Label(family, attack, title, min(times), max(times), _involved(made, who), rules))
    return lines, labels


def _involved(lines: Sequence[Line], who: tuple[str, ...]) -> tuple[str, ...]:
    """Return everybody and every address in some lines; nobody for what is about all together."""
    if not who:
        return ()
    users = {line["user"]["id"] for line in lines if "user" in line}
    sessions = {line["sessionId"] for line in lines if "sessionId" in line}
    return tuple(sorted({*who, *users, *sessions, *(line["request"]["ip"] for line in lines)}))


def generate(folder: Path, events: int) -> list[Label]:
    """Write the log files of eleven days and the labels."""
    chance = random.Random(SEED)
    staff = people(chance)
    for day in range(HISTORY_DAYS):
        start = BEGIN - (HISTORY_DAYS - day) * DAY
        _write(folder, start, ordinary(chance, staff, start, USERS * HISTORY_EVENTS))
    attack_lines, labels = planted(chance, staff, BEGIN)
    attack_lines.sort(key=_moment)
    _write(folder, BEGIN, heapq.merge(ordinary(chance, staff, BEGIN, events), attack_lines, key=_moment))
    (folder / "labels.json").write_text(json.dumps([asdict(label) for label in labels], indent=1))
    return labels


def _moment(line: Line) -> float:
    return float(line["timestamp"])


def _write(folder: Path, start: float, lines: Iterator[Line]) -> None:
    name = time.strftime("app-%Y-%m-%d.jsonl", time.gmtime(start))
    with (folder / "logs" / name).open("wb") as file:
        for line in lines:
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))


def measure(data: Path, events: int, *, again: bool) -> None:
    """Generate, ingest, run every rule, and print what was found; ``again``: over what was ingested the last time."""
    folder = data / "attacks"
    labels = _labels(folder) if again else _ingested(folder, events)
    began = time.process_time()
    alerts, low, slowest = _alerts(folder)
    _print(labels, alerts, low, time.process_time() - began, events)
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        f"  the slowest rule: {slowest[1]}, {slowest[0]:.1f} s; peak memory of generator, ingest and rules: {peak >> 10} MiB"
    )


def _labels(folder: Path) -> list[Label]:
    found = json.loads((folder / "labels.json").read_text())
    return [Label(**{**each, "who": tuple(each["who"]), "rules": tuple(each["rules"])}) for each in found]


def _ingested(folder: Path, events: int) -> list[Label]:
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    labels = generate(folder, events)
    command = [sys.executable, str(ROOT / "watchkeep.py"), "ingest", str(folder / "logs")]
    environment = {**os.environ, "WATCHKEEP__ARCHIVE__PATH": str(folder / "archive")}

    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment, cwd=folder)
    return labels


def _alerts(folder: Path) -> tuple[list[tuple[str, str, int, int]], set[str], tuple[float, str]]:
    """Return when every rule of ours fired, which of them are of level low, and the slowest: CPU seconds, name."""
    book = read([PACK], ())
    snapshot = read_snapshot(str(folder / "archive"))
    alerts: list[tuple[str, str, int, int]] = []
    spent: list[tuple[float, str]] = []
    for rule in book.emitting:
        with connect(threads=2, memory_limit_mb=MEMORY_MB) as connection:
            began = time.process_time()
            rows = anchors_of(
                connection,
                snapshot,
                rule,
                book.rules,
                book.routes,
                start_us=BEGIN * 1_000_000,
                end_us=(BEGIN + DAY) * 1_000_000,
            )
            spent.append((time.process_time() - began, rule.name))
        alerts += _spells(rule.name, rows)
    return alerts, {rule.name for rule in book.emitting if rule.level == "low"}, max(spent)


def _spells(
    name: str, rows: Sequence[tuple[int, int, tuple[str, ...], float | None]]
) -> list[tuple[str, str, int, int]]:
    """Return (rule, group, first, last) of each spell of firing: shorter than alerts, so that none hides another."""
    found: dict[tuple[str, ...], list[list[int]]] = defaultdict(list)
    for at_us, _, groups, _ in rows:
        spans = found[groups]
        if spans and at_us - spans[-1][1] <= SPELL_US:
            spans[-1][1] = at_us
        else:
            spans.append([at_us, at_us])
    return [(name, " ".join(groups), first, last) for groups, spans in found.items() for first, last in spans]


def _explains(label: Label, alert: tuple[str, str, int, int]) -> bool:
    """Say whether an alert is about what was planted: at that time, and about somebody who was in it.

    Those in it are still somewhere else, or in a stolen session, for a while afterwards.
    """
    _, group, first, _ = alert
    named = bool(group) and any(who in group.split() for who in label.who)
    until = label.end * 1e6 + (AFTERWARDS_US if named else SLACK_US)
    near = label.start * 1e6 - SLACK_US <= first <= until  # what fired before was not about this
    return near and (named or not group or not label.who)


def _goes_on(label: Label, alert: tuple[str, str, int, int]) -> bool:
    """Say whether an alert that began with this attack, or with one before it, goes on in it."""
    rule, group, first, last = alert
    during = first <= label.end * 1e6 + SLACK_US and last >= label.start * 1e6 - SLACK_US
    return _explains(label, alert) or (
        during and _explains(label, (rule, group, int(label.start * 1e6), last))
    )


def _print(
    labels: Sequence[Label],
    alerts: Sequence[tuple[str, str, int, int]],
    low: set[str],
    spent: float,
    events: int,
) -> None:
    attacks = [label for label in labels if label.attack]
    true = [a for a in alerts if any(_explains(label, a) for label in attacks)]
    false = [a for a in alerts if a not in true]
    rows: list[list[str]] = []
    total = 0
    for family, (rules, _, _) in FAMILIES.items():
        mine = [label for label in attacks if label.family == family]
        others = [label for label in labels if label.family == family and not label.attack]
        found = sum(any(_goes_on(label, a) and a[0] in rules for a in true) for label in mine)
        fooled = sum(any(_explains(label, a) and a[0] in rules for a in false) for label in others)
        rows.append([family, f"{found} of {len(mine)}", f"{fooled} of {len(others)}"])
        total += found
    noise = sum(a[0] in low for a in false)
    told = f"{len(false) - noise} alerts that no attack explains, and {noise} of level low"
    rows.append(["all", f"{total} of {len(attacks)}", told])
    table(f"Attacks in a day of {events:,} events", ("family", "found", "look-alikes taken for one"), rows)
    for alert in sorted(a for a in false if a[0] not in low)[:SHOWN_FALSE]:
        print(f"  false: {alert[0]} {alert[1]} at {time.strftime('%H:%M', time.gmtime(alert[2] / 1e6))}")
    print(f"  all rules over all events: {spent:.1f} s of CPU, {events / spent:,.0f} events a second a core")


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.attacks", description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="ordinary events of the day (200000)")
    parser.add_argument(
        "--again", action="store_true", help="over the archive of the last run: for trying rules"
    )
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.events, again=given.again)
    return 0


if __name__ == "__main__":
    sys.exit(main())

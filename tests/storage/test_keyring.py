"""API keys: what opens, what does not, and what is on the disk."""

import os
import random
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import KeyringError
from storage.keyring import TOKEN, USE_GRAIN_US, Keyring
from tests.storage.power import PowerDisk

NOW_US = 1_780_315_200_000_000
DAY_US = 86_400_000_000
TEARS = 8  # ways in which a power cut may leave what was not synced


def test_a_key_opens_until_it_expires_or_is_revoked() -> None:
    """At the microsecond, and in every process that reads the file."""
    ring = Keyring()
    key, token = ring.create("ops", "admin", now_us=NOW_US, expires_us=NOW_US + DAY_US)
    assert ring.find(token, NOW_US + DAY_US - 1) == key
    assert ring.find(token, NOW_US + DAY_US) is None
    _, other = ring.create("other", "viewer", now_us=NOW_US)
    ring.revoke("other", now_us=NOW_US + 1)
    assert ring.find(other, NOW_US + 1) is None
    assert ring.in_use


@given(st.text(max_size=80))
def test_nothing_but_the_token_opens(text: str) -> None:
    """Neither any text, nor the id with another secret, nor the token with anything around it."""
    ring = Keyring()
    key, token = ring.create("ops", "admin", now_us=NOW_US)
    assert ring.find(text, NOW_US) is None
    assert ring.find(f"wk_{key.id}_{text}", NOW_US) is None
    if text:
        assert ring.find(token + text, NOW_US) is None
        assert ring.find(text + token, NOW_US) is None


def test_the_file_holds_hashes_and_is_its_owners_alone(tmp_path: Path) -> None:
    """Whoever reads it can use nothing of it; another process that reads it knows the same keys."""
    path = tmp_path / "nodes" / "main" / "keys.json"
    ring = Keyring.open(str(path))
    assert not ring.in_use
    key, token = ring.create("ops", "auditor", now_us=NOW_US, scopes=("sql",), user="7", tenant=None)
    secret = TOKEN.fullmatch(token)
    assert secret is not None
    assert secret[2] not in path.read_text()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert Keyring.open(str(path)).find(token, NOW_US) == key
    assert Keyring.open(str(path)).pseudonym_secret == ring.pseudonym_secret
    assert os.listdir(path.parent) == ["keys.json"]


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"format":1,"pseudonym_secret":"00","keys":[{}]}', b'{"format":2}']
)
def test_a_damaged_file_is_an_error(tmp_path: Path, body: bytes) -> None:
    """Taking it for no keys would make everybody on the machine an administrator."""
    path = tmp_path / "keys.json"
    path.write_bytes(body)
    with pytest.raises(KeyringError):
        Keyring.open(str(path))


def test_a_power_cut_leaves_the_keys_that_were_told() -> None:
    """At every operation of a write: never half a file, never none where there was one, and no key lost that was shown."""
    disk = PowerDisk()
    ring = Keyring("/archive/nodes/keys.json", disk)
    told: list[str] = []
    for name in ("first", "second", "third"):
        told.append(ring.create(name, "admin", now_us=NOW_US)[1])
        disk.mark(tuple(told))
    points = 0
    for _, state, promised in disk.crash_points():
        for seed in range(TEARS):
            crashed = state.clone()
            crashed.cut(random.Random(seed))
            found = Keyring.open("/archive/nodes/keys.json", crashed)
            assert all(found.find(token, NOW_US) for token in promised)
            points += 1
    assert points > TEARS * 10


def test_the_last_use_is_kept_by_the_hour() -> None:
    """One write of the file an hour, not one a request."""
    ring = Keyring()
    key, _ = ring.create("ops", "admin", now_us=NOW_US)
    ring.note_use(key.id, NOW_US + 5)
    (noted,) = ring.records()
    assert noted.used_us == NOW_US // USE_GRAIN_US * USE_GRAIN_US
    assert not ring.stale(noted, NOW_US + USE_GRAIN_US - 1)
    assert ring.stale(noted, NOW_US + USE_GRAIN_US)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"name": "", "role": "admin"}, "cannot name"),
        ({"name": "a\nb", "role": "admin"}, "cannot name"),
        ({"name": "a", "role": "root"}, "no role"),
        ({"name": "a", "role": "auditor", "scopes": ["all"]}, "no scope"),
        ({"name": "a", "role": "viewer", "scopes": ["export"]}, "can have no scope"),
        ({"name": "a", "role": "auditor", "scopes": ["sql"], "tenant": "x"}, "every tenant"),
        ({"name": "a", "role": "admin", "expires_us": NOW_US}, "expired already"),
        ({"name": "a", "role": "admin", "tenant": ""}, "empty"),
        ({"name": "taken", "role": "admin"}, "there is an active key"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(given_: dict[str, object], said: str) -> None:
    """Each with what to do instead."""
    ring = Keyring()
    ring.create("taken", "viewer", now_us=NOW_US)
    with pytest.raises(KeyringError, match=said):
        ring.create(now_us=NOW_US, **given_)  # type: ignore[arg-type]


def test_pseudonyms_outlive_a_restart_without_keys(tmp_path: Path) -> None:
    """Users that a proxy names need no key; a file that is there is not written again."""
    path = str(tmp_path / "keys.json")
    ring = Keyring.open(path)
    ring.keep_secret()
    again = Keyring.open(path)
    assert (again.pseudonym_secret, again.in_use) == (ring.pseudonym_secret, False)
    again.create("ops", "admin", now_us=NOW_US)
    ring.keep_secret()
    assert Keyring.open(path).in_use


def test_a_lent_key_is_in_memory_only(tmp_path: Path) -> None:
    """It ends by itself, is in no list, and counts as no key that somebody made."""
    ring = Keyring.open(str(tmp_path / "keys.json"))
    token = ring.lend("me", now_us=NOW_US, expires_us=NOW_US + 10)
    found = ring.find(token, NOW_US + 9)
    assert found is not None
    assert (found.role, ring.lent(found.id)) == ("admin", True)
    assert ring.find(token, NOW_US + 10) is None
    assert (list(ring.records()), ring.in_use, os.listdir(tmp_path)) == ([], False, [])

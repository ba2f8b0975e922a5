"""API keys: made once, shown once, kept as hashes in a file that only the daemon's user may read.

A key is ``wk_<id>_<secret>``. The secret has 256 random bits, so one round of SHA-256 is enough to keep: nobody can
try even a tiny part of what it could be, and a slow hash would only let strangers keep the daemon busy. The file is
written whole and renamed; the process that holds the node's lock is the only one that writes it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
from base64 import b32encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from storage.errors import KeyringError
from storage.fs import Disk, Fs, makedirs, replacing
from storage.roles import ADMIN, AUDITOR, DEFAULT_SCOPES, ROLES, SCOPES, Role, allows

PREFIX = "wk_"
ID_BYTES = 5  # 8 characters: names a key, is no secret
SECRET_BYTES = 32  # 256 bits, 52 characters
PSEUDONYM_BYTES = 32  # of the secret by which masked values become pseudonyms
TOKEN = re.compile(r"wk_([a-z2-7]{8})_([a-z2-7]{52})")
NAME = re.compile(r"[\w][\w .@:+-]{0,63}")
FORMAT = 1
USE_GRAIN_US = (
    3600 * 1_000_000
)  # how coarse the time of the last use is: one write of the file an hour and key
MAX_KEYS = 10_000  # records, revoked ones included; the file is read and written whole
_TEMPORARY = ".tmp"
_NOBODY = hashlib.sha256(b"").hexdigest()  # what an unknown id is compared with, so that it takes as long


@dataclass(frozen=True, slots=True)
class Key:
    """One key as it is kept. Times are microseconds since 1970, UTC; ``digest`` is the secret's SHA-256 in hex."""

    id: str
    name: str
    role: Role
    digest: str
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    user: str | None = None  # whose events `/events/me` shows
    tenant: str | None = None  # the only tenant whose events it sees
    created_us: int = 0
    created_by: str = ""
    expires_us: int | None = None
    revoked_us: int | None = None
    used_us: int | None = None  # by the hour

    def state(self, now_us: int) -> str:
        """Return ``active``, ``expired`` or ``revoked``."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and now_us >= self.expires_us else "active"

    def shown(self, now_us: int) -> dict[str, Any]:
        """Return what may be told about it: everything but the digest."""
        facts = asdict(self)
        del facts["digest"]
        return {**facts, "scopes": list(self.scopes), "state": self.state(now_us)}


class Keyring:
    """All keys of one node. Thread-safe; what changes something writes the file and so blocks."""

    def __init__(self, path: str | None = None, fs: Fs | None = None) -> None:
        self._path = path
        self._fs: Fs = fs or Disk()
        self._lock = threading.Lock()
        self._keys: dict[str, Key] = {}
        self._lent: dict[str, Key] = {}  # for a while, in memory only
        self.pseudonym_secret = secrets.token_bytes(PSEUDONYM_BYTES)

    @classmethod
    def open(cls, path: str, fs: Fs | None = None) -> Keyring:
        """Read the keys; no file means no keys. Raises KeyringError for a file that cannot be understood."""
        ring = cls(path, fs)
        ring.reload()
        return ring

    def reload(self) -> None:
        """Read the file again; on KeyringError what is known stays."""
        if self._path is None:
            return
        try:
            body = self._fs.read(self._path)
        except FileNotFoundError:
            with self._lock:
                self._keys = {}
            return
        secret, keys = _decoded(body, self._path)
        with self._lock:
            self.pseudonym_secret = secret
            self._keys = {key.id: key for key in keys}

    def keep_secret(self) -> None:
        """Write the file if there is none, so that pseudonyms stay the same after a restart though there are no keys."""
        with self._lock:
            if self._path is not None and self._fs.size(self._path) is None:
                self._replace(self._keys)

    @property
    def in_use(self) -> bool:
        """Whether any key was ever made. An expired or revoked one counts: access must not open by itself."""
        return bool(self._keys)

    def records(self) -> Sequence[Key]:
        """Return every key, oldest first."""
        return sorted(self._keys.values(), key=lambda key: (key.created_us, key.id))

    def find(self, token: str, now_us: int) -> Key | None:
        """Return the active key of a token, or None. An unknown id takes as long as a wrong secret."""
        parts = TOKEN.fullmatch(token)
        key = self._known(parts[1]) if parts else None
        given = hashlib.sha256((parts[2] if parts else token).encode("utf-8", "surrogatepass")).hexdigest()
        same = hmac.compare_digest(given, key.digest if key else _NOBODY)
        return key if key is not None and same and key.state(now_us) == "active" else None

    def active(self, key_id: str, now_us: int) -> Key | None:
        """Return a key by its id if it may still be used: what a session that it began asks at each request."""
        key = self._known(key_id)
        return key if key is not None and key.state(now_us) == "active" else None

    def _known(self, key_id: str) -> Key | None:
        return self._keys.get(key_id) or self._lent.get(key_id)

    def create(
        self,
        name: str,
        role: str,
        *,
        now_us: int,
        by: str = "",
        scopes: Iterable[str] | None = None,
        user: str | None = None,
        tenant: str | None = None,
        expires_us: int | None = None,
    ) -> tuple[Key, str]:
        """Make a key and return it with its token, which cannot be had again. Raises KeyringError, OSError."""
        key, token = _made(name, role, scopes=scopes, user=user, tenant=tenant, expires_us=expires_us)
        key = replace(key, created_us=now_us, created_by=by)
        if expires_us is not None and expires_us <= now_us:
            raise KeyringError("the key would have expired already", hint="give a time ahead, such as 90d")
        with self._lock:
            if any(other.name == name and other.state(now_us) == "active" for other in self._keys.values()):
                raise KeyringError(
                    f"there is an active key called {name!r}", hint="take another name, or revoke that first"
                )
            if len(self._keys) >= MAX_KEYS:
                raise KeyringError(f"there are {MAX_KEYS} keys", hint="remove revoked ones from the file")
            self._replace({**self._keys, key.id: key})
        return key, token

    def revoke(self, name: str, *, now_us: int) -> Key:
        """End a key, by its id or its name, at once. Raises KeyringError if there is no such active key."""
        with self._lock:
            found = self._keys.get(name) or next(
                (k for k in self._keys.values() if k.name == name and k.revoked_us is None), None
            )
            if found is None or found.revoked_us is not None:
                raise KeyringError(f"there is no key {name!r} to revoke", hint="see watchkeep keys list")
            ended = replace(found, revoked_us=now_us)
            self._replace({**self._keys, found.id: ended})
        return ended

    def lend(self, name: str, *, now_us: int, expires_us: int) -> str:
        """Return the token of an administrator's key that lives in memory only: for this machine's commands."""
        key, token = _made(name, ADMIN, scopes=SCOPES, user=None, tenant=None, expires_us=expires_us)
        with self._lock:
            live = {k: v for k, v in self._lent.items() if v.state(now_us) == "active"}
            self._lent = {**live, key.id: key}
        return token

    def lent(self, key_id: str) -> bool:
        """Say whether a key was lent to a command of this machine."""
        return key_id in self._lent

    def stale(self, key: Key, now_us: int) -> bool:
        """Say whether the time of the last use should be noted: once an hour."""
        return key.id in self._keys and now_us // USE_GRAIN_US * USE_GRAIN_US != key.used_us

    def note_use(self, key_id: str, now_us: int) -> None:
        """Keep the hour in which a key was used."""
        with self._lock:
            key = self._keys.get(key_id)
            if key is not None and self.stale(key, now_us):
                self._replace(
                    {**self._keys, key_id: replace(key, used_us=now_us // USE_GRAIN_US * USE_GRAIN_US)}
                )

    def _replace(self, keys: dict[str, Key]) -> None:
        """Write the whole file under another name, then take the name over; memory follows the disk."""
        if self._path is not None:
            body = _encoded(self.pseudonym_secret, keys.values())
            makedirs(self._fs, os.path.dirname(self._path))
            with replacing(self._fs, self._path, self._path + _TEMPORARY, private=True) as handle:
                handle.write(body)
        self._keys = keys


def _made(
    name: str,
    role: str,
    *,
    scopes: Iterable[str] | None,
    user: str | None,
    tenant: str | None,
    expires_us: int | None,
) -> tuple[Key, str]:
    if NAME.fullmatch(name) is None:
        raise KeyringError(
            f"{name!r} cannot name a key", hint="letters, digits, spaces and . @ : + - _, at most 64"
        )
    if role not in ROLES:
        raise KeyringError(f"there is no role {role!r}", hint=f"one of {', '.join(ROLES)}")
    chosen = tuple(dict.fromkeys(DEFAULT_SCOPES if scopes is None else scopes))
    unknown = next((scope for scope in chosen if scope not in SCOPES), None)
    if unknown is not None:
        raise KeyringError(f"there is no scope {unknown!r}", hint=f"one of {', '.join(SCOPES)}")
    if not allows(role, AUDITOR):
        if scopes is not None and chosen:
            raise KeyringError(f"a {role} can have no scope", hint="scopes belong to auditor and admin")
        chosen = ()
    if "sql" in chosen and tenant is not None:
        raise KeyringError(
            "a key of one tenant cannot have the scope sql", hint="a statement could read every tenant"
        )
    if "" in {user, tenant}:
        raise KeyringError("the user or the tenant is empty", hint="leave the option out for none")
    key_id, secret = _random(ID_BYTES), _random(SECRET_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    key = Key(key_id, name, role, digest, chosen, user, tenant, expires_us=expires_us)
    return key, f"{PREFIX}{key_id}_{secret}"


def _random(size: int) -> str:
    return b32encode(secrets.token_bytes(size)).decode().rstrip("=").lower()


def _encoded(secret: bytes, keys: Iterable[Key]) -> bytes:
    body = {"format": FORMAT, "pseudonym_secret": secret.hex(), "keys": [asdict(key) for key in keys]}
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _decoded(body: bytes, path: str) -> tuple[bytes, list[Key]]:
    """Return what a file holds. One that cannot be understood is an error: guessing would open or close doors."""
    hint = "restore it from a copy; without the file there are no keys, and new ones must be made"
    try:
        read = orjson.loads(body)
        if read["format"] > FORMAT:
            raise KeyringError(
                "the keys were written by a newer release", where=path, hint="use that release"
            )
        entries: list[dict[str, Any]] = read["keys"]
        keys = [replace(Key(**entry), scopes=tuple(entry["scopes"])) for entry in entries]
        secret = bytes.fromhex(read["pseudonym_secret"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KeyringError("the file of keys is damaged", where=path, hint=hint) from error
    if any(key.role not in ROLES or len(key.digest) != len(_NOBODY) for key in keys):
        raise KeyringError("a key in the file of keys has no role or no digest", where=path, hint=hint)
    return secret, keys

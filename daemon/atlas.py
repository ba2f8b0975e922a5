"""The GeoIP databases: private copies of the configured files, looked at now and then, exchanged while lines are read.

A database file is never read where the operator keeps it: the reader maps it into memory, and a map of a file that is
rewritten in place kills the process. So it is copied into the node's own folder, opened and tried there, and only then
put in the place of the one before. A new file that cannot be used changes nothing but what is complained about.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import maxminddb

from parsers.geography import Location, Lookup, location_of
from storage.observer import Observer

DAY_SECONDS = 86_400
ADDRESSES_KNOWN = 65_536  # addresses whose place is remembered: 10 MB, and most batches ask for no other
SETTLED_SECONDS = 2.0  # a file that was written to more recently may still be being copied
TRIED: Final = ("192.0.2.1", "8.8.8.8", "2001:db8::1")  # asked of a new file before it is trusted

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AtlasOptions:
    """Where the databases are. ``stale_days`` is the age above which they are complained about."""

    database: str | None = None
    asn_database: str | None = None
    stale_days: int = 45
    embedded: bool = True

    @property
    def paths(self) -> Iterator[tuple[str, str]]:
        """The configured files by what they are for."""
        for use, path in (("place", self.database), ("asn", self.asn_database)):
            if path is not None:
                yield use, path


@dataclass(frozen=True, slots=True)
class Edition:
    """A database that is in use: its kind, the Unix time it was built at, and the identity of the file it came from."""

    reader: maxminddb.Reader
    kind: str
    built: int
    stamp: tuple[int, int, int]

    def record(self, address: str) -> Mapping[str, Any]:
        """Return what it says about an address; nothing when that is not in it."""
        try:
            found = self.reader.get(
                address
            )  # geoip2's models cost ten times as much and refuse the flat editions
        except ValueError:  # an IPv6 address in a file of IPv4 alone
            return {}
        return found if isinstance(found, Mapping) else {}


Countries = Callable[[str], str | None]
"""Takes an address and returns the code of a country."""


class Atlas:
    """Knows where addresses lie. `lookup` may be called from any thread, `refresh` from one at a time; it blocks."""

    def __init__(self, options: AtlasOptions, folder: str, observer: Observer) -> None:
        self._options = options
        self._folder = folder
        self._observer = observer
        self._editions: dict[str, Edition] = {}
        self._refused: dict[str, tuple[int, int, int]] = {}  # files that could not be used, by identity
        self.troubles: dict[str, str] = {}
        self._embedded = embedded() if options.embedded and options.database is None else None
        self._find = self._finder()

    def lookup(self, address: str) -> Location | None:
        """Return what is known of an address; None when nothing knows it."""
        return self._find(address)

    def refresh(self) -> bool:
        """Take over files that changed; returns whether one was. Blocks."""
        changed = False
        for use, path in self._options.paths:
            try:
                changed |= self._renew(use, path)
            except (OSError, ValueError, maxminddb.InvalidDatabaseError) as error:
                self._complain(use, path, error)
        if changed:
            self._find = self._finder()
        self._measure()
        return changed

    def close(self) -> None:
        """Let go of the files."""
        self._find = lru_cache(maxsize=1)(lambda _address: None)
        for edition in self._editions.values():
            edition.reader.close()
        self._editions.clear()

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Yield what is wrong: a code and a sentence."""
        for use, trouble in self.troubles.items():
            yield f"{use}_database", trouble
        for use, edition in self._editions.items():
            if (age := _age_days(edition)) > self._options.stale_days:
                yield (
                    f"{use}_database_old",
                    f"the {edition.kind} database was built {age:.0f} days ago: fetch a newer edition",
                )

    def status(self) -> dict[str, Any]:
        """Return what is in use, for `/status`."""
        shown: dict[str, Any] = {
            use: {"kind": edition.kind, "built": edition.built, "age_days": round(_age_days(edition), 1)}
            for use, edition in self._editions.items()
        }
        if self._embedded is not None:
            shown["embedded"] = True
        return shown

    def _renew(self, use: str, path: str) -> bool:
        info = os.stat(path)
        stamp = (info.st_ino, info.st_size, info.st_mtime_ns)
        current = self._editions.get(use)
        if current is not None and current.stamp == stamp:
            self.troubles.pop(use, None)
            return False
        settling = current is not None and time.time() - info.st_mtime < SETTLED_SECONDS
        if self._refused.get(use) == stamp or settling:
            return False
        try:
            edition = self._taken(use, path, stamp)
        except (ValueError, maxminddb.InvalidDatabaseError):
            self._refused[use] = stamp  # it will not get better: another file has another identity
            raise
        self._editions[use] = edition
        self.troubles.pop(use, None)
        self._observer.count("place_database_changes", use=use)
        _log.info("a GeoIP database is in use", extra={"use": use, "kind": edition.kind, "path": path})
        # The reader before it is closed when the last batch that asks it is done: nobody else holds it then.
        return True

    def _taken(self, use: str, path: str, stamp: tuple[int, int, int]) -> Edition:
        """Copy a file, try the copy, and give it its name; the reader keeps what it opened."""
        os.makedirs(self._folder, exist_ok=True)
        staged = os.path.join(self._folder, f"{use}.new")
        try:
            shutil.copyfile(path, staged)
            after = os.stat(path)
            if (after.st_ino, after.st_size, after.st_mtime_ns) != stamp:
                raise OSError("it changed while it was copied")
            reader = maxminddb.open_database(staged)
            try:
                meta = reader.metadata()
                edition = Edition(reader, meta.database_type, meta.build_epoch, stamp)
                for address in TRIED:
                    location_of(edition.record(address))
            except BaseException:
                reader.close()
                raise
            os.replace(staged, os.path.join(self._folder, f"{use}.mmdb"))
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged)
        return edition

    def _complain(self, use: str, path: str, error: Exception) -> None:
        kept = "the one before stays in use" if use in self._editions else "events get no place from it"
        told = f"the database {path} cannot be used ({error}); {kept}"
        if self.troubles.get(use) != told:
            _log.error(
                "a GeoIP database cannot be used", extra={"use": use, "path": path, "reason": str(error)}
            )
        self.troubles[use] = told

    def _finder(self) -> Lookup:
        """A new function for each set of databases, so that nothing remembered outlives the one it came from."""
        editions = dict(self._editions)
        inside = self._embedded if "place" not in editions else None

        @lru_cache(maxsize=ADDRESSES_KNOWN)
        def find(address: str) -> Location | None:
            found = Location()
            if (edition := editions.get("place")) is not None:
                found = location_of(edition.record(address))
            elif inside is not None:
                found = Location(country_code=inside(address))
            if (edition := editions.get("asn")) is not None:
                number = location_of(edition.record(address)).asn
                found = replace(found, asn=found.asn if number is None else number)
            return None if found == Location() else found

        return find

    def _measure(self) -> None:
        for use, edition in self._editions.items():
            self._observer.gauge("place_database_built_timestamp_seconds", edition.built, use=use)


def _age_days(edition: Edition) -> float:
    return max(0.0, time.time() - edition.built) / DAY_SECONDS


def embedded() -> Countries | None:
    """Return the small database of countries that comes as the extra `places`; None where it is not installed."""
    try:
        from iptocc import country_code
    except ImportError:
        return None
    return country_code

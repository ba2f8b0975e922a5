"""GeoIP databases: copied, tried, exchanged while the daemon reads, and never the end of it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import geoip2.database
import geoip2.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPNetwork, IPSet

from daemon.atlas import Atlas, AtlasOptions
from daemon.doctor import databases
from daemon.findings import Patient
from daemon.sections.places import Places
from daemon.settings import Settings
from parsers.geography import Location
from storage.observer import Silent
from tests.daemon.test_service import serving


def nested(country: str, city: str = "Town") -> dict[str, Any]:
    return {
        "country": {"iso_code": country, "geoname_id": 1, "names": {"en": country}},
        "city": {"geoname_id": 2, "names": {"en": city}},
        "location": {"latitude": 1.5, "longitude": -2.5, "accuracy_radius": 10},
    }


def write(path: Path, networks: dict[str, Any], kind: str = "GeoLite2-City") -> Path:
    """Write a database as its makers do, in the place of what is there."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind, languages=["en"])
    for network, record in networks.items():
        writer.insert_network(IPSet([IPNetwork(network)]), record)
    fresh = path.with_suffix(".fresh")
    writer.to_db_file(str(fresh))
    settled = time.time() - 60  # it lies there for a while
    os.utime(fresh, (settled, settled))
    fresh.replace(path)
    return path


def atlas(folder: Path, **options: Any) -> Atlas:
    made = Atlas(AtlasOptions(**options), str(folder / "copies"), Silent())
    made.refresh()
    return made


def test_an_address_is_looked_up_in_both_databases(tmp_path: Path) -> None:
    """The place from one, the network's number from the other."""
    places = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP", "Osaka")})
    numbers = write(
        tmp_path / "asn.mmdb", {"203.0.113.0/24": {"autonomous_system_number": 64500}}, "GeoLite2-ASN"
    )
    made = atlas(tmp_path, database=str(places), asn_database=str(numbers))
    assert made.lookup("203.0.113.9") == Location("JP", "Osaka", 1.5, -2.5, 64500)
    assert made.lookup("198.51.100.1") is None
    assert made.status()["place"]["kind"] == "GeoLite2-City"
    assert list(made.complaints()) == []
    made.close()


@settings(max_examples=20, deadline=None)
@given(networks=st.sets(st.integers(0, 255), min_size=1, max_size=8), asked=st.lists(st.integers(0, 255)))
def test_every_answer_is_that_of_the_makers_own_library(
    networks: set[int], asked: list[int], tmp_path_factory: Any
) -> None:
    """geoip2's typed models, over the same file."""
    folder = tmp_path_factory.mktemp("atlas")
    written = {f"203.{n}.0.0/16": nested("JP" if n % 2 else "DE", f"Town {n}") for n in networks}
    path = write(folder / "city.mmdb", written)
    made = atlas(folder, database=str(path))
    with geoip2.database.Reader(str(path)) as theirs:
        for n in asked:
            address = f"203.{n}.7.7"
            found = made.lookup(address)
            try:
                expected = theirs.city(address)
            except geoip2.errors.AddressNotFoundError:
                assert found is None
                continue
            assert found == Location(
                expected.country.iso_code,
                expected.city.name,
                expected.location.latitude,
                expected.location.longitude,
            )
    made.close()


def test_a_new_edition_is_taken_over_and_an_unusable_one_is_not(tmp_path: Path) -> None:
    """What was in use stays in use until something better is there, and the complaint ends with it."""
    path = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP")})
    made = atlas(tmp_path, database=str(path))
    path.write_bytes(b"no database")
    settled = time.time() - 60
    os.utime(path, (settled, settled))
    assert not made.refresh()
    assert made.lookup("203.0.113.9") is not None
    assert [code for code, _ in made.complaints()] == ["place_database"]
    write(path, {"203.0.113.0/24": nested("KR")})
    assert made.refresh()
    found = made.lookup("203.0.113.9")
    assert found is not None
    assert found.country_code == "KR"
    assert list(made.complaints()) == []
    assert not made.refresh()
    made.close()


def test_a_file_that_is_emptied_in_place_does_no_harm(tmp_path: Path) -> None:
    """What a copy over it does; with a map of that very file the process would die."""
    path = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP")})
    made = atlas(tmp_path, database=str(path))
    with path.open("r+b") as file:
        file.truncate(0)
    made.refresh()
    for n in range(256):
        assert made.lookup(f"203.0.113.{n}") is not None
    made.close()


def test_an_old_or_missing_database_is_complained_about(tmp_path: Path) -> None:
    """With its age, or with what is wrong."""
    path = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP")})
    made = Atlas(
        AtlasOptions(str(path), str(tmp_path / "none.mmdb"), stale_days=0), str(tmp_path / "c"), Silent()
    )
    made.refresh()
    codes = {code for code, _ in made.complaints()}
    assert codes == {"asn_database", "place_database_old"}
    assert made.lookup("203.0.113.9") is not None
    made.close()


def test_doctor_says_which_database_is_there_and_which_cannot_be_read(tmp_path: Path) -> None:
    """Its kind and age, or what is wrong and what to do."""
    path = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP")})
    (tmp_path / "asn.mmdb").write_bytes(b"no database")
    places = Places(database=str(path), asn_database=str(tmp_path / "asn.mmdb"))
    good, bad = databases(Patient(Settings(places=places), None))
    assert good.state == "ok"
    assert "GeoLite2-City" in good.what
    assert bad.state == "failed"
    assert "fetch it again" in bad.fix


def test_without_a_database_countries_come_from_the_embedded_one(tmp_path: Path) -> None:
    """Where the package is installed and not refused; private addresses lie nowhere."""
    pytest.importorskip("iptocc")
    made = atlas(tmp_path)
    assert made.lookup("8.8.8.8") == Location(country_code="US")
    assert made.lookup("10.0.0.1") is None
    assert made.status() == {"embedded": True}
    assert atlas(tmp_path, embedded=False).lookup("8.8.8.8") is None


def test_a_running_daemon_gives_events_their_place_and_takes_a_new_edition(tmp_path: Path) -> None:
    """From a line in a file to a filter by country; the client behind a proxy is the one that is looked up."""
    path = write(tmp_path / "city.mmdb", {"203.0.113.0/24": nested("JP", "Osaka")})
    environment = {
        "WATCHKEEP__PLACES__DATABASE": str(path),
        "WATCHKEEP__PLACES__CHECK_SECONDS": "1",
        "WATCHKEEP__PLACES__TRUSTED_PROXIES": '["10.0.0.0/8"]',
    }
    with serving(tmp_path, **environment) as daemon:
        line = {"level": "info", "request": {"ip": "10.1.2.3", "headers": {"X-Forwarded-For": "203.0.113.7"}}}
        with (daemon.logs / "app.jsonl").open("a") as file:
            file.write(json.dumps({**line, "eventId": "one"}) + "\n")
        (found,) = daemon.until_events(1)
        assert found["location"]["country"] == "JP"
        assert found["request"]["ip"] == "203.0.113.7"
        assert found["extra"] == {"proxy_ip": "10.1.2.3"}
        assert daemon.get("/events?country=JP&ip=203.0.113.0/24")["total"] == 1
        write(path, {"203.0.113.0/24": nested("KR", "Busan")})
        ends = time.monotonic() + 30
        while 'place_database_changes_total{use="place"} 2' not in daemon.metrics():
            assert time.monotonic() < ends
            time.sleep(0.1)
        with (daemon.logs / "app.jsonl").open("a") as file:
            file.write(json.dumps({**line, "eventId": "two"}) + "\n")
        daemon.until_events(2)
        assert daemon.get("/events?country=KR")["data"][0]["eventId"] == "two"
        assert daemon.get("/status")["places"]["place"]["kind"] == "GeoLite2-City"

"""What a place costs: the same lines read without and with a GeoIP database, each address in it, few and many of them."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path

from mmdb_writer import MMDBWriter
from netaddr import IPNetwork, IPSet

from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, ratio, table
from daemon.atlas import Atlas, AtlasOptions
from parsers.batch import Chunk, Mark, Place, Source
from parsers.geography import Lookup
from storage.observer import Silent
from storage.transform import ParseOptions, Transformer

EVENTS = 100_000
BATCH = 20_000
NETWORKS = 20_000
SHARES = (0.01, 0.33, 0.8)  # distinct addresses in a batch, as a share of its events
SEED = 20_260_301


def measure(data: Path) -> None:
    """Print the table."""
    folder = data / "places"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chance = random.Random(SEED)
    numbers = chance.sample(range(1 << 16, 1 << 24), NETWORKS)  # the first three octets of each
    database = _database(folder / "city.mmdb", numbers, chance)
    rows: list[list[str]] = []
    for share in SHARES:
        pool = [
            f"{_octets(chance.choice(numbers))}.{chance.randrange(256)}"
            for _ in range(max(1, round(BATCH * share)))
        ]
        stock = [_placeless(line, chance.choice(pool)) for line in lines(EVENTS)]
        atlas = Atlas(AtlasOptions(str(database)), str(folder / "copies"), Silent())
        atlas.refresh()
        without, _ = _spent(stock, None)
        with_places, placed = _spent(stock, atlas.lookup)
        atlas.close()
        each = 1e6 / EVENTS
        rows.append([
            f"{share:.0%}",
            f"{placed:.0%}",
            f"{without * each:.2f}",
            f"{with_places * each:.2f}",
            f"{(with_places - without) * each:.2f}",
            ratio(with_places - without, without),
        ])  # fmt: skip
    heads = ("distinct addresses", "placed", "reading, µs", "with places, µs", "more, µs", "more / reading")
    table(f"Places: µs of CPU an event, a city database of {NETWORKS:,} networks", heads, rows)


def _database(path: Path, numbers: list[int], chance: random.Random) -> Path:
    writer = MMDBWriter(ip_version=4, database_type="GeoLite2-City", languages=["en"])
    for number in sorted(numbers):
        network = IPNetwork(f"{_octets(number)}.0/24")
        record = {
            "country": {"iso_code": chance.choice(("DE", "JP", "US", "BR")), "geoname_id": number},
            "city": {"names": {"en": f"Town {number}"}, "geoname_id": number},
            "location": {"latitude": chance.uniform(-80, 80), "longitude": chance.uniform(-170, 170)},
        }
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return path


def _octets(number: int) -> str:
    return f"{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _placeless(line: bytes, address: str) -> bytes:
    event = json.loads(line)
    event.pop("location", None)
    event["request"] = {**(event.get("request") or {}), "ip": address}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _spent(stock: list[bytes], lookup: Lookup | None) -> tuple[float, float]:
    """Return the CPU seconds of reading all lines after a first batch, and the share of events with a country."""
    transformer = Transformer(ParseOptions(), lookup)
    source = Source("0" * 32, "app.jsonl", 0, None, "native", False)
    offset, placed, spent = 0, 0, 0.0
    for begin in range(0, len(stock), BATCH):
        data = b"".join(stock[begin : begin + BATCH])
        mark = Mark("", 0, "", 0, "", offset)
        chunk = Chunk(source, offset, offset + len(data), data, mark, Place("", 0, 0, None, 0))
        offset = chunk.end
        if begin == 0:
            transformer.parse([chunk])  # the shape is learned
        started = time.process_time()
        events = transformer.parse([chunk]).events
        spent += time.process_time() - started
        placed += len(events) - events["country_code"].null_count
    transformer.close()
    return spent, placed / len(stock)


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.places", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data)
    return 0


if __name__ == "__main__":
    sys.exit(main())

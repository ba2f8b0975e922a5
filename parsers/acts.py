"""What habits are told of a batch: who did what when, from where and with what, as keys and numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, numbers, pc, true, valid
from parsers.keyed import Hashes, Keyed

MICROSECONDS: Final = 1_000_000
NAME_PREFIX: Final = "name:"  # of the key of a user who has a name and no id, as in roll-ups
IPV4_NETWORK_BYTES, IPV6_NETWORK_BYTES = 15, 6  # of the sixteen of an address: a /24, a /48
_MAPPED_BYTES: Final = 12  # of the sixteen that say that it is IPv4
_VERSIONS: Final = re.compile(r"\d[\d._]*")  # in a user agent: an update makes no new device


@dataclass(frozen=True, slots=True)
class Acts:
    """The events of users in a batch, in the order of the stream: one entry an event in every column.

    ``logins`` is 1 for a failed authentication, 2 for one that succeeded,
    else 0. ``seconds`` are since 1970, ``read_days`` the days on which events were read. Positions may be NaN.
    """

    users: Keyed
    seconds: Int64s
    read_days: Int64s
    countries: Keyed
    networks: Keyed
    devices: Keyed
    actions: Keyed
    addresses: Keyed
    logins: npt.NDArray[np.int8]
    succeeded: Mask
    latitude: npt.NDArray[np.float64]
    longitude: npt.NDArray[np.float64]


def _user_texts(columns: dict[str, Array]) -> Array:
    """Return what names each event's user: its id, or else its name."""
    ids, names = columns["user_id"], columns["username"]
    if names.null_count < len(names) and ids.null_count:
        named = pc.binary_join_element_wise(NAME_PREFIX, names, "")
        ids = pc.coalesce(ids, named)
    return ids


class ActReader:
    """Reads acts of events. Hashes are remembered from batch to batch."""

    def __init__(self) -> None:
        self._texts = Hashes(str.encode)
        self._addresses = Hashes(bytes)
        self._networks = Hashes(_network)
        self._devices = Hashes(_device)

    def read(self, columns: dict[str, Array], wanted: Mask, read_days: Int64s) -> tuple[Int64s, Acts]:
        """Return which of the wanted events have a user, and their acts."""
        users = self._texts.column(_user_texts(columns))
        people = np.flatnonzero(wanted & users.there)
        outcome = columns["outcome"]
        failed = true(pc.equal(outcome, "failure")) | true(pc.equal(outcome, "denied"))
        succeeded = true(pc.equal(outcome, "success"))
        logging_in = true(pc.equal(columns["category"], "authentication")) | true(
            pc.equal(columns["action"], "login")
        )
        logins = np.where(logging_in & failed, 1, np.where(logging_in & succeeded, 2, 0)).astype(np.int8)
        packed = columns["ip_bytes"]
        seconds = numbers(columns["timestamp"].cast(pa.int64()), 0).astype(np.int64) // MICROSECONDS
        return people, Acts(
            users=users.at(people),
            seconds=seconds[people],
            read_days=read_days[people],
            countries=self._texts.column(columns["country_code"]).at(people),
            networks=self._near(packed, columns["asn"]).at(people),
            devices=self._devices.column(_device_texts(columns)).at(people),
            actions=self._texts.column(columns["action"]).at(people),
            addresses=self._addresses.column(packed).at(people),
            logins=logins[people],
            succeeded=(succeeded | ~failed)[people],
            latitude=numbers(columns["latitude"], np.nan).astype(np.float64)[people],
            longitude=numbers(columns["longitude"], np.nan).astype(np.float64)[people],
        )

    def _near(self, packed: Array, asn: Array) -> Keyed:
        """The network of each address: its autonomous system, or else its /24 or /48."""
        near = self._networks.column(packed)
        if asn.null_count == len(asn):
            return near
        number = numbers(asn, 0).astype(np.uint64)
        return Keyed.of(np.where(valid(asn), number + np.uint64(1), near.keys[near.codes]))


def _device_texts(columns: dict[str, Array]) -> Array:
    """Return what tells an event's device: its name, or else the program that sent the request."""
    device, agent = columns["device"], columns["user_agent"]
    if device.null_count == len(device):
        return agent
    return pc.coalesce(device, agent) if device.null_count else device


def _device(text: str) -> bytes:
    return _VERSIONS.sub("", text).encode()


def _network(packed: bytes) -> bytes:
    mapped = packed[:_MAPPED_BYTES] == bytes(10) + b"\xff\xff"
    return packed[: IPV4_NETWORK_BYTES if mapped else IPV6_NETWORK_BYTES]

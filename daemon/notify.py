"""Tells systemd how the service is doing, if systemd started it: readiness, a status line, the watchdog's heartbeat."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

_MICROSECONDS = 1_000_000


class Notifier:
    """Speaks the sd_notify protocol; without NOTIFY_SOCKET it says nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        # An abstract socket is written with '@' and begins with a NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        period = environ.get("WATCHDOG_USEC", "")
        mine = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Twice as often as asked for: one late heartbeat is no death.
        self.watchdog_seconds = int(period) / _MICROSECONDS / 2 if mine and period.isdigit() else None

    def send(self, **fields: str) -> bool:
        """Send fields such as ``READY="1"``; returns whether somebody was told."""
        if not self._address:
            return False
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError:
            return False  # the service manager is gone or busy: nothing depends on it
        return True

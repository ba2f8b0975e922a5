"""Compressed formats as streams: bytes of a file in, what they hold out, checked to the last checksum.

Each format is a row of `FORMATS`. Memory is bounded by the format's window (at most `MEMORY_BYTES`) and one block,
whatever a file unpacks to.
"""

from __future__ import annotations

import bz2
import lzma
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

RAW_BLOCK_BYTES = 64 << 10  # compressed bytes read at once
# The largest window that is unpacked: what `zstd -22` and `xz -9` need. Larger ones have to be asked for by their
# writer (`zstd --long=31`), and would cost the daemon more memory than all the rest of it.
MEMORY_BYTES = 128 << 20
_WINDOW_LOG = MEMORY_BYTES.bit_length() - 1
_GZIP_WBITS = 31  # zlib's way of saying: with the header and trailer of gzip
_SKIPPABLE = (b"\x2a\x4d\x18", 1)  # zstd's frames for others: any 0x5_, then these bytes


class DamagedError(OSError):
    """The file is not what its name says, or its bytes are not those that were compressed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.strerror = reason


class IncompleteError(DamagedError):
    """The file ends before its last checksum: it is still being written, or it was cut."""


class Decoder(Protocol):
    """One member (gzip), stream (xz, bzip2) or frame (zstd). As the standard library's decompressors are."""

    @property
    def eof(self) -> bool:
        """Return whether its end was reached and its checksum was right."""
        ...

    @property
    def needs_input(self) -> bool:
        """Return whether nothing more comes without more input."""
        ...

    @property
    def unused_data(self) -> bytes:
        """Return the input behind its end."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Return at most ``max_length`` bytes; input that was not used yet is kept."""
        ...


class _Gzip:
    """zlib's decompressor with the interface of the others."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WBITS)
        self._rest = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inflate.decompress(self._rest + data, max_length)
        self._rest = self._inflate.unconsumed_tail
        self.needs_input = not self._rest and len(out) < max_length and not self.eof
        return out


def _xz() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES)


def _zstd() -> Decoder:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the ending of its files' names, how each member begins, and what unpacks one."""

    name: str
    ending: bytes
    magic: bytes
    decoder: Callable[[], Decoder]
    errors: tuple[type[Exception], ...]
    skippable: bool = False

    def begins(self, data: bytes) -> bool | None:
        """Return whether ``data`` begins a member; None while it is too short to tell."""
        if data.startswith(self.magic):
            return True
        if self.skippable:
            tail, at = _SKIPPABLE
            if data[:1] and 0x50 <= data[0] <= 0x5F and tail.startswith(data[at : at + len(tail)]):
                return True if len(data) >= at + len(tail) else None
        return None if self.magic.startswith(data) else False


FORMATS = (
    Format("gzip", b".gz", b"\x1f\x8b", _Gzip, (zlib.error,)),
    Format("zstd", b".zst", b"\x28\xb5\x2f\xfd", _zstd, (zstd.ZstdError,), skippable=True),
    Format("bzip2", b".bz2", b"BZh", bz2.BZ2Decompressor, (OSError, EOFError)),
    Format("xz", b".xz", b"\xfd7zXZ\x00", _xz, (lzma.LZMAError, EOFError)),
)


MAGIC_BYTES = max(len(found.magic) for found in FORMATS)


def format_of(path: bytes) -> Format | None:
    """Return the format that a file's name promises; None for a plain file."""
    ending = os.path.splitext(path)[1].lower()
    return next((found for found in FORMATS if found.ending == ending), None)


def format_by_content(first: bytes) -> Format | None:
    """Return the format that a file's first bytes are of; None for a plain file."""
    return next((found for found in FORMATS if first.startswith(found.magic)), None)


def plain_name(path: bytes) -> bytes:
    """Return the name without the ending of its compression: by it the patterns decide."""
    return path if format_of(path) is None else os.path.splitext(path)[0]


class Unpacker:
    """What a compressed file holds, from its beginning, forwards only.

    ``pread`` reads the compressed file; ``position`` counts the bytes that came out so far.
    """

    def __init__(self, pread: Callable[[int, int], bytes], kind: Format) -> None:
        self._pread = pread
        self._kind = kind
        self._at = 0  # in the compressed file
        self._decoder: Decoder | None = None
        self._pending = b""  # input that was read and not given to a decoder
        self._members = 0
        self.position = 0

    @property
    def consumed(self) -> int:
        """Return how much of the compressed file was read."""
        return self._at

    def read(self, most: int) -> bytes:
        """Return some bytes, at most ``most``; none when the end is reached and everything was as it should be.

        Raises IncompleteError when more must come (after which it can be called again), DamagedError for good.
        """
        while True:
            if self._decoder is None and not self._next_member():
                return b""
            decoder = self._decoder
            assert decoder is not None
            data = b""
            if decoder.needs_input:
                data, self._pending = self._pending or self._more(), b""
            try:
                out = decoder.decompress(data, most)
            except self._kind.errors as error:
                raise DamagedError(f"is damaged near byte {self._at}: {error}") from error
            except MemoryError as error:
                raise DamagedError(f"needs more than {MEMORY_BYTES >> 20} MiB to unpack") from error
            if decoder.eof:
                self._pending = decoder.unused_data
                self._decoder = None
            if out:
                self.position += len(out)
                return out

    def _next_member(self) -> bool:
        """Begin the next member; returns False when there is none. NUL bytes between members are padding."""
        while True:
            if self._members:
                self._pending = self._pending.lstrip(b"\0")
            begins = self._kind.begins(self._pending) if self._pending else None
            if begins:
                self._members += 1
                self._decoder = self._kind.decoder()
                return True
            if begins is False:
                where = f"near byte {self._at - len(self._pending)}"
                what = (
                    f"something that is not {self._kind.name} follows"
                    if self._members
                    else f"is not {self._kind.name}"
                )
                raise DamagedError(f"{what} {where}")
            data = self._pread(RAW_BLOCK_BYTES, self._at)
            if data:
                self._at += len(data)
                self._pending += data
            elif self._pending or not self._members:
                raise IncompleteError(
                    f"ends after {self._at} bytes, in the middle of its {self._kind.name} data"
                )
            else:
                return False

    def _more(self) -> bytes:
        data = self._pread(RAW_BLOCK_BYTES, self._at)
        if not data:
            raise IncompleteError(f"ends after {self._at} bytes, in the middle of its {self._kind.name} data")
        self._at += len(data)
        return data


class Stream:
    """An open file as what it holds, forwards only: for those who read it once from somewhere to its end."""

    def __init__(self, file: BinaryIO, kind: Format | None) -> None:
        self._file = file
        self._unpacker = None if kind is None else Unpacker(self._pread, kind)

    def _pread(self, length: int, _offset: int) -> bytes:
        return self._file.read(length)

    def skip(self, count: int) -> None:
        """Move on by so many bytes, once and first of all."""
        if self._unpacker is None:
            self._file.seek(count)
            return
        while count and (block := self.read(min(count, RAW_BLOCK_BYTES))):
            count -= len(block)

    def read(self, most: int) -> bytes:
        """Return at most so many bytes; none at the end. Raises DamagedError."""
        return self._file.read(most) if self._unpacker is None else self._unpacker.read(most)

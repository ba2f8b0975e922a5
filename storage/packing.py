"""Bodies compressed as they are made: gzip and Zstandard, in the thread that makes them, at flat memory."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Protocol, cast

from storage.engine import Piece

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Rows of events repeat much: level 1 leaves a tenth of them, and higher ones cost far more than they save.
_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # zlib's way of saying: with the header and trailer of gzip
_ZSTD_LEVEL = 1
PIECE_BYTES = 64 << 10  # handed over at a time, at least: compressors give a few bytes for many


class _Compressor(Protocol):
    def compress(self, data: Piece, /) -> bytes:
        """Return what is ready."""
        ...

    def flush(self) -> bytes:
        """Return the rest, with the end that tells readers that nothing is missing."""
        ...


def _zstd() -> _Compressor:
    return zstd.ZstdCompressor(options={
        zstd.CompressionParameter.compression_level: _ZSTD_LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
    })  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packing:
    """One way to compress: what is put behind a file's name, the media type of such a file, and how it is begun."""

    suffix: str
    media_type: str
    compressor: Callable[[], _Compressor]


PACKINGS: dict[str, Packing] = {
    "gzip": Packing(".gz", "application/gzip", lambda: zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WBITS)),
    "zstd": Packing(".zst", "application/zstd", _zstd),
}  # fmt: skip


def packed(pieces: Iterator[Piece], name: str | None) -> Iterator[Piece]:
    """Yield a body compressed (``name`` of `PACKINGS`), or as it is. Its end comes only when the body was whole."""
    return pieces if name is None else _packed(pieces, PACKINGS[name].compressor())


def _packed(pieces: Iterator[Piece], compressor: _Compressor) -> Iterator[bytes]:
    gathered = bytearray()
    for piece in pieces:
        gathered += compressor.compress(piece)
        if len(gathered) >= PIECE_BYTES:
            yield bytes(gathered)
            gathered.clear()
    gathered += compressor.flush()
    yield bytes(gathered)


@contextmanager
def unpacked(file: IO[bytes], name: str | None) -> Generator[IO[bytes]]:
    """Give what a file holds that was compressed so, as a file; closing ``file`` is left to the caller."""
    if name is None:
        yield file
    elif name == "gzip":
        with gzip.open(file) as plain:
            yield cast("IO[bytes]", plain)
    else:
        with zstd.open(file) as plain:
            yield cast("IO[bytes]", plain)

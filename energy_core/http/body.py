"""Decompressing a response body piece by piece, within limits of size and compression ratio."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from energy_core.errors import BodyTooLarge, DecodeError
from energy_core.http.operation import MIB

STEP: Final = 256 * 1024
"""The largest piece, in bytes."""
MAX_RATIO: Final = 200
MAX_MEMBERS: Final = 64
"""Members of one gzip body; each is a compressed stream of its own."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ENCODINGS: Final = {"": None, "identity": None, "gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class Body:
    """The decoder of one response body. It keeps no data: bytes go in, pieces of bounded size come out.

    The limit counts after decompression. Past the first MiB a body may not be larger than 200 times its
    compressed size, so that a decompression bomb is recognised long before it reaches the limit.

    Args:
        headers: The response headers, by lower-case name.
        limit: The largest body in bytes; None for no limit.
    """

    __slots__ = ("_announced", "_encoding", "_inflate", "_members", "_window", "_wire", "limit", "size")

    def __init__(self, headers: Mapping[str, str], *, limit: int | None) -> None:
        self._announced = _length(headers.get("content-length", ""))
        self._encoding = headers.get("content-encoding", "").strip().lower()
        self.limit = limit
        self._window = _ENCODINGS.get(self._encoding)
        self._inflate = None if self._window is None else zlib.decompressobj(self._window)
        self._members = 1
        self._wire = 0
        self.size = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decompress bytes and yield the pieces.

        Raises:
            BodyTooLarge: the limit or the ratio is exceeded.
            DecodeError: the bytes are not in the declared encoding.
        """
        if not self._wire:
            self._check_announced()
        if self._inflate is None:
            self._wire += len(data)
            yield self._counted(data)
            return
        if data and not self._wire and self._window == zlib.MAX_WBITS and data[0] & 0x0F != 8:
            # Some servers declare deflate and omit its zlib header.
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        full = False
        while data or full:
            piece, rest = self._step(data)
            self._wire += len(data) - len(rest)
            # After a full piece, zlib may hold more output although the input is used up.
            data, full = rest, len(piece) == STEP
            if piece:
                yield self._counted(piece)

    def finish(self) -> None:
        """Check that the body is complete, at its end.

        Raises:
            DecodeError: the compressed body is truncated.
        """
        if self._inflate is not None and self._wire and not self._inflate.eof:
            raise DecodeError("the compressed body is truncated", kind="encoding", size=self.size)

    def _check_announced(self) -> None:
        if self._encoding not in _ENCODINGS:
            raise DecodeError("the body is in an encoding that was not requested", kind="encoding")
        if self.limit is not None and self._announced > self.limit:
            raise BodyTooLarge(
                f"the body is larger than {self.limit} bytes", kind="size", size=self._announced
            )

    def _step(self, data: bytes) -> tuple[bytes, bytes]:
        inflate = self._inflate
        if inflate is None or (data and inflate.eof):
            inflate = self._inflate = self._next_member()
        try:
            piece = inflate.decompress(data, STEP)
        except zlib.error:
            raise DecodeError(
                "the body is not in its declared encoding", kind="encoding", size=self.size
            ) from None
        return piece, inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def _next_member(self) -> zlib._Decompress:
        self._members += 1
        if self._window != _GZIP or self._members > MAX_MEMBERS:
            raise DecodeError("the compressed body continues after its end", kind="encoding", size=self.size)
        return zlib.decompressobj(_GZIP)

    def _counted(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self.limit is not None and self.size > self.limit:
            raise BodyTooLarge(f"the body is larger than {self.limit} bytes", kind="size", size=self.size)
        if self.size > MIB and self.size > MAX_RATIO * self._wire:
            raise BodyTooLarge(f"the body expands more than {MAX_RATIO}:1", kind="size", size=self.size)
        return piece


def _length(announced: str) -> int:
    # Nineteen digits exceed every limit; int() of a longer text may be slow.
    return int(announced[:19]) if announced.isascii() and announced.isdigit() else 0

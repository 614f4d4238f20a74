"""A body's bytes on their way in: decompressed step by step, counted, and never more than allowed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from energy_core.errors import BodyTooLarge, DecodeError
from energy_core.http.operation import MIB

STEP: Final = 256 * 1024
MAX_RATIO: Final = 200
MAX_MEMBERS: Final = 64

_GZIP: Final = 16 + zlib.MAX_WBITS
_ENCODINGS: Final = {"": None, "identity": None, "gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class Body:
    """What has arrived of one body. It holds no data: bytes go in, bounded pieces come out.

    The limit counts after decompression. Past the first MiB a body may not be more than 200 times what came
    over the wire, so that a bomb is recognised long before it reaches the limit.
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
        """Yield what the bytes hold.

        Raises:
            BodyTooLarge: the limit or the ratio is passed.
            DecodeError: the bytes are not what their encoding says.
        """
        if not self._wire:
            self._check_announced()
        if self._inflate is None:
            self._wire += len(data)
            yield self._counted(data)
            return
        if data and not self._wire and self._window == zlib.MAX_WBITS and data[0] & 0x0F != 8:
            # Some servers say deflate and leave its header out.
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        full = False
        while data or full:
            piece, rest = self._step(data)
            self._wire += len(data) - len(rest)
            # A full piece may leave a last bit of output inside zlib after the input is used up.
            data, full = rest, len(piece) == STEP
            if piece:
                yield self._counted(piece)

    def finish(self) -> None:
        """Say that no more comes.

        Raises:
            DecodeError: the compressed body is cut short.
        """
        if self._inflate is not None and self._wire and not self._inflate.eof:
            raise DecodeError("the compressed body is cut short", kind="encoding", size=self.size)

    def _check_announced(self) -> None:
        if self._encoding not in _ENCODINGS:
            raise DecodeError("the body is in an encoding that was not asked for", kind="encoding")
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
                "the body is not what its encoding says", kind="encoding", size=self.size
            ) from None
        return piece, inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def _next_member(self) -> zlib._Decompress:
        self._members += 1
        if self._window != _GZIP or self._members > MAX_MEMBERS:
            raise DecodeError("the compressed body goes on after its end", kind="encoding", size=self.size)
        return zlib.decompressobj(_GZIP)

    def _counted(self, piece: bytes) -> bytes:
        self.size += len(piece)
        if self.limit is not None and self.size > self.limit:
            raise BodyTooLarge(f"the body is larger than {self.limit} bytes", kind="size", size=self.size)
        if self.size > MIB and self.size > MAX_RATIO * self._wire:
            raise BodyTooLarge(f"the body expands more than {MAX_RATIO}:1", kind="size", size=self.size)
        return piece


def _length(announced: str) -> int:
    # Nineteen digits are more than any limit, and int() takes no longer for them than for one.
    return int(announced[:19]) if announced.isascii() and announced.isdigit() else 0

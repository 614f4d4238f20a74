"""From an open download to a file on disk, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from attrs import evolve, frozen

from energy_core.errors import DecodeError, RequestError
from energy_core.http.download import Download
from energy_core.http.request import Operation, Response
from energy_core.http.retrying import with_context
from vrm_async.saving import AtomicFile
from vrm_async.unwrap import BodyDecoder

_SHORT: Final = 256
"""Bytes of a content that may be a refusal in words."""


@frozen(kw_only=True)
class DownloadProgress:
    """How far a download is."""

    received: int
    """Bytes of the body so far, after decompression."""
    written: int
    """Bytes of the file so far."""
    expected: int | None = None
    """Bytes of the whole body, where the server says so."""


@frozen(kw_only=True)
class SavedFile:
    """A file that is on disk."""

    path: Path
    """Where it is: always where the caller wanted it, whatever name the server has for it."""
    size: int
    """Its bytes."""
    encoding: str
    """How it came: `base64` or `raw`."""


Watch = Callable[[DownloadProgress], None]


class BodyFilter(Protocol):
    """What a file passes on its way to the disk."""

    def feed(self, piece: bytes) -> bytes:
        """Take a piece, return what may be written."""

    def finish(self) -> bytes:
        """Return the rest."""


class AsItIs:
    """Changes nothing."""

    def feed(self, piece: bytes) -> bytes:
        """Return the piece."""
        return piece

    def finish(self) -> bytes:
        """Return nothing more."""
        return b""


class Xml(AsItIs):
    """Lets a file pass that begins like XML."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, piece: bytes) -> bytes:
        """Return the piece.

        Raises:
            DecodeError: the file begins in another way.
        """
        begin = piece.removeprefix(b"\xef\xbb\xbf").lstrip()
        if begin and not self._begun:
            self._begun = True
            if not begin.startswith(b"<"):
                raise DecodeError("the answer is no XML file", kind="shape")
        return piece


@frozen(kw_only=True)
class Pouring:
    """One download on its way into one file."""

    download: Download
    file: AtomicFile
    passing: BodyFilter
    body: BodyDecoder
    progress: Watch | None
    operation: Operation
    refuse: Callable[[Response, Operation], None]
    """Raises what an answer says that is a refusal."""

    async def run(self) -> SavedFile:
        """Write all of it, and only then give the file its name.

        Raises:
            RequestError: the body broke off, or is no file; it says which operation it was.
            OSError: the file cannot be written.
        """
        response = self.download.response
        try:
            async with self.file:
                await self._pour()
        except RequestError as error:
            failure = with_context(error, self.operation, attempts=response.attempts, status=response.status)
        else:
            return SavedFile(path=self.file.path, size=self.file.written, encoding=self.body.kind or "raw")
        finally:
            self.download.close()
        raise failure.with_traceback(None)

    async def _pour(self) -> None:
        received, head = 0, b""
        async for piece in self.download.chunks():
            received += len(piece)
            part = self.body.feed(piece)
            head = (head + part[:_SHORT])[:_SHORT]
            await self._write(part)
            self._tell(received)
        last = self.body.finish()
        await self._write(last)
        await self.file.write(self.passing.finish())
        if self.body.document is not None:
            self._refuse(self.body.document)
        if len(head + last) < _SHORT and not _is_file(head + last):
            raise DecodeError("the answer is a text, not a file", kind="shape")
        self._tell(received)

    async def _write(self, piece: bytes) -> None:
        if piece:
            await self.file.write(self.passing.feed(piece))

    def _tell(self, received: int) -> None:
        if self.progress is not None:
            expected = _expected(self.download.response)
            self.progress(DownloadProgress(received=received, written=self.file.written, expected=expected))

    def _refuse(self, document: bytes) -> None:
        """Raise what a JSON object in place of a file says."""
        response = self.download.response
        self.refuse(evolve(response, body=document), self.operation)
        raise DecodeError("the answer is a JSON document, not a file", kind="shape")


def _is_file(content: bytes) -> bool:
    """Tell whether a short content is a spreadsheet, XML, HTML, or a table as text: more than words."""
    content = content.removeprefix(b"\xef\xbb\xbf").strip()
    if content.startswith((b"PK", b"\xd0\xcf", b"<")):
        return True
    try:
        lines = content.decode()
    except UnicodeDecodeError:
        return False
    return any(mark in lines for mark in ",;\t\n")


def _expected(response: Response) -> int | None:
    length = response.headers.get("content-length", "")
    packed = response.headers.get("content-encoding", "identity") != "identity"
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 and not packed else None

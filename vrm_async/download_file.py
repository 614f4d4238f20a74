"""From a downloaded body to its file: base64, base64 in a JSON text, or the file itself. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from energy_core.atomic_file import AtomicFile
from energy_core.errors import DecodeError, RequestError
from energy_core.http.operation import Operation, Response
from energy_core.http.response import Download
from energy_core.http.retry_policy import with_context

_SNIFF: Final = 512
"""Bytes that tell what a body is; a table in plain text has a comma, a space or a quote among them."""
_LARGEST_REFUSAL: Final = 64 * 1024

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\r\n]+\s*")
_IN_JSON: Final = re.compile(rb'"(?:[A-Za-z0-9+/\r\n]|\\/)*={0,2}\\?"?\s*')
_BESIDES: Final = b" \t\r\n"
_WRAPPING: Final = _BESIDES + b'"\\'
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body")


class BodyDecoder:
    """Feed the body as it comes, write what it gives back.

    A body that is a JSON object is no file: it is kept in `document`, for whoever can say what it refuses.

    Args:
        html: Whether the file may be an HTML page, as one of VRM's formats is.
    """

    def __init__(self, *, html: bool = False) -> None:
        self.kind: str | None = None
        """base64, json (an object: no file) or raw; None until enough has come to tell."""
        self._html = html
        self._head = b""
        self._rest = b""
        self._ended = self._given = False
        self._drop = _BESIDES

    @property
    def document(self) -> bytes | None:
        """The body, where it is a JSON object; never more than a refusal needs."""
        return self._head if self.kind == "json" else None

    def feed(self, piece: bytes) -> bytes:
        """Take a piece of the body and return the piece of the file that is known by now.

        Raises:
            DecodeError: the body is an HTML page, a large JSON object, or damaged base64.
        """
        if self.kind is not None:
            return self._taken(piece)
        self._head += piece
        return self._begin() if len(self._head.strip()) >= _SNIFF else b""

    def finish(self) -> bytes:
        """Return the rest of the file. Raises like `feed`, and where there is no body or it breaks off."""
        last = self._begin() if self.kind is None else b""
        if self.kind == "base64" and self._rest:
            raise DecodeError("the base64 text breaks off", kind="base64")
        if self.kind == "base64" and not self._given:
            raise DecodeError("there is no file in the answer", kind="empty")
        return last

    def _begin(self) -> bytes:
        head, self._head = self._head, b""
        self.kind = self._sniffed(head.removeprefix(b"\xef\xbb\xbf").lstrip())
        return self._taken(head)

    def _sniffed(self, head: bytes) -> str:
        if not head:
            raise DecodeError("the answer has no body", kind="empty")
        if head.startswith((b"{", b"[")):
            return "json"
        if head.lower().startswith(_HTML) and not self._html:
            raise DecodeError("the answer is an HTML page, not a file", kind="html")
        if _IN_JSON.fullmatch(head[:_SNIFF]):
            self._drop = _WRAPPING
            return "base64"
        return "base64" if _BASE64.fullmatch(head[:_SNIFF]) else "raw"

    def _taken(self, piece: bytes) -> bytes:
        if self.kind == "raw":
            return piece
        if self.kind == "json":
            self._head += piece
            if len(self._head) > _LARGEST_REFUSAL:
                raise DecodeError("the answer is a large JSON document, not a file", kind="shape")
            return b""
        return self._decoded(piece.removeprefix(b"\xef\xbb\xbf").translate(None, self._drop))

    def _decoded(self, text: bytes) -> bytes:
        if self._ended and text:
            raise DecodeError("there is more after the end of the base64 text", kind="base64")
        text = self._rest + text
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        self._ended = text[:whole].endswith(b"=")
        self._given |= whole > 0
        try:
            return base64.b64decode(text[:whole], validate=True)
        except binascii.Error:
            raise DecodeError("the base64 text is damaged", kind="base64") from None


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
        self.refuse(response._replace(body=document), self.operation)
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

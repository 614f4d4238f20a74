"""Downloads to a file: decoding of the body, progress, and the transfer to an atomically written file.

VRM sends a file as base64, as base64 in a JSON string, or as it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from attrs import frozen

from energy_core.atomic_file import AtomicFile
from energy_core.errors import DecodeError, RequestError
from energy_core.http.operation import Operation, Response
from energy_core.http.response import Download
from energy_core.http.retry_policy import with_context

_SNIFFED_BYTES: Final = 512
"""Number of leading bytes that decide how a body is encoded. Plain text has a comma, space or quote there."""
_MAX_REFUSAL_BYTES: Final = 64 * 1024

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/=\r\n]+\s*")
_IN_JSON: Final = re.compile(rb'"(?:[A-Za-z0-9+/\r\n]|\\/)*={0,2}\\?"?\s*')
_WHITE_SPACE: Final = b" \t\r\n"
_JSON_STRING_MARKS: Final = _WHITE_SPACE + b'"\\'
_HTML: Final = (b"<!doctype html", b"<html", b"<head", b"<body")


class BodyDecoder:
    """Incremental decoder of a downloaded body: feed it chunks, and write what it returns. No I/O.

    A JSON object is not a file but a refusal; it is kept in `document`.

    Args:
        html: Whether the file may be an HTML page; one of VRM's formats is.
    """

    def __init__(self, *, html: bool = False) -> None:
        self.kind: str | None = None
        """base64, json (an object, not a file) or raw; None until enough bytes were fed."""
        self._html = html
        self._head = b""
        self._rest = b""
        self._ended = self._has_content = False
        self._drop = _WHITE_SPACE  # bytes to remove from base64 text: line breaks, or the marks of JSON

    @property
    def document(self) -> bytes | None:
        """The body, if it is a JSON object; at most 64 KiB."""
        return self._head if self.kind == "json" else None

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes of the body; return the next bytes of the file.

        Raises:
            DecodeError: the body is an HTML page, a JSON object over 64 KiB, or invalid base64.
        """
        if self.kind is not None:
            return self._decode(data)
        self._head += data
        return self._begin() if len(self._head.strip()) >= _SNIFFED_BYTES else b""

    def finish(self) -> bytes:
        """Return the rest of the file.

        Raises:
            DecodeError: as `feed`; also if the body is empty or ends too early.
        """
        last = self._begin() if self.kind is None else b""
        if self.kind == "base64" and self._rest:
            raise DecodeError("the base64 text ends too early", kind="base64")
        if self.kind == "base64" and not self._has_content:
            raise DecodeError("there is no file in the answer", kind="empty")
        return last

    def _begin(self) -> bytes:
        head, self._head = self._head, b""
        self.kind = self._encoding_of(head.removeprefix(b"\xef\xbb\xbf").lstrip())
        return self._decode(head)

    def _encoding_of(self, head: bytes) -> str:
        if not head:
            raise DecodeError("the answer has no body", kind="empty")
        if head.startswith((b"{", b"[")):
            return "json"
        if head.lower().startswith(_HTML) and not self._html:
            raise DecodeError("the answer is an HTML page, not a file", kind="html")
        if _IN_JSON.fullmatch(head[:_SNIFFED_BYTES]):
            self._drop = _JSON_STRING_MARKS
            return "base64"
        return "base64" if _BASE64.fullmatch(head[:_SNIFFED_BYTES]) else "raw"

    def _decode(self, data: bytes) -> bytes:
        if self.kind == "raw":
            return data
        if self.kind == "json":
            self._head += data
            if len(self._head) > _MAX_REFUSAL_BYTES:
                raise DecodeError("the answer is a large JSON document, not a file", kind="shape")
            return b""
        return self._decode_base64(data.removeprefix(b"\xef\xbb\xbf").translate(None, self._drop))

    def _decode_base64(self, text: bytes) -> bytes:
        if self._ended and text:
            raise DecodeError("there is text after the end of the base64 text", kind="base64")
        text = self._rest + text
        whole = len(text) - len(text) % 4  # base64 decodes groups of four characters
        self._rest = text[whole:]
        self._ended = text[:whole].endswith(b"=")  # padding is only at the end
        self._has_content |= whole > 0
        try:
            return base64.b64decode(text[:whole], validate=True)
        except binascii.Error:
            raise DecodeError("the base64 text is invalid", kind="base64") from None


_SHORT_FILE_BYTES: Final = 256
"""Files shorter than this, in bytes, are checked for being an error message."""


@frozen(kw_only=True)
class DownloadProgress:
    """Progress of a download, in bytes."""

    received: int
    """Bytes of the body so far, after decompression."""
    written: int
    """Bytes of the file so far."""
    expected: int | None = None
    """Bytes of the whole body; None if the server does not send it."""


@frozen(kw_only=True)
class SavedFile:
    """A file on disk."""

    path: Path
    """The path that the caller gave. The server's file name is not used."""
    size: int
    """Size in bytes."""
    encoding: str
    """How the server sent it: `base64` or `raw`."""


ProgressCallback: TypeAlias = Callable[[DownloadProgress], None]


class BodyFilter(Protocol):
    """Changes or checks the bytes of a file before they are written."""

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return the bytes to write."""

    def finish(self) -> bytes:
        """Return the rest."""


class NoFilter:
    """Writes the bytes unchanged."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes."""
        return data

    def finish(self) -> bytes:
        """Return no more bytes."""
        return b""


class XmlFilter(NoFilter):
    """Writes the bytes unchanged, if the file begins as XML."""

    def __init__(self) -> None:
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes.

        Raises:
            DecodeError: the file does not begin as XML.
        """
        begin = data.removeprefix(b"\xef\xbb\xbf").lstrip()
        if begin and not self._begun:
            self._begun = True
            if not begin.startswith(b"<"):
                raise DecodeError("the answer is not an XML file", kind="shape")
        return data


@frozen(kw_only=True)
class FileTransfer:
    """Transfers one open download to one file."""

    download: Download
    file: AtomicFile
    filter: BodyFilter
    decoder: BodyDecoder
    progress: ProgressCallback | None
    operation: Operation
    refuse: Callable[[Response, Operation], None]
    """Raises the error of an answer that is a refusal."""

    async def run(self) -> SavedFile:
        """Write the file under a temporary name and rename it when it is complete.

        Cancelling is safe: the temporary file is removed and the connection is closed.

        Raises:
            RequestError: the body ended too early, or is not a file.
            OSError: the file cannot be written.
        """
        response = self.download.response
        try:
            async with self.file:
                await self._transfer()
        except RequestError as error:
            failure = with_context(error, self.operation, attempts=response.attempts, status=response.status)
        else:
            return SavedFile(path=self.file.path, size=self.file.written, encoding=self.decoder.kind or "raw")
        finally:
            self.download.close()
        # Raised outside the handler: a traceback with local variables must not contain the answer.
        raise failure.with_traceback(None)

    async def _transfer(self) -> None:
        received, head = 0, b""
        async for chunk in self.download.chunks():
            received += len(chunk)
            part = self.decoder.feed(chunk)
            head = (head + part[:_SHORT_FILE_BYTES])[:_SHORT_FILE_BYTES]
            await self._write(part)
            self._report_progress(received)
        last = self.decoder.finish()
        await self._write(last)
        await self.file.write(self.filter.finish())
        if self.decoder.document is not None:
            self._refuse(self.decoder.document)
        # VRM may answer 200 with an error message in plain text.
        if len(head + last) < _SHORT_FILE_BYTES and not _is_file(head + last):
            raise DecodeError("the answer is a text, not a file", kind="shape")
        self._report_progress(received)

    async def _write(self, data: bytes) -> None:
        if data:
            await self.file.write(self.filter.feed(data))

    def _report_progress(self, received: int) -> None:
        if self.progress is not None:
            expected = _expected(self.download.response)
            self.progress(DownloadProgress(received=received, written=self.file.written, expected=expected))

    def _refuse(self, document: bytes) -> None:
        """Raise the error of a JSON object that VRM sent in place of a file."""
        response = self.download.response
        self.refuse(response._replace(body=document), self.operation)
        raise DecodeError("the answer is a JSON document, not a file", kind="shape")


def _is_file(content: bytes) -> bool:
    """Whether short content is a spreadsheet, XML, HTML or a text table, and not an error message."""
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
    # The length of a compressed body is not the number of bytes that arrive here.
    packed = response.headers.get("content-encoding", "identity") != "identity"
    return int(length) if length.isascii() and length.isdigit() and len(length) < 16 and not packed else None

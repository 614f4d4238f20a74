"""From a downloaded body to its file: base64, base64 in a JSON text, or the file itself. No I/O."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from energy_core.errors import DecodeError

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

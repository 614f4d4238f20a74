"""Where `PostgresOutput` stores: the checked URL, TLS, and errors that say what to do there."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from energy_core.url import is_loopback
from energy_live.outputs.output import OutputError

UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
"""Characters that no text in PostgreSQL can hold: NUL, and halves of surrogate pairs."""

_TLS_MODES: Final = ("disable", "verify-full")
_OPTIONS: Final = ("host", "schema", "sslmode", "sslrootcert")
_MAX_NAME: Final = 63
"""Bytes; PostgreSQL cuts longer names off."""


@frozen(kw_only=True)
class PostgresTarget:
    """A server, a database and a schema in it; made by `of_url`."""

    host: str | None
    """A name or address, or the folder of a Unix socket; None: the usual folders and localhost are tried."""
    port: int
    user: str | None
    database: str | None
    schema: str
    tls: str
    ca_file: str | None

    @classmethod
    def of_url(cls, url: str) -> PostgresTarget:
        """Parse and check a URL.

        Raises:
            ValueError: It is not valid, or holds a password. The message does not repeat it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 5432
            options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        except ValueError:
            raise ValueError("the URL must have the form postgresql://USER@HOST:PORT/DATABASE") from None
        if parts.scheme not in {"postgresql", "postgres"}:
            raise ValueError("the URL must begin with postgresql://")
        if parts.password is not None or "password" in options:
            raise ValueError(
                "the URL must not hold a password, because process lists show it: "
                "set PGPASSWORD or use a password file"
            )
        if unknown := sorted(set(options).difference(_OPTIONS)):
            raise ValueError(f"the URL has the unknown option {unknown[0]!r}; known: {', '.join(_OPTIONS)}")
        host = options.get("host") or (unquote(parts.hostname) if parts.hostname else None)
        local = host is None or host.startswith("/") or is_loopback(host)
        tls = options.get("sslmode", "disable" if local else "verify-full")
        if tls not in _TLS_MODES:
            raise ValueError(f"sslmode must be one of {', '.join(_TLS_MODES)}")
        schema = options.get("schema", "energy_live")
        if not schema or len(schema.encode(errors="replace")) > _MAX_NAME or UNSTORABLE.search(schema):
            raise ValueError(f"schema must be a name of 1 to {_MAX_NAME} bytes")
        return cls(
            host=host,
            port=port,
            user=unquote(parts.username) if parts.username else None,
            database=unquote(parts.path.removeprefix("/")) or None,
            schema=schema,
            tls=tls,
            ca_file=options.get("sslrootcert"),
        )

    @property
    def quoted_schema(self) -> str:
        """The schema's name as an SQL identifier."""
        return '"{}"'.format(self.schema.replace('"', '""'))

    @property
    def place(self) -> str:
        """Schema and database, for messages."""
        database = self.database or self.user or "of this user"
        return f"the schema {self.schema} of the database {database}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the context for TLS, None without TLS. Reads files.

        Raises:
            OutputError: The file of certificates cannot be used.
        """
        if self.tls == "disable":
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as error:
            what = f"sslrootcert={self.ca_file} cannot be used: {error.strerror or error}"
            raise OutputError(what, permanent=True) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context

    def output_error(self, error: Exception) -> Exception:
        """Return the error of a driver, server or network as an `OutputError`; any other unchanged."""
        import asyncpg  # noqa: PLC0415  (an extra)

        server = f"PostgreSQL on {self.host or 'this machine'}"
        if isinstance(error, asyncpg.PostgresError):
            what = f"{server}: {_line(error)}"
            remedy = next((text for kind, text in self._remedies().items() if isinstance(error, kind)), "")
            return OutputError(f"{what}; {remedy}" if remedy else what, permanent=bool(remedy))
        if isinstance(error, ssl.SSLCertVerificationError):
            what = f"the certificate of {server} cannot be trusted, {error.verify_message}"
            return OutputError(f"{what}; name its authority with ?sslrootcert=FILE", permanent=True)
        if isinstance(error, OSError) and "rejected SSL" in str(error):
            what = f"{server} offers no TLS; turn it on, or add ?sslmode=disable if the network is yours"
            return OutputError(what, permanent=True)
        if isinstance(error, TimeoutError):
            return OutputError(f"{server} did not answer in time")
        if isinstance(error, (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)):
            return OutputError(f"no connection to {server}: {_line(error)}")
        return error

    def _remedies(self) -> Mapping[type[Exception], str]:
        """Return what to do about errors that only the user can end."""
        import asyncpg  # noqa: PLC0415  (an extra)

        database, user = self.database or "DATABASE", self.user or "USER"
        return {
            asyncpg.InvalidAuthorizationSpecificationError: "set PGPASSWORD or use a password file",
            asyncpg.InvalidCatalogNameError: f"make it with: createdb {database}",
            asyncpg.InsufficientPrivilegeError: (
                f"{self.place} must belong to this user, or: GRANT CREATE ON DATABASE {database} TO {user}"
            ),
            asyncpg.SyntaxOrAccessError: f"{self.place} is not as energy-live made it: restore or rename it",
            asyncpg.InvalidSchemaNameError: f"restore {self.place}, or restart to make it again",
        }


def _line(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())

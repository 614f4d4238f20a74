"""Secrets of the service: environment variables, or files of systemd and Docker; never the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from energy_core.secret import Secret
from energy_live.runner import UsageError

_DOCKER: Final = Path("/run/secrets")
_LARGEST: Final = 65536
"""Bytes; a larger file is no secret."""


class SecretEnvironment(Mapping[str, str]):
    """Environment variables, completed from files.

    The value of NAME is the variable NAME; else the content of the file that ``NAME_FILE`` names; else of the
    file NAME, or name in lower case, in the folder of systemd's ``LoadCredential=`` or of Docker's secrets.
    Files are read at each access, so that a renewed secret is found; a line end after it is removed.

    Args:
        environment: The variables of the process.
        docker: The folder of Docker's secrets.
    """

    def __init__(self, environment: Mapping[str, str], *, docker: Path = _DOCKER) -> None:
        self._environment = environment
        folder = environment.get("CREDENTIALS_DIRECTORY")
        self._folders = [*([Path(folder)] if folder else []), docker]

    def __getitem__(self, name: str) -> str:
        """Return a value.

        Raises:
            KeyError: There is none.
            UsageError: Its file cannot be read.
        """
        if self._environment.get(name):
            return self._environment[name]
        named = self._environment.get(f"{name}_FILE")
        if named:
            return _content(Path(named), f"{name}_FILE")
        for folder in self._folders:
            for each in (folder / name, folder / name.lower()):
                if each.is_file():
                    return _content(each, name)
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)

    def secret(self, name: str) -> Secret | None:
        """Return a secret; None if it is not set or empty.

        Raises:
            UsageError: Its file cannot be read.
        """
        value = self.get(name, "")
        return Secret(value) if value else None

    def __repr__(self) -> str:
        return f"<SecretEnvironment of {len(self)} variables>"


def _content(file: Path, name: str) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
        text = content.decode()
    except OSError as error:
        raise UsageError(f"{name}: {file} cannot be read, {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{name}: {file} is not a text in UTF-8") from None
    if len(content) > _LARGEST:
        raise UsageError(f"{name}: {file} is too large to be a secret")
    return text.rstrip("\r\n")

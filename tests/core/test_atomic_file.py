"""Atomic file writes."""

import asyncio
import os
import stat

import pytest

from energy_core.atomic_file import AtomicFile, open_synced, rename, replace_file


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(b"old")
    return path


async def test_a_file_gets_its_content_when_the_block_ends(target):
    """Until then the target has its old content; `written` counts the bytes."""
    async with AtomicFile(target) as file:
        await file.write(b"new ")
        await file.write(b"x" * 300_000)
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new " + b"x" * 300_000
    assert file.written == 300_004
    assert list(target.parent.iterdir()) == [target]


async def test_an_error_leaves_the_target_and_no_temporary_file(target):
    """So does a cancellation."""

    async def write_half(error):
        async with AtomicFile(target) as file:
            await file.write(b"half")
            raise error

    for error in (RuntimeError, asyncio.CancelledError):
        with pytest.raises(error):
            await write_half(error)
        assert target.read_bytes() == b"old"
        assert list(target.parent.iterdir()) == [target]


def test_a_path_that_is_no_file_is_refused_at_once(tmp_path):
    """A directory, and a file in a directory that does not exist."""
    with pytest.raises(IsADirectoryError):
        AtomicFile(tmp_path)
    with pytest.raises(NotADirectoryError):
        AtomicFile(tmp_path / "missing" / "file")


def test_replace_file_replaces_or_leaves(target, monkeypatch):
    """A failing fsync leaves the old content and no temporary file."""
    replace_file(target, b"new")
    assert target.read_bytes() == b"new"

    def failing(number):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="disk full"):
        replace_file(target, b"newer")
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_files_are_readable_by_their_owner_alone(tmp_path):
    """All ways of writing create files with mode 0600."""
    one, two, three = (tmp_path / name for name in "abc")
    async with AtomicFile(one) as file:
        await file.write(b"1")
    replace_file(two, b"2")
    with open_synced(tmp_path / "part") as part:
        part.write(b"3")
    rename(tmp_path / "part", three)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (one, two, three)] == [0o600] * 3

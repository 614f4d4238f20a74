"""`PostgresOutput` without a server: its URL, and what it says when it cannot be used."""

from __future__ import annotations

import re
import sys

import pytest

from energy_core.secret import Secret
from energy_live.outputs import OutputError
from energy_live.outputs.postgres import PostgresOutput
from energy_live.outputs.postgres_target import PostgresTarget


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("postgresql://me:hunter22@db/x", "must not hold a password"),
        ("postgresql://me@db/x?password=hunter22", "must not hold a password"),
        ("mysql://me@db/x?y=hunter22", "must begin with postgresql://"),
        ("postgresql://me@db:hunter22/x", "must have the form"),
        ("postgresql://me@db/x?hunter22", "must have the form"),
        ("postgresql://me@db/x?sslmod=require", "unknown option 'sslmod'; known: host, schema"),
        ("postgresql://me@db/x?sslmode=prefer", "sslmode must be one of disable, verify-full"),
        ("postgresql://me@db/x?sslmode=require", "sslmode must be one of disable, verify-full"),
        ("postgresql://me@db/x?schema=", "schema must be a name"),
        (f"postgresql://me@db/x?schema={'a' * 64}", "schema must be a name of 1 to 63 bytes"),
        ("postgresql://me@db/x?schema=a%00", "schema must be a name"),
    ],
)
def test_a_wrong_url_is_refused_without_repeating_it(url, fault):
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        PostgresOutput(url)

    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("postgresql://me@db.example.org/x", "verify-full"),
        ("postgresql://me@10.0.0.7/x", "verify-full"),
        ("postgresql://me@localhost/x", "disable"),
        ("postgresql://me@127.0.0.1/x", "disable"),
        ("postgresql://me@[::1]/x", "disable"),
        ("postgresql:///x?host=/run/postgresql", "disable"),
        ("postgresql://localhost/x?host=db.example.org", "verify-full"),
        ("postgresql://me@localhost/x?sslmode=verify-full", "verify-full"),
        ("postgresql://me@db.example.org/x?sslmode=disable", "disable"),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(url, tls):
    target = PostgresTarget.of_url(url)
    assert target.tls == tls
    context = target.ssl_context()
    assert (context is None) == (tls == "disable")
    assert context is None or context.check_hostname


def test_parts_of_the_url_may_be_percent_encoded():
    target = PostgresTarget.of_url("postgresql://m%40e@db:99/my%20data%2Fbase?schema=a%22b")
    assert (target.user, target.host, target.port) == ("m@e", "db", 99)
    assert (target.database, target.quoted_schema) == ("my data/base", '"a""b"')


async def test_without_the_extra_it_names_the_command_to_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(OutputError, match=r'pip install "energy-live\[postgres\]"') as caught:
        await PostgresOutput("postgresql://localhost/x").open()
    assert caught.value.permanent


async def test_a_server_that_is_not_there_is_tried_again():
    output = PostgresOutput("postgresql://me@127.0.0.1:1/x", password=Secret("hunter22"))
    with pytest.raises(OutputError, match=r"no connection to PostgreSQL on 127\.0\.0\.1") as caught:
        await output.open()
    assert not caught.value.permanent
    with pytest.raises(OutputError, match="closed"):
        await output.write([], None)
    assert "hunter22" not in repr(output) + repr(vars(output))

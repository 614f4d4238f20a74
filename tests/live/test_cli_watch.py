import json

import pytest

from energy_core.errors import NotFound
from energy_live.watch import check_numbers
from tests.servers.command_line import readings, run, simulated

EVENTS = ("--interval", "0.25", "--format", "jsonl", "--events")


@pytest.fixture(scope="module")
def services():
    """Environment variables of a running simulator."""
    with simulated("--speed", "240") as variables:
        yield variables


def only(services, *names):
    return {name: value for name, value in services.items() if name.startswith(names)}


def sources(done):
    return {(event["source"][0], event["source"][2]) for event in readings(done.stdout)}


def test_all_sites_and_products_are_shown_by_default(services):
    """Every site and product of both accounts is in one stream."""
    done = run("watch", *EVENTS, "12", env=services)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(readings(done.stdout)) == 12
    assert sources(done) == {("vrm", "151001"), ("vrm", "151002"), ("voltstorage", "301")}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--site", "151002"], {("vrm", "151002")}),
        (["--product", "301"], {("voltstorage", "301")}),
        (
            ["--site", "151001", "--site", "151002", "--site", "151001"],
            {("vrm", "151001"), ("vrm", "151002")},
        ),
        (["--site", "151001", "--product", "301"], {("vrm", "151001"), ("voltstorage", "301")}),
    ],
)
def test_options_select_sites_and_products(services, options, expected):
    """--site and --product limit the stream to the named sites and products."""
    done = run("watch", *options, *EVENTS, "4", env=services)
    assert (done.returncode, done.stderr) == (0, "")
    assert sources(done) == expected


def test_one_account_is_enough(services):
    """With the credentials of one vendor, only that vendor is shown."""
    done = run("watch", *EVENTS, "2", env=only(services, "VRM_"))
    assert (done.returncode, done.stderr) == (0, "")
    assert {vendor for vendor, _ in sources(done)} == {"vrm"}


def test_the_environment_names_the_accounts(services):
    """Events have VRM_ACCOUNT and VOLTSTORAGE_ACCOUNT; the defaults are VRM's user id and `default`."""
    named = {**services, "VRM_ACCOUNT": "home", "VOLTSTORAGE_ACCOUNT": "cellar"}
    assert accounts(run("watch", *EVENTS, "8", env=named)) == {"vrm": {"home"}, "voltstorage": {"cellar"}}
    unnamed = accounts(run("watch", *EVENTS, "8", env=services))
    assert unnamed["voltstorage"] == {"default"}
    assert all(label.isdecimal() for label in unnamed["vrm"])


def accounts(done):
    found = {}
    for line in done.stdout.splitlines():
        vendor, account, *_ = json.loads(line)["source"]
        found.setdefault(vendor, set()).add(account)
    return found


@pytest.mark.parametrize(
    ("options", "variables", "named"),
    [
        ([], {}, ["VRM_TOKEN", "VOLTSTORAGE_EMAIL", "VOLTSTORAGE_PASSWORD", "VOLTSTORAGE_TOKEN"]),
        ([], {"VRM_TOKEN": " "}, ["VRM_TOKEN"]),
        (["--site", "1"], {"VOLTSTORAGE_TOKEN": "abc"}, ["VRM_TOKEN"]),
        (["--product", "1"], {"VRM_TOKEN": "abc"}, ["VOLTSTORAGE_EMAIL", "VOLTSTORAGE_PASSWORD"]),
        ([], {"VOLTSTORAGE_EMAIL": "me@example.com"}, ["VOLTSTORAGE_PASSWORD"]),
        ([], {"VOLTSTORAGE_PASSWORD": "secret-word"}, ["VOLTSTORAGE_EMAIL"]),
        ([], {"VRM_TOKEN": "two words"}, ["VRM_TOKEN"]),
        ([], {"VRM_TOKEN": "abc", "VRM_ACCOUNT": "a/b"}, ["VRM_ACCOUNT"]),
        ([], {"VOLTSTORAGE_TOKEN": "abc", "VOLTSTORAGE_ACCOUNT": "a/b"}, ["VOLTSTORAGE_ACCOUNT"]),
        ([], {"VOLTSTORAGE_EMAIL": "two words", "VOLTSTORAGE_PASSWORD": "x"}, ["VOLTSTORAGE_EMAIL"]),
        ([], {"VRM_TOKEN": "abc", "VRM_BASE_URL": "http://example.com/v2/"}, ["VRM_BASE_URL", "https"]),
        ([], {"VOLTSTORAGE_TOKEN": "abc", "VOLTSTORAGE_BASE_URL": "example.com"}, ["VOLTSTORAGE_BASE_URL"]),
    ],
)
def test_missing_or_unusable_credentials(options, variables, named):
    """A missing or invalid variable is named in one line without its value; the exit code is 2."""
    done = run("watch", *options, env=variables)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("energy-live: ")
    for name in named:
        assert name in done.stderr
    for value in ("secret-word", "two words"):
        assert value not in done.stderr


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"VRM_TOKEN": "f" * 64}, "vrm users.me"),
        ({"VRM_BASE_URL": "http://127.0.0.1:9/v2/"}, "the connection was refused"),
    ],
)
def test_an_unreachable_account_is_one_line(services, changed, expected):
    """An account that cannot be reached is one line on stderr and exit code 1."""
    done = run("watch", *EVENTS, "1", env=only(services, "VRM_") | changed)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
    assert "f" * 64 not in done.stderr


def test_one_account_failing_does_not_stop_the_other(services):
    """A failed login is one line on stderr, and the other vendor is shown."""
    done = run("watch", *EVENTS, "2", env=services | {"VOLTSTORAGE_PASSWORD": "wrong-word"})
    assert done.returncode == 0
    assert {vendor for vendor, _ in sources(done)} == {"vrm"}
    assert len(done.stderr.splitlines()) == 1
    assert "continuing without an account: voltstorage" in done.stderr
    assert "wrong-word" not in done.stderr + done.stdout


HAS = {"site": "151001, 151002", "product": "301, 302, 303"}


@pytest.mark.parametrize(("kind", "right"), [("site", "151001"), ("product", "301")])
def test_unknown_numbers_are_reported(services, kind, right):
    """An error lists the known numbers; beside a known number an unknown one is only a warning."""
    option, end = f"--{kind}", f"in this account; it has {HAS[kind]}"
    done = run("watch", option, "999", option, "998", *EVENTS, "1", env=services)
    error = f"energy-live: there is no {kind} 999 or 998 {end}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", error)
    done = run("watch", option, right, option, "999", *EVENTS, "1", "--seconds", "20", env=services)
    warning = f"energy-live: continuing without it: there is no {kind} 999 {end}\n"
    assert (done.returncode, done.stderr) == (0, warning)
    assert any(source[1] == right for source in sources(done))


def test_a_long_list_of_numbers_is_cut():
    """An error lists at most ten numbers, and names the command that lists all."""
    listed = ", ".join(map(str, range(1, 11)))
    with pytest.raises(NotFound, match=rf"it has {listed} and 5 more \(`energy-live sites` lists them\)$"):
        check_numbers("site", [99], dict.fromkeys(range(1, 16)))


def test_a_portal_id_is_not_a_site_number(services):
    """The error explains where the number is; for a portal id of digits only it names the number."""
    done = run("watch", "--site", "c0619ab27f32", *EVENTS, "1", env=services)
    assert done.returncode == 2
    assert "c0619ab27f32 is a VRM portal id; give the site's number" in " ".join(done.stderr.split())
    with pytest.raises(NotFound, match=r"it has 7, 8; 102030405060 is the identifier of site 7$"):
        check_numbers("site", [102030405060], {7: "102030405060", 8: None})


def test_credentials_are_not_printed(services):
    """Neither stdout nor stderr contains a credential."""
    done = run("watch", *EVENTS, "4", env=services)
    for name in ("VRM_TOKEN", "VOLTSTORAGE_PASSWORD"):
        assert services[name] not in done.stdout + done.stderr

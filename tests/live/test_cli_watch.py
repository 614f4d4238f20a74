import json

import pytest

from energy_core.errors import NotFound
from energy_live.watch import check_numbers
from tests.servers.command_line import readings, run, simulated

EVENTS = ("--interval", "0.25", "--format", "jsonl", "--events")


@pytest.fixture(scope="module")
def services():
    """The environment that points at a simulated pair of services."""
    with simulated("--speed", "240") as variables:
        yield variables


def only(services, *names):
    return {name: value for name, value in services.items() if name.startswith(names)}


def sources(done):
    return {(event["source"][0], event["source"][2]) for event in readings(done.stdout)}


def test_without_options_all_that_the_accounts_have(services):
    """Every site and product of both accounts comes in one stream."""
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
def test_options_name_what_is_shown(services, options, expected):
    """--site and --product narrow the stream to what they name."""
    done = run("watch", *options, *EVENTS, "4", env=services)
    assert (done.returncode, done.stderr) == (0, "")
    assert sources(done) == expected


def test_one_account_is_enough(services):
    """With the credentials of one vendor only, that vendor is shown."""
    done = run("watch", *EVENTS, "2", env=only(services, "VRM_"))
    assert (done.returncode, done.stderr) == (0, "")
    assert {vendor for vendor, _ in sources(done)} == {"vrm"}


def test_the_environment_names_the_accounts(services):
    """The labels are in every event; without them they are VRM's user id and `default`."""
    named = {**services, "VRM_ACCOUNT": "home", "VOLTSTORAGE_ACCOUNT": "cellar"}
    assert accounts(run("watch", *EVENTS, "12", env=named)) == {"vrm": {"home"}, "voltstorage": {"cellar"}}
    unnamed = accounts(run("watch", *EVENTS, "12", env=services))
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
    """What is missing in the environment is named in one line, exit code 2, and no value is repeated."""
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
    ("changed", "said"),
    [
        ({"VRM_TOKEN": "f" * 64}, "vrm users.me"),
        ({"VRM_BASE_URL": "http://127.0.0.1:9/v2/"}, "the connection was refused"),
    ],
)
def test_an_error_speaks_to_a_person(services, changed, said):
    """An account that cannot be reached is one line on stderr and exit code 1."""
    done = run("watch", *EVENTS, "1", env=only(services, "VRM_") | changed)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert "f" * 64 not in done.stderr


def test_one_account_failing_does_not_stop_the_other(services):
    """A refused login is complained about once, and the other vendor is shown."""
    done = run("watch", *EVENTS, "2", env=services | {"VOLTSTORAGE_PASSWORD": "wrong-word"})
    assert done.returncode == 0
    assert {vendor for vendor, _ in sources(done)} == {"vrm"}
    assert len(done.stderr.splitlines()) == 1
    assert "continuing without an account: voltstorage" in done.stderr
    assert "wrong-word" not in done.stderr + done.stdout


def missing(option, number):
    return f"{option} {number} is not in the account's list; check the number and the account's access"


@pytest.mark.parametrize(("option", "right"), [("--site", "151001"), ("--product", "301")])
def test_what_the_account_does_not_have_is_named(services, option, right):
    """Alone it is an error; next to a right one it is a warning, and that one is shown."""
    done = run("watch", option, "999", option, "998", *EVENTS, "1", env=services)
    error = f"energy-live: {missing(option, 999)}; {missing(option, 998)}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", error)
    done = run("watch", option, right, option, "999", *EVENTS, "1", "--seconds", "20", env=services)
    warning = f"energy-live: continuing without it: {missing(option, 999)}\n"
    assert (done.returncode, done.stderr) == (0, warning)
    assert any(source[1] == right for source in sources(done))


def test_a_portal_id_is_no_site(services):
    """The message says what to give instead; one of digits alone is found in the list of sites."""
    done = run("watch", "--site", "c0619ab27f32", *EVENTS, "1", env=services)
    assert done.returncode == 2
    assert "c0619ab27f32 is a VRM portal id; give the site's number" in " ".join(done.stderr.split())
    with pytest.raises(NotFound, match=r"^--site 102030405060 is not a number .*: use --site 7 for it$"):
        check_numbers("--site", [102030405060], {7: "102030405060", 8: None})


def test_secrets_stay_secret(services):
    """Neither output holds a credential."""
    done = run("watch", *EVENTS, "8", env=services)
    for name in ("VRM_TOKEN", "VOLTSTORAGE_PASSWORD"):
        assert services[name] not in done.stdout + done.stderr

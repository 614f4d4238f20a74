"""An operation asked without arguments has its request ready, and nothing else shares it."""

from energy_core.http.operation import Operation, Priority, Request

ME = Operation(vendor="acme", name="users.me", method="GET", path="users/me", repeatable=True)
SITE = ME.at("sites/{id}")


def test_asked_plainly_is_one_request():
    """Asking again without arguments makes no new object, and it says what a made one says."""
    assert ME.request() is ME.request()
    assert ME.request() == Request(operation=ME, path="users/me")


def test_arguments_make_their_own():
    """A query, a body, a priority or a part of the path is never that of the plain request."""
    assert ME.request(query=(("page", "2"),)).query == (("page", "2"),)
    assert ME.request(json={}).json == {}
    assert ME.request(json=False).json is False
    assert ME.request(priority=Priority.AUTH).priority is Priority.AUTH
    assert SITE.request(id=7).path == "sites/7"
    assert ME.request() == Request(operation=ME, path="users/me")


def test_another_path_has_its_own_plain_request():
    """What `at` returns asks for its own path."""
    assert ME.at("users/you").request().path == "users/you"


def test_equal_operations_stay_equal():
    """The request made ahead takes no part in comparing, hashing or showing."""
    twin = SITE.at("users/me")
    assert (twin, hash(twin), repr(twin)) == (ME, hash(ME), repr(ME))

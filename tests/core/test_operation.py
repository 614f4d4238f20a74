"""Operations and the requests they make."""

from energy_core.http.operation import Content, Operation, Priority, Request

ME = Operation(vendor="acme", name="users.me", method="GET", path="users/me", repeatable=True)
SITE = ME.at("sites/{id}")


def test_a_request_without_arguments():
    """It has the operation's path and priority, and no query or body."""
    assert ME.request() == Request(operation=ME, path="users/me")


def test_a_request_has_its_arguments():
    """Query, body, priority and parts of the path are those of the call, and of this request only."""
    assert ME.request(query=(("page", "2"),)).query == (("page", "2"),)
    assert ME.request(json={}).json == {}
    assert ME.request(json=False).json is False
    assert ME.request(priority=Priority.AUTH).priority is Priority.AUTH
    assert SITE.request(id=7).path == "sites/7"
    assert ME.request() == Request(operation=ME, path="users/me")


def test_the_same_operation_at_another_path():
    """`at` changes the path of its requests and nothing else."""
    assert ME.at("users/you").request().path == "users/you"
    twin = SITE.at("users/me")
    assert (twin, hash(twin), repr(twin)) == (ME, hash(ME), repr(ME))


def test_a_body_that_is_not_json():
    """Its bytes are in no repr."""
    request = ME.request()._replace(content=Content(b"a secret line", "text/plain", "gzip"))
    assert request.content is not None
    assert "secret" not in repr(request) + repr(request.content)

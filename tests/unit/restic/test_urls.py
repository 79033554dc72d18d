"""Places of repositories as users spell them, and the stores that are opened there."""

from contextlib import closing
from pathlib import Path

import pytest

from convoy_py.restic.errors import BadLocation
from convoy_py.restic.stores.local import LocalStore
from convoy_py.restic.stores.opening import open_store
from convoy_py.restic.stores.urls import Location, parse

AWS = {"AWS_ACCESS_KEY_ID": "AKEY", "AWS_SECRET_ACCESS_KEY": "canary"}
AZURE = {"AZURE_ACCOUNT_NAME": "account", "AZURE_ACCOUNT_KEY": "Y2FuYXJ5"}

SPELLED = {
    "/srv/backups": "/srv/backups",
    "/srv//backups/./x/": "/srv/backups/x",
    "local:/srv/backups/": "/srv/backups",
    "vfs:///srv/backups/": "/srv/backups",
    "vfs:///srv/with%20space": "/srv/with space",
    "s3:https://host:9000/bucket/a/b/": "s3:https://host:9000/bucket/a/b",
    "s3:http://[::1]:9000/bucket": "s3:http://[::1]:9000/bucket",
    "s3:host/bucket": "s3:https://host/bucket",
    "s3:host:9000/bucket/x//y": "s3:https://host:9000/bucket/x/y",
    "s3:s3.amazonaws.com/bucket/x": "s3:s3.amazonaws.com/bucket/x",
    "s3:https://s3.amazonaws.com/bucket/x": "s3:s3.amazonaws.com/bucket/x",
    "s3://s3.amazonaws.com/bucket/x": "s3:s3.amazonaws.com/bucket/x",
    "s3://bucket/x": "s3:s3.amazonaws.com/bucket/x",
    "s3://bucket/": "s3:s3.amazonaws.com/bucket",
    "s3://bucket@eu-central-1/x/": "s3:s3.eu-central-1.amazonaws.com/bucket/x",
    "s3:s3.eu-central-1.amazonaws.com/bucket/x": "s3:s3.eu-central-1.amazonaws.com/bucket/x",
    "rest:http://host:8000": "rest:http://host:8000/",
    "rest:https://host/path": "rest:https://host/path/",
    "rest:https://me:pa%2Fss@host:8000/path/": "rest:https://host:8000/path/",
    "gs:bucket:/x/y/": "gs:bucket:/x/y",
    "gs:bucket:x": "gs:bucket:/x",
    "azure:container:/": "azure:container:/",
}


@pytest.mark.parametrize("text", SPELLED)
def test_a_place_is_told_as_restic_takes_it(text: str) -> None:
    assert str(parse(text)) == SPELLED[text]
    assert parse(SPELLED[text]) == parse(text)


WRONG = {
    "": "nothing is no place of a repository: give /path, s3:",
    "backups": "backups is no place of a repository: give /path, s3:",
    "ftp://host/x": "is no place of a repository",
    "local:backups": "give local:/path",
    "vfs://host/path": "VFS path must follow: vfs:///path/ format",
    "vfs:/path": "VFS path must follow: vfs:///path/ format",
    "s3:host": "is no name of a bucket: give s3:HOST/BUCKET/PATH",
    "s3:https://host/": "is no name of a bucket",
    "s3:https://host:port/bucket": "is no address of http or https: give s3:https://HOST",
    "s3:https://host/bucket?x=1": "is no address of http or https",
    "s3:https://key:canary@host/bucket": "keys do not belong into the place",
    "s3://bucket": "Must be either s3://bucket@region/path/, or s3://bucket/path",
    "s3://bucket@/x": "Must be either s3://bucket@region/path/, or s3://bucket/path",
    "s3://host:9000/bucket": "with a host it is s3:https://HOST:PORT/BUCKET/PATH",
    "rest:host:8000/": "give rest:https://USER:PASSWORD@HOST:PORT/PATH/",
    "rest:ftp://host/": "give rest:https://",
    "rest:https://me:canary@host:99999/": "give rest:https://",
    "gs:bucket": "give gs:BUCKET:/PATH",
    "azure::/x": "give azure:CONTAINER:/PATH",
    "sftp:me@host:/x": "rclone serve restic",
    "b2:bucket:x": "rclone serve restic",
    "rclone:remote:x": "rclone serve restic",
    "swift:container:/x": "rclone serve restic",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_and_what_would_be_right_is_told(text: str) -> None:
    with pytest.raises(BadLocation) as caught:
        parse(text)
    assert WRONG[text] in str(caught.value)
    assert "canary" not in str(caught.value)


def test_the_endpoint_of_an_s3_service_may_be_given_beside() -> None:
    wanted = parse("s3:http://host:9000/bucket/x")
    assert parse("s3://bucket/x", endpoint="http://host:9000/") == wanted
    assert str(parse("s3://bucket/x", endpoint="host")) == "s3:https://host/bucket/x"


@pytest.mark.parametrize("text", ["/path", "s3:host/bucket", "rest:http://host/"])
def test_an_endpoint_beside_another_place_is_refused(text: str) -> None:
    with pytest.raises(BadLocation, match="takes no endpoint"):
        parse(text, endpoint="http://host:9000")


@pytest.mark.parametrize(
    "endpoint", ["http://host/path", "http://k:canary@host", "host:x", "ftp:x"]
)
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(BadLocation) as caught:
        parse("s3://bucket/x", endpoint=endpoint)
    assert "HOST:PORT" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_user_and_password_of_a_rest_server_are_taken_out() -> None:
    location = parse("rest:https://me:canary%2F%3A@host:8000/path/")
    assert (location.user, location.password) == ("me", "canary/:")
    assert "canary" not in f"{location}{location!r}"


@pytest.mark.parametrize(
    "text",
    [
        "s3:http://host/bucket",
        "s3://bucket@eu-central-1/x",
        "rest:http://me:canary@host/",
        "rest:https://me:canary@host/",
        "azure:container:/x",
    ],
)
def test_a_store_is_opened_without_asking_anybody_and_shows_nothing_secret(text: str) -> None:
    location = parse(text)
    with closing(open_store(location, {**AWS, **AZURE})) as store:
        assert store.location == str(location)
        assert "canary" not in f"{store!r}{store}"


def test_a_folder_is_opened(tmp_path: Path) -> None:
    assert isinstance(open_store(parse(str(tmp_path)), {}), LocalStore)


@pytest.mark.parametrize(
    ("text", "credentials", "wanted"),
    [
        ("s3:http://host/bucket", {}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ("s3://bucket/x", {"AWS_ACCESS_KEY_ID": "x"}, "AWS_SECRET_ACCESS_KEY"),
        ("azure:container:/x", {}, "AZURE_ACCOUNT_NAME"),
        ("rest:http://a%3Ab:canary@host/", {}, "no colon"),
    ],
)
def test_credentials_that_are_missing_are_told(
    text: str, credentials: dict[str, str], wanted: str
) -> None:
    with pytest.raises(BadLocation, match=wanted):
        open_store(parse(text), credentials)


@pytest.mark.parametrize("text", ["s3:https://host/bucket", "rest:https://host/"])
def test_certificates_that_cannot_be_read_are_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(BadLocation, match="certificates"):
        open_store(parse(text), AWS, ca_file=tmp_path / "none")


def test_two_spellings_of_one_place_are_equal_whoever_asks() -> None:
    assert parse("rest:http://me:x@host/") == parse("rest:http://you:y@host/")
    assert len({parse("s3://b-1/x"), parse("s3:s3.amazonaws.com/b-1/x/")}) == 1
    assert Location("local", "/x") != parse("/y")

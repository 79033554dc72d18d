"""What is particular to a REST server: one that deletes nothing, a full disk, certificates."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from convoy_py.restic.config import Config
from convoy_py.restic.errors import AlreadyThere, AppendOnly, StoreFailed
from convoy_py.restic.repository import Repository
from convoy_py.restic.seal import MasterKey
from convoy_py.restic.stores.base import Kind, Store
from convoy_py.restic.stores.opening import open_store
from convoy_py.restic.stores.retries import Patience
from convoy_py.restic.stores.urls import parse
from convoy_py.session.opened import check_deletes
from tests.conformance.servers import rest_served

NAME, OTHER = "ab" * 32, "cd" * 32
QUICK = Patience(retries=1, backoff=0.01)


@pytest.fixture(scope="module")
def append_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with (
        rest_served(tmp_path_factory.mktemp("append"), "--append-only") as address,
        closing(open_store(parse(f"rest:{address}"), {})) as store,
    ):
        store.prepare()
        yield store


def test_what_deletes_nothing_is_told_as_that(append_only: Store) -> None:
    for kind in (Kind.PACK, Kind.INDEX, Kind.SNAPSHOT, Kind.KEY):
        append_only.write(kind, NAME, [b"kept"])
        with pytest.raises(AppendOnly):
            append_only.delete(kind, NAME)
        assert append_only.read(kind, NAME) == b"kept"


def test_locks_are_deleted_even_there(append_only: Store) -> None:
    append_only.write(Kind.LOCK, NAME, [b"lock"])
    append_only.delete(Kind.LOCK, NAME)
    assert not list(append_only.list(Kind.LOCK))


def test_who_may_delete_nothing_is_told_before_anything_is_done(append_only: Store) -> None:
    """With who has to do it; a session asks before it forgets, deletes or prunes."""
    repository = Repository(append_only, MasterKey.new(), Config.new())
    before = list(append_only.list(Kind.SNAPSHOT))
    with pytest.raises(
        AppendOnly, match="a host whose credentials may delete there has to do this"
    ):
        check_deletes(repository)
    assert list(append_only.list(Kind.SNAPSHOT)) == before


def test_what_is_there_is_stored_already(append_only: Store) -> None:
    """As after an answer that was lost: the server refuses to write over it."""
    for _ in range(2):
        append_only.write(Kind.PACK, OTHER, [b"a ", b"pack"])
    with pytest.raises(AlreadyThere):
        append_only.write(Kind.PACK, OTHER, [b"another"])
    assert append_only.read(Kind.PACK, OTHER) == b"a pack"


def test_a_full_disk_is_no_success(tmp_path: Path, small_disk: Path) -> None:
    with (
        rest_served(small_disk) as address,
        closing(open_store(parse(f"rest:{address}"), {}, patience=QUICK)) as store,
    ):
        store.prepare()
        store.write(Kind.PACK, OTHER, [b"fits"])
        with pytest.raises(StoreFailed):
            store.write(Kind.PACK, NAME, [bytes(1 << 20)] * 4)
        # What the server leaves of it is not whole.
        assert dict(store.list(Kind.PACK)).get(NAME, 0) < 4 << 20
        assert store.read(Kind.PACK, OTHER) == b"fits"


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Of loopback, signed by itself: the certificate, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests")])
    now = datetime.now(UTC)  # noqa: TID251 - certificates hold by the real clock
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert", folder / "key"


def test_only_certificates_that_are_trusted_are_taken(tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    (tmp_path / "served").mkdir()
    with rest_served(tmp_path / "served", f"--cert={cert}", f"--key={key}") as address:
        location = parse(f"rest:{address.replace('http://', 'https://')}")
        with closing(open_store(location, {}, ca_file=cert)) as store:
            store.prepare()
            store.write(Kind.PACK, NAME, [b"pack"])
            assert store.read(Kind.PACK, NAME) == b"pack"
        with (
            closing(open_store(location, {}, patience=QUICK)) as store,
            pytest.raises(StoreFailed, match="certificate verify failed"),
        ):
            store.read(Kind.PACK, NAME)

"""A key names its tenant; nothing else does, and no key is kept."""

import hashlib
from collections.abc import Iterator

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.admission.tenants import TenantDirectory, key_digest
from serve_app.contracts.tenant import Tenant
from serve_app.errors import NotAuthenticated
from tests.fakes.builders import FakeClock, a_tenant

ACME, GLOBEX = a_tenant(id="acme"), a_tenant(id="globex")
ACME_KEY, GLOBEX_KEY = "uc-acme-0123456789", "uc-globex-9876543210"
DIRECTORY = TenantDirectory([(key_digest(ACME_KEY), ACME), (key_digest(GLOBEX_KEY), GLOBEX)])


@pytest.mark.parametrize(
    ("authorization", "tenant"),
    [
        (f"Bearer {ACME_KEY}", ACME),
        (f"Bearer {GLOBEX_KEY}", GLOBEX),
        (f"bearer {ACME_KEY}", ACME),
        (f"BEARER   {ACME_KEY}  ", ACME),
    ],
)
def test_a_key_names_its_tenant(authorization: str, tenant: object) -> None:
    assert DIRECTORY.authenticate(authorization) is tenant


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer    ",
        ACME_KEY,
        f"Basic {ACME_KEY}",
        f"Bearer{ACME_KEY}",
        f" Bearer {ACME_KEY}",
        "Bearer wrong",
        f"Bearer {ACME_KEY}x",
        f"Bearer {ACME_KEY[:-1]}",
        f"Bearer {ACME_KEY.upper()}",
        f"Bearer {ACME_KEY} {ACME_KEY}",
        f"Bearer {key_digest(ACME_KEY).hex()}",
        "Bearer \udcff\udc80",
        "Bearer \ud800",
        "\ud800 x",
        "Bearer \x00",
    ],
)
def test_anything_else_is_nobody(authorization: str | None) -> None:
    with pytest.raises(NotAuthenticated):
        DIRECTORY.authenticate(authorization)


@given(st.text(st.characters(exclude_categories=())))
def test_no_header_makes_it_fail_otherwise(header: str) -> None:
    for authorization in (header, f"Bearer {header}"):
        with pytest.raises(NotAuthenticated):
            DIRECTORY.authenticate(authorization)


def test_an_empty_directory_knows_nobody() -> None:
    with pytest.raises(NotAuthenticated):
        TenantDirectory([]).authenticate(f"Bearer {ACME_KEY}")


def test_keys_whose_digests_begin_alike_are_told_apart() -> None:
    digest = key_digest(ACME_KEY)
    alike = digest[:8] + bytes(24)
    directory = TenantDirectory([(alike, GLOBEX), (digest, ACME)])
    assert directory.authenticate(f"Bearer {ACME_KEY}") is ACME
    with pytest.raises(NotAuthenticated):
        TenantDirectory([(alike, GLOBEX)]).authenticate(f"Bearer {ACME_KEY}")


def test_a_digest_is_the_sha256_of_the_key() -> None:
    assert key_digest("key") == hashlib.sha256(b"key").digest()


def test_no_key_is_kept() -> None:
    kept = repr({name: getattr(DIRECTORY, name) for name in vars(DIRECTORY)})
    assert ACME_KEY not in kept
    assert GLOBEX_KEY not in kept
    assert key_digest(ACME_KEY) in [known.digest for found in DIRECTORY._by_prefix.values() for known in found]


STORED = a_tenant(id="stored")
STORED_KEY = "uc-stored-55555555"
STORED_HEADER = f"Bearer {STORED_KEY}"


def a_directory(clock: FakeClock | None = None) -> TenantDirectory:
    return TenantDirectory([(key_digest(ACME_KEY), ACME)], clock or FakeClock())


def test_a_stored_key_names_its_tenant_beside_the_configured_ones() -> None:
    directory = a_directory()
    directory.replace_stored([(key_digest(STORED_KEY), None, STORED)])
    assert directory.authenticate(STORED_HEADER) is STORED
    assert directory.authenticate(f"Bearer {ACME_KEY}") is ACME


def test_replacing_forgets_what_was_stored_and_never_what_is_configured() -> None:
    directory = a_directory()
    directory.replace_stored([(key_digest(STORED_KEY), None, STORED)])
    directory.replace_stored([])
    with pytest.raises(NotAuthenticated):
        directory.authenticate(STORED_HEADER)
    assert directory.authenticate(f"Bearer {ACME_KEY}") is ACME


def test_a_stored_entry_does_not_take_over_a_configured_key() -> None:
    directory = a_directory()
    directory.replace_stored([(key_digest(ACME_KEY), None, STORED)])
    assert directory.authenticate(f"Bearer {ACME_KEY}") is ACME


def test_a_key_is_refused_from_the_moment_it_expires() -> None:
    clock = FakeClock(1_000.0)
    directory = a_directory(clock)
    directory.replace_stored([(key_digest(STORED_KEY), 1_010.0, STORED)])
    clock.advance(9.999)
    assert directory.authenticate(STORED_HEADER) is STORED
    clock.advance(0.001)
    with pytest.raises(NotAuthenticated):
        directory.authenticate(STORED_HEADER)


def test_a_key_renewed_in_a_second_entry_outlives_the_first() -> None:
    clock = FakeClock(1_000.0)
    directory = a_directory(clock)
    directory.replace_stored([(key_digest(STORED_KEY), 1_000.0, GLOBEX), (key_digest(STORED_KEY), None, STORED)])
    assert directory.authenticate(STORED_HEADER) is STORED


def test_entries_that_break_off_leave_everything_as_it_was() -> None:
    def entries() -> Iterator[tuple[bytes, float | None, Tenant]]:
        yield key_digest(GLOBEX_KEY), None, GLOBEX
        raise OSError

    directory = a_directory()
    directory.replace_stored([(key_digest(STORED_KEY), None, STORED)])
    with pytest.raises(OSError):  # noqa: PT011 - the very error of the iterator above
        directory.replace_stored(entries())
    assert directory.authenticate(STORED_HEADER) is STORED
    with pytest.raises(NotAuthenticated):
        directory.authenticate(f"Bearer {GLOBEX_KEY}")

"""A key names its tenant; nothing else does, and no key is kept."""

import hashlib

import hypothesis.strategies as st
import pytest
from hypothesis import given

from serve_app.admission.tenants import TenantDirectory, key_digest
from serve_app.errors import NotAuthenticated
from tests.fakes.builders import a_tenant

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
    assert key_digest(ACME_KEY) in [digest for found in DIRECTORY._by_prefix.values() for digest, _ in found]

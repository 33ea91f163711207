"""Tenants that are made, disabled or given other keys while the gateway runs."""

import asyncio
import logging

from serve_app.admission.tenants import TenantDirectory
from serve_app.contracts.tenant import TenantSource
from serve_app.errors import SharedStateUnavailable

log = logging.getLogger(__name__)

FOLLOW_EVERY_S = 0.5


async def follow_tenants(source: TenantSource, directory: TenantDirectory) -> None:
    """Until cancelled: a change is known here a second later. While nobody answers, what was known goes on to hold."""
    known: int | None = None
    while True:
        try:
            version = await source.tenants_version()
            if version is not None and version != known:
                known, entries = await source.tenants()
                directory.replace_stored(entries)
        except SharedStateUnavailable as error:
            log.info("tenants cannot be followed now: %s", error.code)
        await asyncio.sleep(FOLLOW_EVERY_S)

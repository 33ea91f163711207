"""The `x-ratelimit-*` headers of an answer that was refused and so has no admission to ask for them."""

from serve_app.admission import quota
from serve_app.contracts.tenant import Tenant


def limit_headers(tenant: Tenant, wallet: quota.Balances) -> dict[str, str]:
    """As `Admission.headers`, from what is left in the tenant's meters; empty for a tenant without such limits.

    Given the admission gate in the wallet's place, it tells what the gate enforces while the counters' owner is away.
    """
    return quota.limit_headers(tenant, wallet)

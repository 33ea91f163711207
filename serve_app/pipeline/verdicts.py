"""What an attempt's end says of its upstream, told to the fleet in the table's words."""

from serve_app.contracts.breaker import BreakerEvent
from serve_app.contracts.fleet import Candidate
from serve_app.contracts.vocabulary import LOCAL
from serve_app.errors import GatewayError, UpstreamFailed
from serve_app.resilience.table import UpstreamKind, Verdict, judge
from serve_app.upstreams.fleet import Fleet


def tell(fleet: Fleet, candidate: Candidate, error: GatewayError) -> Verdict:
    """The table's verdict on `error`, after the breaker and the availability of its upstream have heard of it."""
    upstream_id = candidate.upstream.id
    verdict = judge(error, UpstreamKind.LOCAL if candidate.upstream.place == LOCAL else UpstreamKind.CLOUD)
    if verdict.is_success:
        fleet.saw(BreakerEvent(upstream_id, is_success=True))
    elif verdict.counts or verdict.trips:
        fleet.saw(BreakerEvent(upstream_id, is_success=False, trips=verdict.trips, open_for_s=verdict.opens_for_s))
    else:
        fleet.not_called(upstream_id)
    if isinstance(error, UpstreamFailed):
        fleet.saw_failure(upstream_id, error)
    return verdict


def tell_success(fleet: Fleet, candidate: Candidate) -> None:
    fleet.saw(BreakerEvent(candidate.upstream.id, is_success=True))

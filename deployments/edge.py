"""What Serve's ingress puts around every request: named in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH."""

from starlette.middleware import Middleware

from deployments.draining import DrainingWatch
from serve_app.http_api.edge import Edge


def middlewares() -> list[Middleware]:
    """Inner ones first, as Serve applies them: the watch must hear Serve's own words, before the edge rewords them."""
    return [Middleware(DrainingWatch), Middleware(Edge)]

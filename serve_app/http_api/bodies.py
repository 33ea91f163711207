"""A body within its limit, refused while it is read."""

from starlette.requests import Request

from serve_app.errors import BodyTooLarge
from serve_app.http_api.leaving import ClientLeft


async def read_raw(request: Request, max_bytes: int) -> bytes:
    """Raises BodyTooLarge as soon as more than `max_bytes` are announced or have come."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise BodyTooLarge(max_bytes)
    parts: list[bytes] = []
    num_bytes = 0
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        part = message.get("body", b"")
        num_bytes += len(part)
        if num_bytes > max_bytes:
            raise BodyTooLarge(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)

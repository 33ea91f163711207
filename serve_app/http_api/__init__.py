"""OpenAI's routes over ASGI: bytes in, errors as JSON, streams as SSE. Runs in any ASGI server, and in-process."""

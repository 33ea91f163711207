"""The instance's two secrets: made once, readable by their owner alone, never a default that somebody could know."""

import os
import secrets
from pathlib import Path


def ensure_secret(path: Path, prefix: str = "") -> bool:
    """Makes the secret unless there is one. Returns whether it was made now."""
    try:
        # Created with its mode: there is no moment at which another user could open it.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        if path.read_text().strip():
            return False
        path.unlink()
        return ensure_secret(path, prefix)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{prefix}{secrets.token_hex(32)}\n")
    return True

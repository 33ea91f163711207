"""Secrets come from the environment or from files, when they are needed and where they are needed."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from serve_app.settings.problems import did_you_mean
from serve_app.settings.schema import SecretRef


class MissingSecret(Exception):
    """No source named by a reference holds a value. The text names the sources, never a value."""


def resolve_secret(ref: SecretRef, base_dir: Path, environment: Mapping[str, str] = os.environ) -> SecretStr:
    """The value from `ref.env`, else from `ref.file` (relative to `base_dir`); raises MissingSecret."""
    tried = []
    if ref.env is not None:
        value = environment.get(ref.env, "").strip()
        if value:
            return SecretStr(value)
        tried.append(f"environment variable {ref.env} is not set{_nearest(ref.env, environment)}")
    if ref.file is not None:
        try:
            value = (base_dir / ref.file.expanduser()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            tried.append(f"file {ref.file} cannot be read ({type(error).__name__})")
        else:
            if value:
                return SecretStr(value)
            tried.append(f"file {ref.file} is empty")
    raise MissingSecret("; ".join(tried))


def _nearest(name: str, environment: Mapping[str, str]) -> str:
    hint = did_you_mean(name, environment)
    return hint if "did you mean" in hint else ""

"""A model's manifest: one SHA-256 for each file of its folder.

Keeps invariant 9: a replica calls `verify_model` before it loads weights, and a folder with a file missing, added or
changed is refused as a whole.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, StringConstraints, ValidationError

from serve_app.strict import StrictModel

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class FileDigest(StrictModel):
    sha256: Sha256
    num_bytes: Annotated[int, Field(ge=0)]


class Manifest(StrictModel):
    """`files` maps each file's path inside the folder, with forward slashes, to its digest."""

    name: Annotated[str, StringConstraints(min_length=1)]
    files: Annotated[Mapping[str, FileDigest], Field(min_length=1)]

    def to_json(self) -> str:
        """The text that is committed: sorted, one digest a line, ends with a newline."""
        ordered = self.model_copy(update={"files": dict(sorted(self.files.items()))})
        return ordered.model_dump_json(indent=2) + "\n"


class ModelRejected(Exception):
    """A folder is not what its manifest says. `faults` names every file that is missing, extra or changed."""

    def __init__(self, folder: str, faults: tuple[str, ...]) -> None:
        super().__init__(folder, faults)
        self.folder, self.faults = folder, faults

    def __str__(self) -> str:
        return f"the model in {self.folder} does not match its manifest: {'; '.join(self.faults)}"


def describe(folder: Path, name: str | None = None) -> Manifest:
    """The manifest of what `folder` holds now; its name is the folder's unless given. Raises ModelRejected when empty.

    A link to a file counts as that file. A link to a folder, a socket or a device is refused: its content could change
    without the manifest noticing.
    """
    entries = _entries(folder)
    faults = tuple(f"{path}: not a plain file" for path, entry in entries.items() if not entry.is_file())
    if faults or not entries:
        raise ModelRejected(str(folder), faults or ("the folder holds no file",))
    files = {path: _digest(entry) for path, entry in entries.items()}
    return Manifest(name=name or folder.resolve().name, files=files)


def verify(folder: Path, manifest: Manifest) -> None:
    """Raises ModelRejected unless `folder` holds exactly the manifest's files, byte for byte. Reads every byte."""
    entries = _entries(folder)
    faults = [f"{path}: missing" for path in manifest.files if path not in entries]
    faults += [f"{path}: not in the manifest" for path in entries if path not in manifest.files]
    for path, expected in manifest.files.items():
        if path in entries:
            faults += _faults_of(entries[path], path, expected)
    if faults:
        raise ModelRejected(str(folder), tuple(sorted(faults)))


def read_manifest(path: Path) -> Manifest:
    """Raises ModelRejected, naming the manifest itself, when it is absent or malformed."""
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelRejected(str(path), (f"the manifest cannot be read: {error.strerror}",)) from error
    except ValidationError as error:
        problems = tuple(
            f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}" for fault in error.errors()
        )
        raise ModelRejected(str(path), problems) from error


def verify_model(folder: Path, manifest_path: Path) -> None:
    """What a replica calls before it loads anything: raises ModelRejected unless the folder is the manifest's."""
    verify(folder, read_manifest(manifest_path))


def _faults_of(entry: Path, path: str, expected: FileDigest) -> Iterator[str]:
    if not entry.is_file():
        yield f"{path}: not a plain file"
        return
    num_bytes = entry.stat().st_size
    # The size is looked at first: a truncated download is named as such, without reading gigabytes.
    if num_bytes != expected.num_bytes:
        yield f"{path}: {num_bytes} bytes instead of {expected.num_bytes}"
        return
    if _digest(entry).sha256 != expected.sha256:
        yield f"{path}: changed (SHA-256 differs)"


def _entries(folder: Path) -> dict[str, Path]:
    """Everything under `folder` that is not a folder of its own, by path; a linked folder counts as one entry."""
    entries: dict[str, Path] = {}
    for parent, folders, files in os.walk(folder, onerror=_raise):
        linked = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in (*files, *linked):
            entry = Path(parent) / name
            entries[entry.relative_to(folder).as_posix()] = entry
    return dict(sorted(entries.items()))


def _raise(error: OSError) -> None:
    raise ModelRejected(str(error.filename), (f"cannot be read: {error.strerror}",)) from error


def _digest(path: Path) -> FileDigest:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
            return FileDigest(sha256=digest.hexdigest(), num_bytes=file.tell())
    except OSError as error:
        raise ModelRejected(str(path), (f"cannot be read: {error.strerror}",)) from error

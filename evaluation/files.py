"""Writing files: an earlier file stays whole until the new one is complete."""

import contextlib
import json
import os
import tempfile
from pathlib import Path

from evaluation.console import UserError


class WriteError(UserError):
    """A file that cannot be written. The message is one line that names the file."""


def check_writable(path: Path | str) -> None:
    """Make the folder of `path`; raise `WriteError` if a file of that name cannot be written.

    An earlier file of that name stays as it is.
    """
    path = Path(path)
    if path.is_dir():
        raise WriteError(f"cannot write {path}: expected a file name; received a folder")
    with _errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()


def write(path: Path | str, content: str | bytes) -> None:
    """Write text or bytes; `WriteError` names the file and the reason."""
    path = Path(path)
    data = content.encode() if isinstance(content, str) else content
    with _errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(data)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def write_json(path: Path | str, content) -> None:
    """Write `content` as indented JSON; numbers must be finite."""
    write(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


@contextlib.contextmanager
def _errors(path):
    try:
        yield
    except OSError as e:
        raise WriteError(f"cannot write {path}: {e.strerror or e}") from e

"""A run's folder: every file appears whole or not at all, so a kill never leaves half a result.

A file is written under a temporary name in the same folder, flushed to the disk, and renamed
(`os.replace`). Checkpoints take turns in two files, so that a good one is left whatever happens
to the newer. metrics.json is written last: a run that has it is finished.
"""

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.errors import RunFolderError

CHECKPOINTS = ("checkpoint-0.npz", "checkpoint-1.npz")
FILES = ("metrics.json", *CHECKPOINTS, "best.keras", "history.json", "config.json")


class RunFolder:
    """Reads and writes one run folder; RunFolderError says what is wrong and what to do."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @property
    def is_started(self) -> bool:
        """Whether it holds any result; config.json alone is of a run that never began."""
        return any((self.path / name).exists() for name in FILES if name != "config.json")

    @property
    def is_finished(self) -> bool:
        """Whether metrics.json is there, which is written last."""
        return (self.path / "metrics.json").exists()

    def check(self, config: dict, resume: bool, overwrite: bool) -> None:
        """Say why `prepare` with the same arguments would fail; changes nothing.

        Raises RunFolderError if the folder holds a run that these options do not go on with or
        replace, or cannot be written to.
        """
        with self._writable():
            started, finished = self.is_started, self.is_finished
        if started and not (resume or overwrite):
            raise RunFolderError(
                f"{self.path} already holds a run. Go on with it (--resume), write elsewhere "
                "(--out DIR), or replace it (--overwrite)."
            )
        if started and resume and (self.path / "config.json").exists():
            self._check_same(config)
        if finished and resume:
            return  # nothing will be written
        with self._writable():
            place = next(path for path in (self.path, *self.path.parents) if path.exists())
            with tempfile.TemporaryFile(dir=place):
                pass

    def prepare(self, config: dict, resume: bool, overwrite: bool) -> None:
        """Make the folder ready for a run with `config`, which starts now.

        With `overwrite` this removes the earlier run: check first whatever can be checked.
        Raises RunFolderError as `check` does.
        """
        self.check(config, resume, overwrite)
        with self._writable():
            for leftover in self.path.glob("tmp-*"):  # of a killed process
                leftover.unlink()
        if self.is_started and resume and (self.path / "config.json").exists():
            return
        text = _json_bytes(config)
        temporary = self.path / f"tmp-{os.getpid()}-config.json"
        with self._writable():
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                _write_synced(temporary, lambda file: file.write(text))
                if overwrite:  # only now, when writing is known to work
                    for name in FILES:
                        (self.path / name).unlink(missing_ok=True)
                self._publish(temporary, "config.json")
            finally:
                temporary.unlink(missing_ok=True)

    def write_json(self, name: str, content: object) -> None:
        """Write a file of JSON content."""
        text = _json_bytes(content)
        self._write(name, lambda file: file.write(text))

    def read_json(self, name: str) -> object:
        """The content of a JSON file."""
        with self._readable(name):
            return json.loads((self.path / name).read_text())

    def write_model(self, name: str, model: "keras.Model") -> None:  # noqa: F821
        """Save a whole Keras model (it wants a path that ends in .keras)."""
        temporary = self.path / f"tmp-{os.getpid()}-{name}"
        with self._writable(name):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                model.save(temporary)
                with open(temporary, "rb+") as file:
                    os.fsync(file.fileno())
                self._publish(temporary, name)
            finally:
                temporary.unlink(missing_ok=True)

    def read_model(self, name: str) -> "keras.Model":  # noqa: F821
        """Load a Keras model, not compiled."""
        import keras

        with self._readable(name):
            return keras.models.load_model(self.path / name, compile=False)

    def write_checkpoint(self, state: dict, arrays: dict[str, np.ndarray]) -> None:
        """`state` is JSON content with the number of finished epochs under "epoch"."""
        packed = np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)
        name = CHECKPOINTS[state["epoch"] % 2]
        self._write(name, lambda file: np.savez(file, state=packed, **arrays))

    def read_checkpoint(
        self, warn: Callable[[str], object] = print
    ) -> tuple[dict, dict[str, np.ndarray]] | None:
        """(state, arrays) of the newest readable checkpoint, None if there is none.

        An unreadable one is reported to `warn` and the other used; RunFolderError if that leaves
        none.
        """
        found, broken = [], []
        for path in (self.path / name for name in CHECKPOINTS):
            if not path.exists():
                continue
            try:
                with np.load(path, allow_pickle=False) as file:
                    arrays = {name: file[name] for name in file.files}  # checks each CRC
                found.append((json.loads(arrays.pop("state").tobytes()), arrays))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                broken.append(f"{path} ({type(error).__name__}: {error})")
        if broken and not found:
            raise RunFolderError(
                f"no readable checkpoint: {'; '.join(broken)}. Start the run again (--overwrite)."
            )
        for text in broken:
            warn(f"unreadable checkpoint {text}: the previous one is used")
        return max(found, key=lambda pair: pair[0]["epoch"], default=None)

    def remove_checkpoints(self) -> None:
        """Remove the files that only a resumed run needs."""
        with self._writable("the checkpoints"):
            for name in CHECKPOINTS:
                (self.path / name).unlink(missing_ok=True)

    def _check_same(self, config):
        stored = self.read_json("config.json")
        if not isinstance(stored, dict):
            raise RunFolderError(
                f"{self.path / 'config.json'} must hold a JSON object with the options of the run; "
                f"received: {type(stored).__name__}. Start the run again (--overwrite)."
            )
        changed = [
            f"{key}={stored.get(key)!r} there, {config.get(key)!r} now"
            for key in sorted({*stored, *config})
            if stored.get(key) != config.get(key)
        ]
        if changed:
            raise RunFolderError(
                f"{self.path} was started with other options ({'; '.join(changed)}). Give the "
                "same ones, or another --out DIR, or replace the run (--overwrite)."
            )

    def _write(self, name, write):
        temporary = self.path / f"tmp-{os.getpid()}-{name}"
        with self._writable(name):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                _write_synced(temporary, write)
                self._publish(temporary, name)
            finally:
                temporary.unlink(missing_ok=True)

    def _publish(self, temporary, name):
        os.replace(temporary, self.path / name)
        if os.name == "posix":  # make the rename itself survive a power cut
            handle = os.open(self.path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    @contextlib.contextmanager
    def _writable(self, name=None):
        try:
            yield
        except OSError as error:
            where = f"{name} in {self.path}" if name else f"to the folder {self.path}"
            raise RunFolderError(
                f"cannot write {where}: {error.strerror or error}. Earlier results "
                "are untouched. Make room or choose another folder (--out DIR), then go on with "
                "--resume."
            ) from error

    @contextlib.contextmanager
    def _readable(self, name):
        try:
            yield
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RunFolderError(
                f"cannot read {self.path / name}: {reason}. Start the run again (--overwrite)."
            ) from error


def _json_bytes(content):
    return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def _write_synced(path, write):
    with open(path, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())

"""What a run was made with: versions, backend, commit, machine, date."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGES = ("keras", "tensorflow", "jax", "torch", "numpy", "scipy", "keras-lmu",
            "tensorflow-datasets", "scikit-learn")  # fmt: skip


def describe_environment() -> dict:
    """JSON content; a package that is not installed has the version null."""
    import keras

    import hybrid_lmu

    return {
        "versions": {
            "python": platform.python_version(),
            "hybrid_lmu": hybrid_lmu.__version__,
            **{name.replace("-", "_"): _version(name) for name in PACKAGES},
        },
        "backend": keras.backend.backend(),
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": _cpu_name(), "cores": os.cpu_count(), "system": platform.platform()},
    }


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit():
    def git(*arguments):
        return subprocess.run(
            ("git", "-C", str(Path(__file__).parent), *arguments),
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip

    try:
        return git("rev-parse", "HEAD") + (
            "-dirty" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):  # no git, or not a checkout
        return None


def _cpu_name():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

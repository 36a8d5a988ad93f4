"""Build a kernel's C source where there is a compiler, once a machine, and load it."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from slt_bench.kernels._clock import preparing

_HERE = Path(__file__).parent
#: Nothing here lets the compiler assume that NaN and infinity do not occur, and nothing changes
#: the processor's state when the library is loaded (linking with -ffast-math would).
_FLAGS = (
    *("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"),
    *("-std=gnu11", "-Wno-psabi", "-fPIC", "-shared", "-fvisibility=hidden", f"-I{_HERE}"),
)
_BUILD_SECONDS = 120
_log = logging.getLogger(__name__)


def enabled() -> bool:
    """Whether kernels may be used: not where the environment has ``SLT_BENCH_KERNELS=0``."""
    return os.environ.get("SLT_BENCH_KERNELS", "1") != "0"


@cache
def library(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    """The loaded library of a C file for float32 or float64; None where it cannot be built.

    It is kept in the user's cache folder (``SLT_BENCH_KERNEL_CACHE`` names another) under the
    digest of its text, the headers, the flags, the compiler and the processor's features.
    """
    with preparing():
        return _library(source, dtype)


def _library(source: Path, dtype: torch.dtype) -> ctypes.CDLL | None:
    compiler = _compiler()
    if not compiler:
        _log.info("no C compiler: plain torch in place of %s", source.name)
        return None
    flags = [*_FLAGS, *_wide_vectors(), *(["-DSLT_DOUBLE"] if dtype == torch.float64 else [])]
    texts = [source.read_bytes(), *(path.read_bytes() for path in sorted(_HERE.glob("*.h")))]
    facts = [*compiler, _version(compiler[0]), *(f for f in flags if f[:2] != "-I"), features()]
    digest = hashlib.sha256(b"\0".join([*texts, *(fact.encode() for fact in facts)])).hexdigest()
    built = cache_folder() / f"{source.stem.strip('_')}-{digest[:20]}.so"
    try:
        if not built.exists():
            _build([*compiler, *flags, str(source), "-lm"], built)
        return ctypes.CDLL(str(built))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or error
        _log.warning("plain torch in place of %s, which did not build: %s", source.name, detail)
        return None


def _build(command: list[str], target: Path) -> None:
    """Compile beside the target and rename: another process never loads half a file."""
    _log.info("building %s", target.name)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        output = Path(folder) / target.name
        subprocess.run(
            [*command, "-o", str(output)],
            check=True,
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS,
        )
        output.replace(target)


def cache_folder() -> Path:
    """Where built kernels and what was measured of them are kept."""
    if named := os.environ.get("SLT_BENCH_KERNEL_CACHE"):
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "slt_bench" / "kernels"


@cache
def features() -> str:
    """What code for this processor depends on, as one line."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "flags", "Features")
    found = {line.split(":", 1)[0].strip(): line for line in lines if line.startswith(wanted)}
    return " ".join([platform.machine(), platform.processor(), *found.values()])


def instruction_set() -> str:
    """The widest vector instructions of this processor: AVX-512, AVX2, NEON or none of them."""
    known = {"avx512f": "AVX-512", "avx2": "AVX2", "asimd": "NEON", "arm64": "NEON"}
    words = set(features().split())
    return next((name for flag, name in known.items() if flag in words), "other")


def kernel_facts() -> dict[str, Any]:
    """What a time that a kernel had a part in depends on, JSON-able; see also ``features``.

    ``enabled``: whether kernels may be used. ``instruction_set``: what they are built for.
    ``compiler``: the first line that it says of its version, None where there is none, so that
    plain torch ran.
    """
    compiler = _compiler()
    return {
        "enabled": enabled(),
        "instruction_set": instruction_set(),
        "compiler": _version(compiler[0]) if compiler else None,
    }


def _compiler() -> list[str]:
    """The command of the C compiler and its arguments; nothing where none is found."""
    command = shlex.split(os.environ.get("CC", "")) or [shutil.which("cc") or ""]
    return command if shutil.which(command[0]) else []


def _wide_vectors() -> list[str]:
    return ["-mprefer-vector-width=512"] if instruction_set() == "AVX-512" else []


@cache
def _version(compiler: str) -> str:
    done = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.partition("\n")[0]

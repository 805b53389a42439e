"""Choose fp32 or bf16 on a CPU for `compute.precision: auto` by a cached measurement.

bf16 instructions are not always fast: without AMX they may take twice as long as fp32.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelworks.errors import BadInput
from modelworks.files.atomic_files import replace_json
from modelworks.files.digest import json_digest
from modelworks.training.hardware import Hardware, Precision, environment
from modelworks.training.machine.processor import Processor, find

__all__ = ["LEAST_GAIN", "OPERATIONS", "cached", "choose", "explained", "identity", "recorded"]

LEAST_GAIN = 1.2
"""Speed-up over fp32 from which bf16 is used; less is not worth the lower precision."""
MEASURE_SECONDS = 120.0
"""Timeout of the measuring program, on a busy machine too."""
OPERATIONS = ("products", "convolutions")
RATES = tuple(f"{operation}_{precision}" for operation in OPERATIONS for precision in ("fp32", "bf16"))
METHOD = 1
"""Version of the measuring method in `product_rates.py`; rates of different versions are not comparable."""

ISA_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
"""Environment variables that limit the instructions of torch and oneDNN."""

Rates = Mapping[str, float]
"""GFLOP/s under each name of RATES."""


def choose(
    hardware: Hardware,
    operations: tuple[str, ...],
    folders: Sequence[Path],
    *,
    processor: Processor | None = None,
    measure: Callable[[Hardware], Rates] | None = None,
) -> Hardware:
    """Decide a precision that `detect` left undecided; return other hardware unchanged.

    Args:
        operations: the main operations of the architecture; bf16 must be faster in each.
        folders: caches with one file per combination of processor, libraries and threads. All are read, and the first
            that can be written gets a new measurement.
        processor: by default that of this machine.
        measure: returns the rates; by default a child process that imports torch, which takes about two seconds.

    Raises:
        BadInput: the measurement failed.
    """
    if hardware.precision_source != "undecided":
        return hardware
    key = identity(hardware, processor)
    rates = cached(folders, key)
    if rates is None:
        rates = (measure or _measure)(hardware)
        for folder in folders:
            with suppress(OSError):
                _write(folder, key, rates)
                break
    gain = min(_gain(rates, operation) for operation in operations)
    return replace(
        hardware,
        precision="bf16" if gain >= LEAST_GAIN else "fp32",
        precision_source="measurement",
        product_rates=rates,
    )


def recorded(hardware: Hardware, precision: Precision, paths: Iterable[Path]) -> Hardware | None:
    """Return the hardware with the precision recorded in one of these files, or None.

    Args:
        precision: the recorded precision to look for.
        paths: files of `Job.write` or records of a `TrainedModel`; they need not exist.
    """
    for path in paths:
        values = _read(path)
        values = values.get("hardware", values)
        source = values.get("precision_source")
        # Only choices of `auto`, not a precision from a config.
        if values.get("precision") == precision and source in ("measurement", "cpu_flags"):
            rates = values.get("product_rates", {})
            return replace(hardware, precision=precision, precision_source=source, product_rates=rates)
    return None


def explained(source: str, rates: Rates) -> str:
    """Return the reason for a precision as text; empty for one from the config or a GPU."""
    if source == "cpu_flags":
        return "the CPU has no bf16 instructions"
    if source != "measurement":
        return ""
    parts = [
        f"{operation} {rates[f'{operation}_bf16']:,.0f} GFLOP/s ({_gain(rates, operation):.2f} of fp32)"
        for operation in OPERATIONS
    ]
    return f"bf16 measured: {', '.join(parts)}"


def identity(hardware: Hardware, processor: Processor | None = None) -> dict[str, Any]:
    """Return what rates depend on: processor, libraries, threads.

    The version of torch covers oneDNN, and in a wheel MKL, which are linked into it.
    """
    processor = processor or find()
    libraries = {}
    for name in ("torch", "mkl"):
        with suppress(importlib.metadata.PackageNotFoundError):
            libraries[name] = importlib.metadata.version(name)
    return {
        "method": METHOD,
        "processor": {**asdict(processor), "flags": list(processor.flags)},  # a list, as in JSON
        "libraries": libraries,
        "variables": {name: os.environ[name] for name in ISA_VARIABLES if name in os.environ},
        "threads": hardware.threads,
    }


def cached(folders: Iterable[Path], key: Mapping[str, Any]) -> Rates | None:
    """Return the cached rates of an `identity`; None if they are missing or invalid in all folders."""
    found = (_read(_file(folder, key)) for folder in folders)
    return next((values["rates"] for values in found if values.get("identity") == key and _valid(values)), None)


def _valid(values: Mapping[str, Any]) -> bool:
    rates = values.get("rates")
    if not isinstance(rates, dict) or set(rates) != set(RATES):
        return False
    return all(isinstance(rate, int | float) and 0 < rate < float("inf") for rate in rates.values())


def _gain(rates: Rates, operation: str) -> float:
    return rates[f"{operation}_bf16"] / rates[f"{operation}_fp32"]


def _measure(hardware: Hardware) -> Rates:
    """Measure in a child process with a training's environment, so that torch is not imported."""
    command = [sys.executable, "-P", "-m", "modelworks.training.machine.product_rates", str(hardware.threads)]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment(hardware)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MEASURE_SECONDS,
            check=True,
        )
        rates: Rates = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as error:
        lines = error.stderr.strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        raise BadInput(
            f"compute.precision: auto could not measure bf16 on this CPU: {lines[-1] if lines else error}",
            "set compute.precision to fp32 or bf16",
            code="compute.precision",
        ) from error
    return rates


def _write(folder: Path, key: Mapping[str, Any], rates: Rates) -> None:
    replace_json(_file(folder, key), {"identity": key, "rates": rates})


def _file(folder: Path, key: Mapping[str, Any]) -> Path:
    return folder / f"{json_digest(key)[:16]}.json"


def _read(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; empty for a missing or damaged file."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}

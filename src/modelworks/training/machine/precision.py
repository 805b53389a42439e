"""fp32 or bf16 on a CPU, for `compute.precision: auto`: measured once per machine, then read from a cache.

That a processor has bf16 instructions does not make them fast: without AMX they may take twice as long as fp32.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from modelworks.errors import BadInput
from modelworks.files.digest import json_digest
from modelworks.training.hardware import Hardware, Precision, environment
from modelworks.training.machine.processor import Processor, find

__all__ = ["LEAST_GAIN", "cached", "choose", "explained", "identity", "recorded"]

LEAST_GAIN = 1.2
"""How many times faster bf16 must be than fp32: less does not pay for its coarser sums."""
MEASURE_SECONDS = 120.0
"""For the measuring program to end, on however busy a machine."""
OPERATIONS = ("products", "convolutions")
RATES = tuple(f"{operation}_{precision}" for operation in OPERATIONS for precision in ("fp32", "bf16"))
METHOD = 1
"""Of `product_rates.py`: rates that another method measured are not comparable."""

ISA_VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
"""Environment variables by which a user limits the instructions that torch and oneDNN take."""

Rates = Mapping[str, float]
"""GFLOP/s under each name of RATES."""


def choose(
    hardware: Hardware,
    operations: Iterable[str],
    folder: Path,
    *,
    processor: Processor | None = None,
    measure: Callable[[Hardware], Rates] | None = None,
) -> Hardware:
    """Decide the precision that `detect` left undecided; any other hardware is returned as it is.

    Args:
        operations: that the architecture spends its time on; each must be faster.
        folder: the cache, one file for each combination of processor, libraries and threads. A folder that cannot be
            written keeps nothing.
        processor: this machine's by default.
        measure: measures the rates; by default a process that imports torch, which takes about two seconds.

    Raises:
        BadInput: the measurement failed.
    """
    if hardware.precision_source != "undecided":
        return hardware
    described = identity(hardware, processor)
    rates = cached(folder, described)
    if rates is None:
        rates = (measure or _measure)(hardware)
        with suppress(OSError):
            _keep(folder, described, rates)
    gain = min(_gain(rates, operation) for operation in operations)
    return replace(
        hardware,
        precision="bf16" if gain >= LEAST_GAIN else "fp32",
        precision_source="measurement",
        product_rates=rates,
    )


def recorded(hardware: Hardware, precision: Precision, paths: Iterable[Path]) -> Hardware | None:
    """The hardware with a choice that one of these files records; None if none of them does.

    Args:
        precision: the choice to look for.
        paths: files as `Job.write` writes them, or records of a `TrainedModel`; they need not exist.
    """
    for path in paths:
        values = _read(path)
        values = values.get("hardware", values)
        source = values.get("precision_source")
        # What a config named is no choice of `auto`.
        if values.get("precision") == precision and source in ("measurement", "cpu_flags"):
            rates = values.get("product_rates", {})
            return replace(hardware, precision=precision, precision_source=source, product_rates=rates)
    return None


def explained(source: str, rates: Rates) -> str:
    """Why a precision was chosen, in words; empty where a config named it or a GPU decided it."""
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
    """What rates depend on: processor, libraries, threads.

    oneDNN, and in a wheel MKL, are linked into torch: its version stands for theirs.
    """
    processor = processor or find()
    libraries = {}
    for name in ("torch", "mkl"):
        with suppress(importlib.metadata.PackageNotFoundError):
            libraries[name] = importlib.metadata.version(name)
    return {
        "method": METHOD,
        "processor": {**asdict(processor), "flags": list(processor.flags)},  # a list, as JSON has it
        "libraries": libraries,
        "variables": {name: os.environ[name] for name in ISA_VARIABLES if name in os.environ},
        "threads": hardware.threads,
    }


def cached(folder: Path, described: Mapping[str, Any]) -> Rates | None:
    """The rates that were measured under an `identity`; None if there are none that can be used."""
    values = _read(_file(folder, described))
    rates = values.get("rates")
    if values.get("identity") != described or not isinstance(rates, dict) or set(rates) != set(RATES):
        return None
    usable = all(isinstance(rate, int | float) and 0 < rate < float("inf") for rate in rates.values())
    return rates if usable else None


def _gain(rates: Rates, operation: str) -> float:
    return rates[f"{operation}_bf16"] / rates[f"{operation}_fp32"]


def _measure(hardware: Hardware) -> Rates:
    """Measure in a process that starts as a training does: this one does not import torch."""
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
        words = error.stderr.strip().splitlines() if isinstance(error, subprocess.CalledProcessError) else []
        raise BadInput(
            f"compute.precision: auto could not measure bf16 on this CPU: {words[-1] if words else error}",
            "set compute.precision to fp32 or bf16",
            code="compute.precision",
        ) from error
    return rates


def _keep(folder: Path, described: Mapping[str, Any], rates: Rates) -> None:
    """Write a file of the cache; of two runs that measure at once the later one's stays."""
    for each in (folder.parent, folder):  # the first is the state folder, which only its owner reads
        each.mkdir(mode=0o700, exist_ok=True)
    path = _file(folder, described)
    with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".", suffix=".json", delete=False) as stream:
        json.dump({"identity": described, "rates": rates}, stream, indent=1)
    Path(stream.name).replace(path)


def _file(folder: Path, described: Mapping[str, Any]) -> Path:
    return folder / f"{json_digest(described)[:16]}.json"


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one for a file that is absent or damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}

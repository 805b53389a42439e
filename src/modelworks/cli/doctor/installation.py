"""Check Python, the requirements in pyproject.toml, imports of libraries, and disk space."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import sys
from collections.abc import Iterator

from modelworks.cli.doctor.finding import Finding, failing, ok
from modelworks.errors import Interrupted
from modelworks.project import Project
from modelworks.training.config import ComputeConfig
from modelworks.training.machine.detect import detect
from modelworks.training.machine.precision import LEAST_GAIN, cached, explained, identity

__all__ = ["examine"]

LIBRARIES = ("torch", "transformers", "pyarrow", "dvc.repo", "great_expectations", "mlflow", "prefect")
LOW_DISK_GB = 2.0
REINSTALL = "rm -r .venv; make setup"


def examine(project: Project) -> Iterator[Finding]:
    """Check whether this machine can run the project."""
    yield _python()
    yield _requirements()
    for name in LIBRARIES:
        yield _library(name)
    yield _precision(project)
    free = shutil.disk_usage(project.root).free / 1e9
    yield (ok if free > LOW_DISK_GB else failing)("disk", f"{free:,.1f} GB free at {project.root}")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return ok("python", version)
    return failing("python", f"{version}: modelworks needs 3.11 to 3.13")


def _requirements() -> Finding:
    """Check that every direct requirement is installed in a version that pyproject.toml allows."""
    from packaging.requirements import Requirement

    wrong = []
    for line in importlib.metadata.requires("modelworks") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement.name} {version} is not {requirement.specifier}")
    if wrong:
        return failing("requirements", f"{'; '.join(wrong)}: {REINSTALL}")
    return ok("requirements", "as in pyproject.toml")


def _precision(project: Project) -> Finding:
    """Report what `compute.precision: auto` means on this machine's CPU.

    The first run measures it.
    """
    hardware = detect(ComputeConfig(device="cpu"))
    if hardware.precision_source == "cpu_flags":
        return ok("bf16", f"precision auto is fp32 on the CPU: {explained('cpu_flags', {})}")
    rates = cached(project.product_rates, identity(hardware))
    if rates is None:
        return ok("bf16", f"not measured yet with {hardware.threads} threads: the first run with precision auto does")
    return ok("bf16", f"{explained('measurement', rates)}; precision auto uses it from a ratio of {LEAST_GAIN}")


def _library(name: str) -> Finding:
    distribution = name.partition(".")[0].replace("_", "-")
    try:
        importlib.import_module(name)
    except Interrupted:
        raise
    except Exception as error:  # a broken library may raise anything
        return failing(f"import {name}", f"{type(error).__name__}: {error}: {REINSTALL}")
    return ok(f"import {name}", importlib.metadata.version(distribution))

"""The installation: Python, what pyproject.toml asks for, that every library starts, and room on the disk."""

from __future__ import annotations

import importlib
import importlib.metadata
import shutil
import sys
from collections.abc import Iterator

from modelworks.cli.doctor.finding import Finding, ill, well
from modelworks.errors import Interrupted
from modelworks.project import Project
from modelworks.training.config import ComputeConfig
from modelworks.training.machine.detect import detect
from modelworks.training.machine.precision import LEAST_GAIN, cached, explained, identity

__all__ = ["examine"]

LIBRARIES = ("torch", "transformers", "pyarrow", "dvc.repo", "great_expectations", "mlflow", "prefect")
LOW_DISK_GB = 2.0
ANEW = "rm -r .venv; make setup"


def examine(project: Project) -> Iterator[Finding]:
    """Whether this machine can run the project."""
    yield _python()
    yield _requirements()
    for name in LIBRARIES:
        yield _library(name)
    yield _precision(project)
    free = shutil.disk_usage(project.root).free / 1e9
    yield (well if free > LOW_DISK_GB else ill)("disk", f"{free:,.1f} GB free at {project.root}")


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return well("python", version)
    return ill("python", f"{version}: modelworks needs 3.11 to 3.13")


def _requirements() -> Finding:
    """Whether every direct requirement is installed in a version that pyproject.toml allows."""
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
    return (
        ill("requirements", f"{'; '.join(wrong)}: {ANEW}") if wrong else well("requirements", "as pyproject.toml says")
    )


def _precision(project: Project) -> Finding:
    """What `compute.precision: auto` goes by on this machine's CPU; measuring is left to the first run."""
    hardware = detect(ComputeConfig(device="cpu"))
    if hardware.precision_source == "cpu_flags":
        return well("bf16", f"precision auto is fp32 on the CPU: {explained('cpu_flags', {})}")
    rates = cached(project.product_rates, identity(hardware))
    if rates is None:
        return well("bf16", f"not measured yet with {hardware.threads} threads: the first run with precision auto does")
    return well("bf16", f"{explained('measurement', rates)}; precision auto takes it from {LEAST_GAIN} on")


def _library(name: str) -> Finding:
    distribution = name.partition(".")[0].replace("_", "-")
    try:
        importlib.import_module(name)
    except Interrupted:
        raise
    except Exception as error:  # whatever a broken library raises is the finding
        return ill(f"import {name}", f"{type(error).__name__}: {error}: {ANEW}")
    return well(f"import {name}", importlib.metadata.version(distribution))

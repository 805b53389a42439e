"""A saved model as an MLflow model: no pickle, its own code inside, every byte accounted for."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import shutil
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.digest import folder_digests, json_digest
from modelworks.errors import Corrupt
from modelworks.faults import fault_point
from modelworks.registry import probe, signature
from modelworks.registry.failures import is_remote, said_clearly
from modelworks.registry.form import check_form, check_names
from modelworks.store import write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient

    from modelworks.records import Evaluation

__all__ = [
    "EVIDENCE",
    "FILES",
    "Package",
    "check_evidence_sizes",
    "check_listing",
    "check_stored",
    "log",
    "read_listing",
    "saved_model",
    "verify",
]

EVIDENCE = "package"
"""Folder of the run's artifacts: `files.json` (size and SHA-256 of each file of the package) and the probe."""
FILES = "files.json"
MLFLOW_OWN = "registered_model_meta"
"""Written by MLflow into whatever it loads by a models:/ address; never executed."""
WAY_OUT = "restore the artifact store from a backup, or promote another version"
LARGEST_EVIDENCE = 2**28
"""Bytes of a file of evidence: a few test rows, a listing, a signature."""
SERVING = ("mlflow", "numpy", "pandas")
"""What serving.py imports."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package in the tracking store."""

    model_id: str
    source: str
    """What a model version names as its origin."""
    digest: str
    """SHA-256 of its listing of files."""
    probe: str
    """SHA-256 of its probe."""


@said_clearly
def log(client: MlflowClient, run_id: str, evaluation: Evaluation) -> Package:
    """Store the evaluated model under a run, with the listing of its files and a probe.

    Raises:
        Corrupt: the saved model, or the rows it was evaluated on, are damaged.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run = client.get_run(run_id)
    # The model is pending until it is complete; `reconcile` deletes it if this process dies before.
    fault_point("package.before_create")
    model = client.create_logged_model(
        run.info.experiment_id, name="model", source_run_id=run_id, params=run.data.params, model_type="classifier"
    )
    fault_point("package.after_create")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"  # beside the evidence, as it will be when it was fetched: both are signed
        _build(folder, evaluation.trained.model_folder, model.model_id, run_id)
        files = folder_digests(folder)
        check_names(files)
        check_form(folder)
        evidence = Path(name) / EVIDENCE
        evidence.mkdir()
        write_json(evidence / FILES, files)
        asked = folder_digests(probe.write(evaluation, evidence).parent)[probe.FILE]["sha256"]
        signature.sign(Path(name), evidence / signature.FILE)
        fault_point("package.before_upload", "evidence")
        client.log_artifacts(run_id, str(evidence), EVIDENCE)
        fault_point("package.after_upload", "evidence")
        fault_point("package.before_upload", "model")
        client.log_model_artifacts(model.model_id, str(folder))
        fault_point("package.after_upload", "model")
    fault_point("package.before_finalise")
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    fault_point("package.after_finalise")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    _log_metrics(client, run_id, model.model_id, evaluation)
    # A server wants the model's id; the embedded store would look the id up at MLflow's global address, not ours.
    source = f"models:/{model.model_id}" if is_remote(client.tracking_uri) else model.artifact_location
    return Package(model_id=model.model_id, source=source, digest=json_digest(files), probe=asked)


def saved_model(package: Path) -> Path:
    """Where in a package the saved model is (see `models/saved.py`)."""
    return package / "artifacts" / "model"


def check_listing(listing: Mapping[str, Any], digest: str) -> None:
    """Compare a listing with the digest in the version's tag, and refuse names that no package has.

    Raises:
        Corrupt: it is not the one that the version was registered with.
    """
    if json_digest(listing) != digest:
        raise Corrupt(f"{FILES}, the package's listing, is not the one the version was registered with", WAY_OUT)
    check_names(listing)


def verify(folder: Path, digest: str, listing: Mapping[str, Any]) -> None:
    """Compare a fetched package with its listing, and the listing with the digest in the version's tag.

    From outside, before MLflow reads anything in it: a planted compiled file or another serving file would run
    before any check inside could.

    Raises:
        Corrupt: a file differs, is missing, or is one too many.
    """
    check_listing(listing, digest)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise Corrupt(f"the package holds a symbolic link: {name}", WAY_OUT)
        if not path.is_dir() and path.stat().st_nlink > 1:
            raise Corrupt(f"the package holds a hard link, a file with another name elsewhere: {name}", WAY_OUT)
        if not path.is_dir() and not path.is_file():
            raise Corrupt(f"the package holds something that is no file: {name}", WAY_OUT)
    _compare({name: value for name, value in folder_digests(folder).items() if name != MLFLOW_OWN}, listing)


def check_stored(client: MlflowClient, address: str, listing: Mapping[str, Any]) -> None:
    """Compare names and sizes of what lies in the artifact store with a listing: before anything is fetched.

    Raises:
        Corrupt: a file has another size, is missing, or is one too many.
    """
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    store = get_artifact_repository(address, tracking_uri=client.tracking_uri)
    found: dict[str, Any] = {}
    folders = [""]
    while folders:
        for each in store.list_artifacts(folders.pop() or None):
            if not each.is_dir:
                # Some stores name no size: then the digest alone will tell.
                size = each.file_size if each.file_size is not None else listing.get(each.path, {}).get("size")
                found[each.path] = {"size": size}
            elif any(name.startswith(f"{each.path}/") for name in listing):
                folders.append(each.path)
            else:
                raise Corrupt(f"the package is not what was registered: {each.path} was never part of it", WAY_OUT)
    _compare(found, {name: {"size": value["size"]} for name, value in listing.items()})


def check_evidence_sizes(client: MlflowClient, run_id: str) -> None:
    """Refuse evidence that is too large to be any: before it is fetched.

    Raises:
        Corrupt: it is.
    """
    for each in client.list_artifacts(run_id, EVIDENCE):
        if (each.file_size or 0) > LARGEST_EVIDENCE:
            raise Corrupt(f"{each.path} is larger than any evidence that was kept with a version", WAY_OUT)


def _compare(found: Mapping[str, Any], listing: Mapping[str, Any]) -> None:
    for name in sorted({*found, *listing}):
        if found.get(name) != listing.get(name):
            fault = (
                "is missing" if name not in found else "was never part of it" if name not in listing else "was changed"
            )
            raise Corrupt(f"the package is not what was registered: {name} {fault}", WAY_OUT)


def _build(folder: Path, saved: Path, model_id: str, run_id: str) -> None:
    """Write the MLflow model, reproducible but for its ids and time: no path of this machine is in it."""
    import mlflow.pyfunc
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    # MLflow names the artifact's folder after the one it copies.
    assert saved.name == saved_model(folder).name
    model = Model(model_id=model_id, run_id=run_id)
    # Copied to a neutral place: MLmodel would name this machine's.
    with tempfile.TemporaryDirectory() as staged, _without_advice():
        serving = Path(shutil.copyfile(Path(__file__).with_name("serving.py"), Path(staged) / "serving.py"))
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=model,
            python_model=str(serving),
            artifacts={"model": str(saved)},
            # An unnamed column takes a DataFrame, list, array, Series or string, and every format of `models serve`.
            signature=ModelSignature(
                inputs=Schema([ColSpec("string")]),
                outputs=Schema([ColSpec("string", "label"), ColSpec("double", "probability")]),
                params=ParamSchema([ParamSpec("top_k", "long", 1)]),
            ),
            pip_requirements=_requirements(saved),
        )
    flavor = model.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["model_code_path"] = serving.name
    flavor["artifacts"]["model"]["uri"] = flavor["artifacts"]["model"]["path"]
    model.save(str(folder / "MLmodel"))
    # Python would keep serving.py compiled here and later run that in its place, whoever wrote it. A file of the
    # folder's name keeps it from reading or writing there.
    (folder / "__pycache__").write_text("This file keeps Python from running compiled code that lies here.\n")


def _requirements(saved: Path) -> list[str]:
    """The distributions that serving and the model's own sources import, at the versions it was evaluated with."""
    imported = {
        name.partition(".")[0]
        for source in saved.glob("*.py")
        for node in ast.walk(ast.parse(source.read_bytes()))
        for name in _imported(node)
    }
    providers = importlib.metadata.packages_distributions()
    needed = {
        *SERVING,
        *(providers[name][0] for name in imported if name in providers and name not in sys.stdlib_module_names),
    }
    # A local suffix such as +cpu names a build that no package index has.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in sorted(needed)]


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []


@contextmanager
def _without_advice() -> Iterator[None]:
    """MLflow advises an input example; rows of the data set have no place in a package that others may get."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*input example", category=UserWarning)
        yield


def _log_metrics(client: MlflowClient, run_id: str, model_id: str, evaluation: Evaluation) -> None:
    """The evaluation's figures, attached to the model as well as to the run."""
    from mlflow.entities import Metric

    dataset, now = evaluation.trained.report.dataset, int(time.time() * 1000)
    metrics = []
    for name, value in evaluation.metrics.items():
        # With the time under which the run has it already, or the run would show a second point.
        known = client.get_metric_history(run_id, name)
        when = known[-1].timestamp if known else now
        metrics.append(
            Metric(
                name, value.value, when, 0, model_id=model_id, dataset_name=dataset.name, dataset_digest=dataset.digest
            )
        )
    client.log_batch(run_id, metrics=metrics)


def read_listing(path: Path) -> dict[str, Any]:
    """The listing that `log` kept.

    Raises:
        Corrupt: it cannot be read.
    """
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path.name}, the listing of the package's files, cannot be read: {error}", WAY_OUT) from error

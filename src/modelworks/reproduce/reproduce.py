"""Rebuild a version from its record and compare it; registry and data/ are not changed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks import git
from modelworks.data import versioning as data_versions
from modelworks.errors import BadInput, Corrupt, Refused, Unavailable
from modelworks.files.atomic_files import disk_errors
from modelworks.files.locks import locked
from modelworks.project import Project
from modelworks.provenance import Provenance
from modelworks.registry.verification.verify_version import model_folder
from modelworks.registry.versions import provenance_record
from modelworks.reproduce import differences
from modelworks.reproduce.capture import installed
from modelworks.reproduce.differences import Cause
from modelworks.reproduce.model_diff import Comparison, compare
from modelworks.reproduce.worker_process import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow import MlflowClient

    from modelworks.registry.versions.queries import Registered

__all__ = ["Rebuilt", "rebuild", "recorded_config"]


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """The result of a rebuild."""

    provenance: Provenance
    comparison: Comparison
    causes: tuple[Cause, ...]
    """Recorded ingredients that differ in the rebuild: first those of the result's key."""
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether the rebuilt model is bitwise identical to the registered one."""
        return self.comparison.identical


def rebuild(
    client: MlflowClient,
    project: Project,
    version: Registered,
    *,
    strict: bool,
    say: Callable[[str], None],
    on_event: Callable[[dict[str, Any]], None],
) -> Rebuilt:
    """Rebuild a version and compare it with what is registered.

    Args:
        client: of the store.
        project: whose cache or remotes have the data.
        version: the version to rebuild.
        strict: fail at the start if the libraries differ from the recorded ones.
        say: called with messages.
        on_event: called with the events of the stages, see `worker_process.py`.

    Raises:
        BadInput: the version's record lacks what a rebuild needs.
        Refused: the libraries differ and `strict` is set; or a check of a stage fails.
        Unavailable: the commit or the data are not available.
        Corrupt: the record, the package or the data differ from what was registered.
    """
    started = time.monotonic()
    with locked(project.locks / "rebuild.lock", "rebuilding a version", seconds=5), disk_errors(project.state):
        for leftover in project.state.glob("rebuild-*"):  # of a killed process
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="rebuild-", dir=project.state) as name:
            temporary, evidence = Path(name), Path(name) / "evidence"
            evidence.mkdir()
            provenance = provenance_record.read_all(client, version, evidence).provenance
            root = _repository(version, provenance)
            _compare_libraries(provenance, strict=strict, say=say)
            temporary_project = _project_with_data(project, provenance, temporary / "project")
            say(
                f"data {provenance.data.dataset} {provenance.data.digest} was fetched; code of commit {provenance.code.commit}"
            )
            code = temporary / "code"
            patch = provenance.code.patch.encode(errors="surrogateescape")
            with git.worktree(root, provenance.code.commit, patch, code):
                result = _run(code / provenance.code.folder, temporary_project, provenance, on_event)
            comparison = compare(
                model_folder(client, project, version.name, version.version),
                Path(result["model"]),
                registered_predictions=evidence,
                rebuilt_predictions=Path(result["predictions"]),
            )
    return Rebuilt(
        provenance=provenance,
        comparison=comparison,
        causes=_causes(provenance, result),
        seconds=time.monotonic() - started,
    )


def _repository(version: Registered, provenance: Provenance) -> Path:
    """Return the clone that has the version's commit."""
    code = provenance.code
    if not code.commit or code.missing:
        raise BadInput(
            f"code: {version.name} version {version.version} cannot be rebuilt: {code.missing}",
            "commit the code before running a config, so that its version can be rebuilt",
            code="rebuild.code-incomplete",
        )
    root = git.code_root()
    if root is None:
        raise Unavailable(
            f"code: commit {code.commit} is needed, and modelworks does not run from a git clone",
            "clone its repository and rebuild from the clone",
            code="rebuild.no-repository",
        )
    if not git.has_commit(root, code.commit):
        raise Unavailable(
            f"code: {root} does not have the commit {code.commit}",
            "git fetch --all, then rebuild again",
            code="rebuild.commit-missing",
        )
    return root


def _compare_libraries(provenance: Provenance, *, strict: bool, say: Callable[[str], None]) -> None:
    differing = differences.of_libraries(
        provenance.libraries, installed(), differences.computing(provenance.ingredients)
    )
    if not differing:
        return
    if strict:
        raise Refused(
            f"{differences.in_words(differing)}",
            "install the recorded versions, or omit --strict to compare anyway",
            code="rebuild.other-libraries",
        )
    say(f"different from the record: {differences.in_words(differing)}")


def _project_with_data(project: Project, provenance: Provenance, root: Path) -> Project:
    """Create a temporary project with only the version's data and pretrained checkpoint."""
    root.mkdir()
    temporary_project = Project(root)
    temporary_project.make_private_folders()
    data = provenance.data
    if not data.pin:
        raise BadInput(
            f"data: the record has the digest of {data.dataset}, {data.digest}, but no data.dvc",
            "this version cannot be rebuilt: register a new one",
            code="rebuild.no-pin",
        )
    with locked(project.locks / "data.lock", "ingesting", seconds=600):
        try:
            fetched = data_versions.fetch_into(project, data.pin, temporary_project)
        except (Corrupt, Unavailable) as error:
            raise type(error)(f"data: {error.message}", error.hint, code=error.code) from error
    if not fetched:
        remote = (
            f"DVC's remote {data.remote} was {data.remotes.get(data.remote)}" if data.remote else "it had no remote"
        )
        raise Unavailable(
            f"data: neither DVC's cache nor the default remote has {data.dataset} {data.digest}",
            f"{remote}: restore the remote, or copy its objects into .dvc/cache",
            code="rebuild.data-missing",
        )
    # A local checkpoint has a path relative to the project and is not part of the data.
    checkpoint = Path(provenance.config["model"].get("checkpoint", ""))
    if checkpoint.parts and not checkpoint.is_absolute() and (project.root / checkpoint).is_dir():
        (root / checkpoint).parent.mkdir(parents=True, exist_ok=True)
        (root / checkpoint).symlink_to(project.root / checkpoint)
    return temporary_project


def recorded_config(provenance: Provenance) -> dict[str, Any]:
    """Return the config of a version, with the recorded hardware instead of `auto` or a cluster.

    The same number of processes gives the same bits anywhere, and a given precision is not measured again.
    """
    names = ("device", "precision", "threads", "processes", "shard")
    machine = asdict(provenance.machine)
    return {**provenance.config, "compute": {name: machine[name] for name in names}}


def _run(
    code: Path, temporary_project: Project, provenance: Provenance, on_event: Callable[[dict[str, Any]], None]
) -> Mapping[str, Any]:
    """Run the stages with the recorded code and hardware."""
    config = recorded_config(provenance)
    return run(code, temporary_project, config, threads=provenance.machine.scoring_threads, on_event=on_event)


def _causes(provenance: Provenance, result: Mapping[str, Any]) -> tuple[Cause, ...]:
    """Return the differences: first those of the result's key, then other libraries."""
    machine = provenance.machine
    key_causes = (
        *differences.of_ingredients(provenance.ingredients, result["ingredients"]),
        *differences.of_processor(machine.processor, result["machine"]["processor"]),
    )
    reported = {(each.kind, each.name) for each in key_causes}
    others = differences.of_libraries(provenance.libraries, result["libraries"])
    return (*key_causes, *(each for each in others if (each.kind, each.name) not in reported))

"""Make a version again from its record alone, beside everything, and compare: registry and data/ stay as they are."""

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
    """What came of making a version again."""

    making: Provenance
    comparison: Comparison
    causes: tuple[Cause, ...]
    """Of the recorded ingredients those that were different this time: first what the result's key is made of."""
    seconds: float

    @property
    def identical(self) -> bool:
        """Whether the model made again is the registered one, to the last bit."""
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
    """Make a version again and compare it with what is registered.

    Args:
        client: of the store that has it.
        project: whose cache or remotes have its data.
        version: the one to make.
        strict: refuse, before anything is done, when the libraries are not those of the record.
        say: called with a sentence when there is something to know.
        on_event: called with what the stages tell (see `worker_process.py`).

    Raises:
        BadInput: the version's record lacks what a rebuild needs.
        Refused: the libraries differ, and strict was said; or a stage refuses that did not before.
        Unavailable: the commit or the data cannot be had here now.
        Corrupt: the record, the package or the data are not what was registered.
    """
    started = time.monotonic()
    with locked(project.locks / "rebuild.lock", "rebuilding a version", seconds=5), disk_errors(project.state):
        for leftover in project.state.glob("rebuild-*"):  # of a killed process
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="rebuild-", dir=project.state) as name:
            aside, evidence = Path(name), Path(name) / "evidence"
            evidence.mkdir()
            making = provenance_record.read_all(client, version, evidence).making
            root = _repository(version, making)
            _compare_libraries(making, strict=strict, say=say)
            throwaway = _project_with_data(project, making, aside / "project")
            say(f"data {making.data.dataset} {making.data.digest} is here; code of commit {making.code.commit}")
            code = aside / "code"
            patch = making.code.patch.encode(errors="surrogateescape")
            with git.worktree(root, making.code.commit, patch, code):
                made = _run(code / making.code.folder, throwaway, making, on_event)
            comparison = compare(
                model_folder(client, project, version.name, version.version),
                Path(made["model"]),
                said=evidence,
                says=Path(made["predictions"]),
            )
    return Rebuilt(
        making=making, comparison=comparison, causes=_causes(making, made), seconds=time.monotonic() - started
    )


def _repository(version: Registered, making: Provenance) -> Path:
    """The clone that has the version's commit."""
    code = making.code
    if not code.commit or code.missing:
        raise BadInput(
            f"code: {version.name} version {version.version} cannot be made again: {code.missing}",
            "commit the code before a run whose version is to be proven",
            code="rebuild.code-incomplete",
        )
    root = git.code_root()
    if root is None:
        raise Unavailable(
            f"code: commit {code.commit} is needed, and modelworks does not run from a git clone here",
            "clone its repository, and rebuild from there",
            code="rebuild.no-repository",
        )
    if not git.has_commit(root, code.commit):
        raise Unavailable(
            f"code: {root} does not have the commit {code.commit}",
            "git fetch --all, then rebuild again",
            code="rebuild.commit-missing",
        )
    return root


def _compare_libraries(making: Provenance, *, strict: bool, say: Callable[[str], None]) -> None:
    differing = differences.of_libraries(making.libraries, installed(), differences.computing(making.ingredients))
    if not differing:
        return
    if strict:
        raise Refused(
            f"{differences.in_words(differing)}",
            "install the versions of the record, or leave out --strict to compare anyway",
            code="rebuild.other-libraries",
        )
    say(f"not as recorded: {differences.in_words(differing)}")


def _project_with_data(project: Project, making: Provenance, root: Path) -> Project:
    """A throwaway project that has the version's data, its checkpoint and nothing else."""
    root.mkdir()
    throwaway = Project(root)
    throwaway.make_private_folders()
    data = making.data
    if not data.pin:
        raise BadInput(
            f"data: the record names {data.dataset} {data.digest}, and no data.dvc",
            "nothing can fetch it",
            code="rebuild.no-pin",
        )
    with locked(project.locks / "data.lock", "ingesting", seconds=600):
        try:
            here = data_versions.bring(project, data.pin, throwaway)
        except (Corrupt, Unavailable) as error:
            raise type(error)(f"data: {error.message}", error.hint) from error
    if not here:
        where = f"DVC's remote {data.remote} was {data.remotes.get(data.remote)}" if data.remote else "it had no remote"
        raise Unavailable(
            f"data: neither DVC's cache nor the default remote has {data.dataset} {data.digest}",
            f"{where}: bring the remote back, or its objects into .dvc/cache",
            code="rebuild.data-missing",
        )
    # A checkpoint of one's own is named relative to the project, and is no part of its data.
    checkpoint = Path(making.config["model"].get("checkpoint", ""))
    if checkpoint.parts and not checkpoint.is_absolute() and (project.root / checkpoint).is_dir():
        (root / checkpoint).parent.mkdir(parents=True, exist_ok=True)
        (root / checkpoint).symlink_to(project.root / checkpoint)
    return throwaway


def recorded_config(making: Provenance) -> dict[str, Any]:
    """The config of a version, with the hardware that was used in place of `auto` and of a cluster.

    The same number of processes gives the same bits anywhere, and a precision that is named is not measured again.
    """
    names = ("device", "precision", "threads", "processes", "shard")
    machine = asdict(making.machine)
    return {**making.config, "compute": {name: machine[name] for name in names}}


def _run(
    code: Path, throwaway: Project, making: Provenance, on_event: Callable[[dict[str, Any]], None]
) -> Mapping[str, Any]:
    """The stages, by that code, on the hardware that is recorded."""
    config = recorded_config(making)
    return run(code, throwaway, config, threads=making.machine.scoring_threads, on_event=on_event)


def _causes(making: Provenance, made: Mapping[str, Any]) -> tuple[Cause, ...]:
    """What differs: what the result's key is made of, then the rest of what is recorded."""
    machine = making.machine
    deciding = (
        *differences.of_ingredients(making.ingredients, made["ingredients"]),
        *differences.of_processor(machine.processor, made["machine"]["processor"]),
    )
    named = {(each.kind, each.name) for each in deciding}
    others = differences.of_libraries(making.libraries, made["libraries"])
    return (*deciding, *(each for each in others if (each.kind, each.name) not in named))

"""Open or create the project's DVC repository without git, and convert DVC's errors."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.data.dvc_storage import dvc_file
from modelworks.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from dvc.repo import Repo

    from modelworks.project import Project

__all__ = ["local_remote", "opened", "remove_unreadable_lock", "unreadable_lock"]

CONFIG = """\
[core]
    remote = local
    analytics = false
    no_scm = true
['remote "local"']
    url = ../.modelworks/dvc-remote
    verify = true
"""


@contextlib.contextmanager
def opened(project: Project, overrides: Mapping[str, Any] | None = None) -> Iterator[Repo]:
    """Open the project's DVC repository.

    Create one with a verifying local remote if there is none.
    """
    import logging

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for name in ("dvc", "dvc_data", "dvc_objects"):  # our errors report the failures
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = project.root / ".dvc" / "config"
    if not config.exists():
        config.parent.mkdir(exist_ok=True)
        if not (project.root / ".dvcignore").exists():  # DVC searches the complete project for its files
            (project.root / ".dvcignore").write_text("/.venv/\n/.modelworks/\n/mlflow/\n")
        temporary = config.with_suffix(".new")
        temporary.write_text(CONFIG)
        temporary.replace(config)
    dvc_file.repair(project)
    # Git is not needed: a committed .gitignore excludes data/, and a project may be unpacked without git.
    core = {"no_scm": True, "analytics": False, "check_update": False}
    overrides = overrides or {}
    options: dict[str, Any] = {**overrides, "core": {**overrides.get("core", {}), **core}}
    try:
        with _sigterm_ends_block(), Repo(str(project.root), config=options) as repository:
            yield repository
    except DvcException as error:
        hint = "wait until other DVC processes end, check dvc doctor and dvc status, and run again"
        if unreadable_lock(project):
            hint = "run modelworks doctor, which removes the unreadable lock file"
        raise Unavailable(f"DVC: {error}", hint, code="dvc.failing") from error


@contextlib.contextmanager
def _sigterm_ends_block() -> Iterator[None]:
    """Raise a SIGTERM handler's exception again at the end of the block, because DVC catches it."""
    handler, raised = signal.getsignal(signal.SIGTERM), list[BaseException]()
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:  # Prefect raises a BaseException
            raised.append(error)
            raise

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        if raised:
            raise raised[0]


def local_remote(repository: Repo, project: Project) -> Path | None:
    """Return the object folder of the default remote; None if the remote is not a local folder.

    Raises:
        Unavailable: a folder outside the project is missing. DVC would create it, perhaps on the wrong disk.
    """
    remote = repository.cloud.get_remote_odb(name=None)
    if remote.fs.protocol != "local":
        return None
    folder = Path(remote.path)
    if not folder.parents[1].exists() and not folder.is_relative_to(project.state):
        hint = "mount or create it, or configure another one with dvc remote modify"
        raise Unavailable(f"DVC remote {folder.parents[1]} does not exist", hint, code="dvc.remote-missing")
    return folder


def unreadable_lock(project: Project) -> Path | None:
    """Return DVC's lock file if a crash left it unreadable, which blocks DVC; otherwise None."""
    path = project.root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return path
    return None


def remove_unreadable_lock(project: Project) -> bool:
    """Delete an unreadable DVC lock file; return whether there was one."""
    path = unreadable_lock(project)
    if path is not None:
        path.unlink(missing_ok=True)
    return path is not None

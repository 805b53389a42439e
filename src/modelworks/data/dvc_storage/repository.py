"""The project's DVC repository: set up with a remote that verifies, opened without git, its errors said as ours."""

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
def opened(project: Project, lent: Mapping[str, Any] | None = None) -> Iterator[Repo]:
    """The project's DVC repository, made with a verifying local remote when there is none."""
    import logging

    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    for name in ("dvc", "dvc_data", "dvc_objects"):  # what goes wrong is said by our own errors
        logging.getLogger(name).setLevel(logging.CRITICAL)
    config = project.root / ".dvc" / "config"
    if not config.exists():
        config.parent.mkdir(exist_ok=True)
        if not (project.root / ".dvcignore").exists():  # DVC looks through the whole project for files of its own
            (project.root / ".dvcignore").write_text("/.venv/\n/.modelworks/\n/mlflow/\n")
        started = config.with_suffix(".new")
        started.write_text(CONFIG)
        started.replace(config)
    dvc_file.put_torn_back(project)
    # Git is not asked: data/ is ignored by a committed .gitignore, and a project may be unpacked without git.
    core = {"no_scm": True, "analytics": False, "check_update": False}
    options: dict[str, Any] = {**(lent or {}), "core": {**(lent or {}).get("core", {}), **core}}
    try:
        with _stops(), Repo(str(project.root), config=options) as repository:
            yield repository
    except DvcException as error:
        hint = "wait for another process that uses DVC, see dvc doctor and dvc status, and run again"
        if unreadable_lock(project):
            hint = "run modelworks doctor: it removes that file"
        raise Unavailable(f"DVC: {error}", hint, code="dvc.failing") from error


@contextlib.contextmanager
def _stops() -> Iterator[None]:
    """Stop at the end, if not before, when a SIGTERM came: DVC takes what its handler raises for a file that failed."""
    handler, raised = signal.getsignal(signal.SIGTERM), list[BaseException]()
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return

    def hear(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except BaseException as error:  # Prefect's is no Exception
            raised.append(error)
            raise

    signal.signal(signal.SIGTERM, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)
        if raised:
            raise raised[0]


def local_remote(repository: Repo, project: Project) -> Path | None:
    """The folder of objects that the default remote is; None when it is no folder of this machine.

    Raises:
        Unavailable: a folder outside the project is gone. DVC would make a new one, on the wrong disk perhaps.
    """
    remote = repository.cloud.get_remote_odb(name=None)
    if remote.fs.protocol != "local":
        return None
    folder = Path(remote.path)
    if not folder.parents[1].exists() and not folder.is_relative_to(project.state):
        hint = "mount it, make it, or name another: dvc remote modify"
        raise Unavailable(f"DVC remote {folder.parents[1]} does not exist", hint, code="dvc.remote-missing")
    return folder


def unreadable_lock(project: Project) -> Path | None:
    """DVC's table of locks if a crash left it unreadable, which blocks DVC for ever."""
    path = project.root / ".dvc" / "tmp" / "rwlock"
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (ValueError, OSError):
        return path
    return None


def remove_unreadable_lock(project: Project) -> bool:
    """Delete that table; True if there was one."""
    path = unreadable_lock(project)
    if path is not None:
        path.unlink(missing_ok=True)
    return path is not None

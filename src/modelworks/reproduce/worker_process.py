"""Run a rebuild in a child process with the code of another checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, ModelworksError, Refused, Unavailable
from modelworks.files.atomic_files import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from modelworks.project import Project

__all__ = ["program_of", "run"]

TERM_SECONDS = 40.0
_ERRORS: dict[int, type[ModelworksError]] = {2: BadInput, 3: Refused, 4: Unavailable, 5: Corrupt}


def run(
    code: Path, project: Project, config: Mapping[str, Any], *, threads: int, on_event: Callable[[dict[str, Any]], None]
) -> Mapping[str, Any]:
    """Run a config's stages with the code of a checkout; return its result, see `__main__.py`.

    Args:
        code: with src/, flows/ and tasks/.
        project: the temporary project with the data.
        config: the complete config.
        threads: of the scoring; the config sets those of the training.
        on_event: called with each event: `begin` and `end` of a stage, and the trainer's events.

    Raises:
        ModelworksError: the error of the child process.
    """
    log, result = project.root / "log.txt", project.root / "rebuilt.json"
    job, written = project.root / "job.json", project.root / "config.yaml"
    write_json(written, config)  # JSON is YAML
    write_json(
        job, {"project": str(project.root), "config": str(written), "result": str(result), "parent": os.getpid()}
    )
    path = [str(code / "src"), str(code), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        **project.environment(),  # of the temporary project, so that no shared store is changed
        "PYTHONPATH": os.pathsep.join(path),
        "OMP_NUM_THREADS": str(threads),
    }
    environment.pop("PREFECT_API_URL", None)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            # -P: files in the current folder must not shadow libraries.
            [sys.executable, "-P", "-m", program_of(code), str(job)],
            cwd=code,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    last: dict[str, Any] = {}
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                last = json.loads(line)
                on_event(last)
        except BaseException:  # also on Ctrl-C, end the child
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(TERM_SECONDS)
            process.kill()
            raise
    if process.returncode:
        raise _failure(process.returncode, last, log)
    return dict(json.loads(result.read_text()))


def program_of(code: Path) -> str:
    """Return the module that rebuilds a version in a checkout; older commits have another name."""
    package = code / "src" / "modelworks" / "reproduce"
    return "modelworks.reproduce" if package.is_dir() else "modelworks.rebuild"


def _failure(code: int, last: Mapping[str, Any], log: Path) -> ModelworksError:
    if last.get("type") == "error":
        return _ERRORS.get(code, ModelworksError)(
            last["message"], last["hint"], code=last.get("code", "rebuild.failed")
        )
    words = log.read_text(errors="replace").strip().splitlines()[-3:]
    if code < 0:
        return Unavailable(f"the rebuild was killed by signal {-code}", "run it again", code="rebuild.killed")
    return ModelworksError(
        f"the code of that version ended with exit code {code}: {' / '.join(words)}", code="rebuild.failed"
    )

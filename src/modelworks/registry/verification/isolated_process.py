"""An isolated process that loads a package without this project and predicts with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import Refused, Unavailable
from modelworks.settings import QUIET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["IsolatedModel"]


class IsolatedModel:
    """An isolated process. Create it early: it imports MLflow in the background.

    Python's isolated mode keeps the project's code and this process's state out of it.
    """

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed with the process
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-B", str(Path(__file__).with_name("isolated_main.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=tempfile.gettempdir(),
            env={**os.environ, **QUIET},
        )

    def ask(
        self, package: Path, contents: Sequence[str], params: Mapping[str, Any], seconds: float = 300.0
    ) -> tuple[list[dict[str, Any]], dict[str, list[Any]]]:
        """Return the answers for some inputs, and the predicted columns.

        Args:
            package: the folder with the MLmodel file.
            contents: texts, or encoded files in base64.
            params: parameters of the package's signature.
            seconds: timeout.

        Returns:
            One answer per input; and values by column, empty for a package of an earlier release.

        Raises:
            Refused: the model cannot be loaded or fails on the inputs.
            Unavailable: the process died or did not answer in time.
        """
        request = {"package": str(package), "contents": list(contents), "params": dict(params)}
        reply = self._exchange(request, seconds)
        if "error" in reply:
            raise Refused(
                f"the model does not work in an isolated process: {reply['kind']}: {reply['error']}",
                f"try it: python -c \"import mlflow; mlflow.pyfunc.load_model('{package}')\"",
                code="version.does-not-load",
            )
        return list(reply["answers"]), dict(reply["columns"])

    def installed(self, names: Sequence[str], seconds: float = 60.0) -> dict[str, str | None]:
        """Return the installed public version of each distribution; None if missing.

        Raises:
            Unavailable: the process died or did not answer in time.
        """
        return dict(self._exchange({"installed": list(names)}, seconds)["installed"])

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # it died before it read the request
                stream.close()

    def __enter__(self) -> IsolatedModel:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _exchange(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        timer = threading.Timer(seconds, self._child.kill)
        timer.start()
        try:
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            timer.cancel()
        if not line:
            code = self._child.wait()
            raise Unavailable(
                f"the isolated process ended with code {code}: {self._last_error_line()}",
                "the machine may be out of memory; run again"
                if code < 0  # a signal
                else "run `modelworks doctor`: it checks the installation",
                code="version.process-died",
            )
        return dict(json.loads(line))

    def _last_error_line(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "no output"

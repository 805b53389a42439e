"""A fresh process that loads a package as a stranger would and says what it predicts."""

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
    """Starts at once and imports MLflow in the background, so that making one early hides most of its cost.

    Knows neither this project's code (isolated mode) nor this process's state.
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
        """The answers to some contents, and the predicted columns that they were made from.

        Args:
            package: the folder with the MLmodel file.
            contents: texts, or encoded files in base64.
            params: of the package's signature.
            seconds: to wait.

        Returns:
            One answer per content; and values by column, none for a package of an earlier release.

        Raises:
            Refused: the model cannot be loaded or fails on the contents.
            Unavailable: the process died or did not answer in time.
        """
        question = {"package": str(package), "contents": list(contents), "params": dict(params)}
        reply = self._exchange(question, seconds)
        if "error" in reply:
            raise Refused(
                f"the model does not work in a fresh process: {reply['kind']}: {reply['error']}",
                f"try it: python -c \"import mlflow; mlflow.pyfunc.load_model('{package}')\"",
                code="version.does-not-load",
            )
        return list(reply["answers"]), dict(reply["columns"])

    def installed(self, names: Sequence[str], seconds: float = 60.0) -> dict[str, str | None]:
        """The version of each distribution that the process finds, without what marks a build; None for none.

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
            with suppress(BrokenPipeError):  # it died before it read the question
                stream.close()

    def __enter__(self) -> IsolatedModel:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _exchange(self, question: dict[str, Any], seconds: float) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        late = threading.Timer(seconds, self._child.kill)
        late.start()
        try:
            self._child.stdin.write(json.dumps(question).encode() + b"\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        except BrokenPipeError:
            line = b""
        finally:
            late.cancel()
        if not line:
            raise Unavailable(
                f"the process that should try the model ended with code {self._child.wait()}: {self._last_words()}",
                "the machine may be out of memory; run again",
                code="version.process-died",
            )
        return dict(json.loads(line))

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

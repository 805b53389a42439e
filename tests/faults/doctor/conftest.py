"""`doctor`, called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from modelworks.cli.doctor import doctor as verb
from modelworks.project import Project


@pytest.fixture
def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, dict[str, str]]]:
    """Run doctor in this process, without the slow installation check."""
    monkeypatch.setattr(verb, "CHECKS", verb.CHECKS[1:])

    def ask(project: Project, *, dry_run: bool = False) -> dict[str, dict[str, str]]:
        for name in ("PREFECT_HOME", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        monkeypatch.setenv("MODELWORKS_PROJECT", str(project.root))
        capsys.readouterr()
        verb.doctor(dry_run=dry_run, deep=False, as_json=True)
        return {each["what"]: each for each in json.loads(capsys.readouterr().out)["findings"]}

    return ask

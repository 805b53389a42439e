"""Every side effect has a fault point before and after it, with a unique name."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.kill_sweep import SOURCES

from modelworks.fault_injection import TRACE, VARIABLE, points

EFFECTS = {
    "add",
    "create_experiment",
    "create_logged_model",
    "create_model_version",
    "create_registered_model",
    "create_run",
    "delete_logged_model",
    "delete_registered_model_alias",
    "finalize_logged_model",
    "log_artifact",
    "log_artifacts",
    "log_model_artifacts",
    "log_text",
    "move",
    "rename",
    "replace",
    "send",
    "set_model_version_tag",
    "set_registered_model_alias",
    "set_terminated",
}
"""Methods with an external side effect, by name."""
OWNERS = {"add": ("repository",), "send": ("transfer",), "move": ("shutil",), "replace": ("os",)}
"""The owners of methods whose name alone is ambiguous."""
NEAR = 16
"""Maximum distance in lines of both fault points, in the same function."""
WITHOUT = {
    "create_experiment": "created by name if missing: a second attempt finds it",
    "keep_empty": "writes into the environment while it is set up, not into a project",
    "_fetch_package": "renames within a temporary folder",
    "kept": "a file that is only read when DVC's own is incomplete",
    "publish": "its caller has the fault points; the first rename only moves the old folder away",
    "_end": "its callers have the fault points",
    "_point": "its caller has the fault points",
}
"""Functions or calls that need no fault points, and why."""


def test_fault_point_kills_with_sigkill_and_is_traced(tmp_path: Path) -> None:
    program = """
from modelworks.fault_injection import effect, fault_point
fault_point("a")
with effect("x.y", "c"):
    fault_point("b")
print("alive")
"""
    trace = tmp_path / "trace"
    for place, code, seen in (
        ("x.before_y", 0, "a x.before_y[c] b x.after_y[c]"),
        ("x.after_y[c]", -signal.SIGKILL, "a x.before_y[c] b x.after_y[c]"),
        ("x.before_y[c]", -signal.SIGKILL, "a x.before_y[c]"),
        ("a", -signal.SIGKILL, "a"),
    ):
        result = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, VARIABLE: place, TRACE: str(trace)},
            capture_output=True,
            check=False,
        )
        assert (result.returncode, trace.read_text().split()) == (code, seen.split())
        assert (b"alive" in result.stdout) == (code == 0)
        trace.unlink()


def test_fault_point_without_its_variable_does_nothing(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in (VARIABLE, TRACE)}
    program = "from modelworks.fault_injection import fault_point; fault_point('anywhere', 'else'); print('alive')"
    result = subprocess.run([sys.executable, "-c", program], env=clean, cwd=tmp_path, capture_output=True, check=True)
    assert (result.stdout, result.stderr, list(tmp_path.iterdir())) == (b"alive\n", b"", [])


def test_points_finds_names_and_they_are_unique(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text("fault_point('one')\nif x:\n    with effect('a.two', kind):\n        pass\n")
    assert points([tmp_path]) == ("one", "a.before_two", "a.after_two")
    counted = Counter(points(SOURCES))
    assert len(counted) >= 25
    several = {name for name, number in counted.items() if number > 1}
    assert several == {"package.before_upload", "package.after_upload", "runs.before_upload", "runs.after_upload"}


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield functions and methods."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from (each for each in inside if isinstance(each, ast.FunctionDef))


def _calls(function: ast.FunctionDef) -> Iterator[tuple[str, str, int, int]]:
    """Yield name, owner, first and last line of each call."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
                yield node.func.attr, owner, node.lineno, node.end_lineno or node.lineno
            elif isinstance(node.func, ast.Name):
                yield node.func.id, "", node.lineno, node.end_lineno or node.lineno


def _places(function: ast.FunctionDef) -> Iterator[tuple[str, int]]:
    """Yield "before" or "after" and the line of each fault point."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "fault_point":
            if not isinstance(node.args[0], ast.Constant):  # inside `effect`
                continue
            yield str(node.args[0].value).partition(".")[2].partition("_")[0], node.lineno
        if isinstance(node, ast.With) and any(_is_effect(each.context_expr) for each in node.items):
            yield "before", node.lineno
            yield "after", node.end_lineno or node.lineno


def _is_effect(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "effect"


def uncovered(source: str) -> list[str]:
    """Return effects without a fault point shortly before and after, as "function: call"."""
    found = []
    for function in _functions(ast.parse(source)):
        calls = list(_calls(function))
        places = list(_places(function))
        for name, owner, first, last in calls:
            if name not in EFFECTS or owner not in OWNERS.get(name, (owner,)):
                continue
            if name in WITHOUT or function.name in WITHOUT:
                continue
            near = {kind for kind, line in places if first - NEAR <= line <= last + NEAR}
            if near != {"before", "after"}:
                found.append(f"{function.name}: {name}")
    return found


def test_uncovered_finds_effects_without_fault_points() -> None:
    before, after = '    fault_point("x.before_start")\n', '    fault_point("x.after_start")\n'
    covered = f"def f(client):\n{before}    client.create_run(1)\n{after}"
    assert uncovered(covered) == []
    assert uncovered(covered.replace(before, "")) == ["f: create_run"]
    assert uncovered(covered.replace(after, "")) == ["f: create_run"]
    assert uncovered(covered.replace(after, "\n" * NEAR + after)) == ["f: create_run"]
    assert uncovered("def f(names):\n    names.add(1)\n") == []
    assert uncovered('def f(client):\n    with effect("x.start"):\n        client.create_run(1)\n') == []


@pytest.mark.parametrize("folder", SOURCES, ids=lambda folder: folder.name)
def test_every_effect_has_fault_points_before_and_after(folder: Path) -> None:
    found = {
        path.relative_to(folder).as_posix(): missing
        for path in sorted(folder.rglob("*.py"))
        if (missing := uncovered(path.read_text()))
    }
    assert found == {}

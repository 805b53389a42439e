"""The code of a saved model: it is loaded in isolation, and nothing planted is run."""

from __future__ import annotations

import importlib
import importlib.util
import os
import py_compile
from pathlib import Path

import pytest
import torch
from models.saved_models import IMAGE, save

from modelworks.models import cnn, saved_model, serialization


def test_models_with_different_code_load_in_one_process(folder: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed.py"
    source = Path(cnn.__file__).read_text()
    changed.write_text(source.replace("return self.classifier(", "return -self.classifier("))
    save(tmp_path / "new", changed)
    old, new = serialization.load(folder), serialization.load(tmp_path / "new")
    before, after = (model.predict([IMAGE])["probabilities"][0] for model in (old, new))
    assert after == pytest.approx(before[::-1], abs=1e-6)
    again = serialization.load(folder).predict([IMAGE])["probabilities"][0]
    assert (again == before).all()


def test_planted_bytecode_is_not_run(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 'good'")
    other = tmp_path / "planted.py"
    other.write_text("VALUE = 'evil'")
    times = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
    os.utime(other, ns=times)
    (tmp_path / "__pycache__").mkdir()
    cached = Path(py_compile.compile(str(other), doraise=True) or "")
    cached.rename(cached.with_name(cached.name.replace("planted", "module")))
    assert saved_model.run_source(source).VALUE == "good"


def test_failing_source_leaves_no_module(tmp_path: Path) -> None:
    source = tmp_path / "broken.py"
    source.write_text("VALUE = 1\n1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            saved_model.run_source(source)


def test_loading_does_not_change_the_random_state(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    serialization.load(folder)
    assert torch.equal(torch.rand(3), expected)


def test_planted_bytecode_in_a_package_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "code" / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/__init__.py"):
        (tmp_path / "code" / name).write_text("")
    source, other = tmp_path / "code" / "models" / "module.py", tmp_path / "planted.py"
    source.write_text("VALUE = 'good'")
    other.write_text("VALUE = 'evil'")
    times = (source.stat().st_atime_ns, source.stat().st_mtime_ns)
    os.utime(other, ns=times)
    cached = Path(importlib.util.cache_from_source(str(source)))
    cached.parent.mkdir()
    py_compile.compile(str(other), cfile=str(cached), doraise=True)
    package = saved_model.import_code(tmp_path / "code")
    assert importlib.import_module(f"{package}.models.module").VALUE == "good"


def test_failing_module_of_a_package_fails_again(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "__init__.py").write_text("")
    (tmp_path / "code" / "broken.py").write_text("VALUE = 1\n1 / 0")
    package = saved_model.import_code(tmp_path / "code")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            importlib.import_module(f"{package}.broken")


PACKAGE = Path(serialization.__file__).parents[1]

CARRIED = [
    *("models/saved_model.py", "models/cnn.py", "models/transformer.py", "models/pretrained.py"),
    *(
        f"modalities/{path.name}"
        for path in sorted((PACKAGE / "modalities").glob("*.py"))
        if not path.stem.endswith(("_facts", "_fingerprints", "_preview"))
    ),
    *(
        path.relative_to(PACKAGE).as_posix()
        for path in sorted((PACKAGE / "objectives").rglob("*.py"))
        if path.name != "config.py" and not path.stem.endswith("_checks")
    ),
]


@pytest.mark.parametrize("file", CARRIED)
def test_packaged_sources_use_only_relative_imports(file: str) -> None:
    source = (PACKAGE / file).read_text()
    assert "import modelworks" not in source
    assert "from modelworks" not in source

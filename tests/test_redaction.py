"""Secrets are masked, and other text does not change."""

from __future__ import annotations

import pytest

from modelworks.errors import BadInput, Unavailable
from modelworks.redaction import looks_secret, redacted, without_password

RANDOM = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYzq19Xh4PdT"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://ada:hunter22@host:5000/x does not answer", "http://***@host:5000/x does not answer"),
        ("postgresql+psycopg://u:p@ss@db/mlflow", "postgresql+psycopg://***@db/mlflow"),
        ("s3://b/k?X-Amz-Signature=abcdef&part=2", "s3://b/k?X-Amz-Signature=***&part=2"),
        ("https://host/data.csv?token=abc def", "https://host/data.csv?token=*** def"),
        ("https://ghp_0123456789abcdefghij0123@github.com/a/b", "https://***@github.com/a/b"),
        ("the key AKIAIOSFODNN7EXAMPLE is old", "the key *** is old"),
    ],
)
def test_passwords_and_keys_are_masked(text: str, masked: str) -> None:
    assert redacted(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:5000/#/models/digits@production",
        "models:/digits-cnn@production",
        "ssh://git@github.com/a/b",
        "sqlite:////srv/mlflow.db",
        "configs/digits_cnn.yaml:3: train.epochs: 0 is too few",
        "write to ada@example.org",
    ],
)
def test_text_without_secrets_does_not_change(text: str) -> None:
    assert redacted(text) == text


def test_values_of_variables_named_like_secrets_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ada:battery%2Fstaple@host")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/home/ada/key.json")
    assert redacted("correct horse, battery/staple, battery%2Fstaple") == "***, ***, ***"
    assert redacted("see /home/ada/key.json") == "see /home/ada/key.json"


def test_error_contains_no_secret() -> None:
    error = Unavailable("http://ada:hunter22@host is away", "try http://ada:hunter22@host later")
    assert "hunter22" not in f"{error} {error!r} {error.args} {error.hint} {error.__reduce__()}"


@pytest.mark.parametrize(
    "value", ["https://ada:hunter22@host/data.csv", "hf_abcdefghijklmnopqrstuvwxyz0123", RANDOM, "x?password=hunter22"]
)
def test_config_value_that_looks_secret_is_found(value: str) -> None:
    assert looks_secret(value) or (value.startswith("x?") and looks_secret(value))


@pytest.mark.parametrize(
    "value",
    [
        "0123456789abcdef0123456789abcdef01234567",
        "sentence-transformers/all-MiniLM-L6-v2",
        "data/Projects2024/MyImages_of_Everything_v2.parquet",
        "/srv/Data/2024/Some_Long_Folder_Name_With_Digits_123",
        "30 2 * * *",
        "Creative Commons Attribution 4.0",
        "expect_column_values_to_be_between",
    ],
)
def test_names_paths_and_commits_are_not_secrets(value: str) -> None:
    assert looks_secret(value) == ""


def test_address_is_shown_without_its_user() -> None:
    assert without_password("https://ada:hunter22@host/api") == "https://host/api"


@pytest.mark.parametrize("given", ["https://ada:hunter22@host/data.csv", RANDOM])
def test_secret_in_a_config_is_rejected_and_not_printed(tmp_path: object, given: str) -> None:
    from pathlib import Path

    from modelworks.config import run_config

    text = (Path(__file__).parents[1] / "configs" / "digits_cnn.yaml").read_text()
    path = Path(str(tmp_path)) / "mine.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=r"split\.salt: ") as raised:
        run_config.load(path, [f"split.salt={given}"])
    assert raised.value.code == "config.invalid"
    assert given not in str(raised.value)
    assert "hunter22" not in str(raised.value)

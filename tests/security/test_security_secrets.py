"""A complete pipeline with 51 secrets in its environment writes and prints none of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipelines.commands import Outcome
    from pipelines.workspaces import Workspace

DIGITS = "configs/digits_cnn.yaml"
NAMES = (
    *("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_CLIENT_SECRET", "PGPASSWORD"),
    *("MYSQL_PWD_PASSWORD", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_FLASK_SERVER_SECRET_KEY"),
    *("MLFLOW_AUTH_ADMIN_PASSWORD", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_CLOUD_TOKEN", "HF_TOKEN"),
    *("HUGGING_FACE_HUB_TOKEN", "GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "CI_JOB_TOKEN", "OPENAI_API_KEY"),
    *("ANTHROPIC_API_KEY", "WANDB_API_KEY", "SLACK_BOT_TOKEN", "DATABRICKS_TOKEN", "SNOWFLAKE_PASSWORD"),
    *("KAGGLE_API_KEY", "DOCKER_PASSWORD", "NPM_TOKEN", "TWINE_PASSWORD", "SENTRY_AUTH_TOKEN", "VAULT_TOKEN"),
    *("REDIS_PASSWORD", "RABBITMQ_PASSWORD", "SMTP_PASSWORD", "LDAP_PASSWORD", "JWT_SECRET", "SESSION_SECRET"),
    *("ENCRYPTION_KEY", "PRIVATE_KEY", "SSH_PASSPHRASE", "GPG_PASSPHRASE", "STRIPE_SECRET_KEY", "TWILIO_AUTH_TOKEN"),
)
"""Secret environment variables; with the eight addresses below they are 51."""


def _secret(number: int) -> str:
    return f"canary-{number:02}-{'x' * number}y"


VARIABLES: Mapping[str, str] = {name: _secret(number) for number, name in enumerate(NAMES)}
IN_ADDRESSES = tuple(_secret(number) for number in range(len(NAMES), 51))


def _found(folders: list[Path], texts: Mapping[str, str], secrets: tuple[str, ...]) -> list[str]:
    """Return where a secret occurs: a file below the folders, or the name of a text."""
    patterns = [each.encode() for each in secrets]
    places = [name for name, text in texts.items() if any(each in text for each in secrets)]
    for folder in folders:
        for root, _, files in os.walk(folder):
            for name in files:
                path = Path(root) / name
                if path.is_file() and not path.is_symlink():
                    raw = path.read_bytes()
                    places += [str(path)] if any(each in raw for each in patterns) else []
    return places


def test_there_are_51_secrets() -> None:
    assert len({*VARIABLES.values(), *IN_ADDRESSES}) == 51
    assert len(IN_ADDRESSES) == 8


@pytest.mark.slow
def test_pipeline_writes_no_secret_of_its_environment(
    copy: Callable[[Path], Workspace], bare: Path, tmp_path: Path
) -> None:
    workspace = copy(bare).with_environment(**VARIABLES, TMPDIR=str(tmp_path / "tmp"), HOME=str(tmp_path / "home"))
    for name in ("tmp", "home"):
        (tmp_path / name).mkdir()
    # Prefect's client would send these two to our own server, which needs no authentication.
    workspace = workspace.without_environment("PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
    texts = {}
    for arguments in (
        ("run", DIGITS, "--json"),
        ("why", "digits-cnn"),
        ("history", "digits-cnn", "--json"),
        ("doctor", "--json"),
    ):
        outcome = workspace.run(*arguments)
        assert outcome.code == 0, outcome.stderr
        texts[" ".join(arguments)] = outcome.stdout + outcome.stderr
    # Also after a kill in the middle, which leaves other files.
    crashed = workspace.with_environment(MODELWORKS_FAULT="package.after_create").run(
        "run", DIGITS, "--set", "train.epochs=1"
    )
    assert crashed.code == -9
    texts["a crash"] = crashed.stdout + crashed.stderr
    assert _found([workspace.root, tmp_path / "tmp", tmp_path / "home"], texts, tuple(VARIABLES.values())) == []


@pytest.fixture
def failures(after_digits: Workspace) -> dict[str, tuple[int, Callable[[], Outcome]]]:
    """Return commands that fail because of an address with a password: exit code and command."""
    mlflow, prefect, remote, source, override, token, database, lock = IN_ADDRESSES
    workspace = after_digits

    def with_remote() -> Outcome:
        config = workspace.root / ".dvc" / "config.local"
        config.write_text(f"['remote \"local\"']\n    url = https://ada:{remote}@127.0.0.1:9/dvc\n")
        for folder in (workspace.root / "data", workspace.root / ".dvc" / "cache"):
            folder.rename(folder.with_name(f"{folder.name}-away"))
        try:
            return workspace.run("run", DIGITS)
        finally:
            config.unlink()

    def with_source() -> Outcome:
        text = (workspace.root / "configs" / "tweets_transformer.yaml").read_text()
        path = workspace.write_config("mine", text + f"\n# {0}\n")
        return workspace.run(
            "run", path, "--set", "source.kind=table", "--set", f"source.path=https://ada:{source}@host/x.csv"
        )

    return {
        "MLFLOW_TRACKING_URI": (
            4,
            lambda: workspace.with_environment(MLFLOW_TRACKING_URI=f"http://ada:{mlflow}@127.0.0.1:9").run(
                "run", DIGITS
            ),
        ),
        "PREFECT_API_URL": (
            4,
            lambda: workspace.with_environment(PREFECT_API_URL=f"http://ada:{prefect}@127.0.0.1:9/api").run(
                "run", DIGITS, "--set", "train.epochs=1"
            ),
        ),
        "the source in a config": (2, with_source),
        "an override": (
            2,
            lambda: workspace.run("run", DIGITS, "--set", f"split.salt=https://ada:{override}@host", "--json"),
        ),
        "a token in an address": (
            2,
            lambda: workspace.run("run", DIGITS, "--set", f"split.salt=s3://b/k?token={token}"),
        ),
        "a database instead of a server": (
            2,
            lambda: workspace.with_environment(MLFLOW_TRACKING_URI=f"postgresql://ada:{database}@127.0.0.1:9/m").run(
                "history", "digits-cnn"
            ),
        ),
        "the database of a shared lock": (
            4,
            lambda: workspace.with_environment(MODELWORKS_LOCK_URL=f"postgresql://ada:{lock}@127.0.0.1:9/m").run(
                "run", DIGITS, "--set", "train.epochs=1"
            ),
        ),
        "DVC's remote": (4, with_remote),  # unreachable: the data may exist only there
    }


@pytest.mark.slow
def test_passwords_in_addresses_are_in_no_error_and_no_file(
    after_digits: Workspace, failures: dict[str, tuple[int, Callable[[], Outcome]]]
) -> None:
    printed = {}
    for name, (code, command) in failures.items():
        outcome = command()
        printed[name] = outcome.stdout + outcome.stderr
        assert outcome.code == code, (name, outcome.stderr)
        assert "Traceback" not in outcome.stderr, (name, outcome.stderr)
        assert outcome.complaint, name
    assert _found([after_digits.root], printed, IN_ADDRESSES) == []

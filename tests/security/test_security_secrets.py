"""Fifty-one secrets around a whole pipeline, and none of them in anything that it wrote or said."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from commands import Outcome
    from fixtures_of_flows import Workspace

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
"""Secret environment variables; with the eight addresses below they are fifty-one."""


def _secret(number: int) -> str:
    return f"canary-{number:02}-{'x' * number}y"


VARIABLES: Mapping[str, str] = {name: _secret(number) for number, name in enumerate(NAMES)}
IN_ADDRESSES = tuple(_secret(number) for number in range(len(NAMES), 51))


def _found(folders: list[Path], texts: Mapping[str, str], secrets: tuple[str, ...]) -> list[str]:
    """Where a secret stands: a file below the folders, or a text by its name."""
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


def test_there_are_fifty_one() -> None:
    assert len({*VARIABLES.values(), *IN_ADDRESSES}) == 51
    assert len(IN_ADDRESSES) == 8


def test_a_whole_pipeline_writes_no_secret_of_its_environment_anywhere(
    copy: Callable[[Path], Workspace], bare: Path, tmp_path: Path
) -> None:
    workspace = copy(bare).with_environment(**VARIABLES, TMPDIR=str(tmp_path / "tmp"), HOME=str(tmp_path / "home"))
    for name in ("tmp", "home"):
        (tmp_path / name).mkdir()
    # Authentication against our own server is asked of nobody: these two would be sent, and are not what is tested.
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
    # Killed in the middle, too: what a crash leaves is written as well.
    crashed = workspace.with_environment(MODELWORKS_FAULT="package.after_create").run(
        "run", DIGITS, "--set", "train.epochs=1"
    )
    assert crashed.code == -9
    texts["a crash"] = crashed.stdout + crashed.stderr
    assert _found([workspace.root, tmp_path / "tmp", tmp_path / "home"], texts, tuple(VARIABLES.values())) == []


@pytest.fixture
def failures(after_digits: Workspace) -> dict[str, tuple[int, Callable[[], Outcome]]]:
    """Commands whose trouble is an address with a password in it: exit code, and the command."""
    mlflow, prefect, remote, source, override, token, database, lock = IN_ADDRESSES
    here = after_digits

    def with_remote() -> Outcome:
        config = here.root / ".dvc" / "config.local"
        config.write_text(f"['remote \"local\"']\n    url = https://ada:{remote}@127.0.0.1:9/dvc\n")
        for folder in (here.root / "data", here.root / ".dvc" / "cache"):
            folder.rename(folder.with_name(f"{folder.name}-away"))
        try:
            return here.run("run", DIGITS)
        finally:
            config.unlink()

    def with_source() -> Outcome:
        text = (here.root / "configs" / "tweets_transformer.yaml").read_text()
        path = here.write_config("mine", text + f"\n# {0}\n")
        return here.run(
            "run", path, "--set", "source.kind=table", "--set", f"source.path=https://ada:{source}@host/x.csv"
        )

    return {
        "MLFLOW_TRACKING_URI": (
            4,
            lambda: here.with_environment(MLFLOW_TRACKING_URI=f"http://ada:{mlflow}@127.0.0.1:9").run("run", DIGITS),
        ),
        "PREFECT_API_URL": (
            4,
            lambda: here.with_environment(PREFECT_API_URL=f"http://ada:{prefect}@127.0.0.1:9/api").run(
                "run", DIGITS, "--set", "train.epochs=1"
            ),
        ),
        "the source in a config": (2, with_source),
        "an override": (
            2,
            lambda: here.run("run", DIGITS, "--set", f"split.salt=https://ada:{override}@host", "--json"),
        ),
        "a token in an address": (2, lambda: here.run("run", DIGITS, "--set", f"split.salt=s3://b/k?token={token}")),
        "a database, which is no server": (
            2,
            lambda: here.with_environment(MLFLOW_TRACKING_URI=f"postgresql://ada:{database}@127.0.0.1:9/m").run(
                "history", "digits-cnn"
            ),
        ),
        "the database of a team's lock": (
            4,
            lambda: here.with_environment(MODELWORKS_LOCK_URL=f"postgresql://ada:{lock}@127.0.0.1:9/m").run(
                "run", DIGITS, "--set", "train.epochs=1"
            ),
        ),
        "DVC's remote": (4, with_remote),  # which cannot be reached: no training on data that may be there alone
    }


def test_passwords_in_addresses_are_in_no_error_and_in_no_file(
    after_digits: Workspace, failures: dict[str, tuple[int, Callable[[], Outcome]]]
) -> None:
    said = {}
    for name, (code, command) in failures.items():
        outcome = command()
        said[name] = outcome.stdout + outcome.stderr
        assert outcome.code == code, (name, outcome.stderr)
        assert "Traceback" not in outcome.stderr, (name, outcome.stderr)
        assert outcome.complaint, name
    assert _found([after_digits.root], said, IN_ADDRESSES) == []

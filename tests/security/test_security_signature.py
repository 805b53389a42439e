"""With a configured key, only versions with a valid signature are used, even if every digest was forged."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from samples.artifacts import local_path
from security.hostile import ATTACKS

from modelworks.errors import BadInput, Corrupt, Interrupted
from modelworks.files.atomic_files import write_json
from modelworks.files.digest import folder_digests, json_digest
from modelworks.project import Project
from modelworks.registry.packaging import integrity, signing
from modelworks.registry.tracking import tags
from modelworks.registry.verification import verify_version
from modelworks.registry.versions import queries

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from modelworks.registry.verification.isolated_process import IsolatedModel

pytest.importorskip("model_signing", reason="the extra `signing` is not installed")
NAME = "small"
PRIVATE, PUBLIC = "MODELWORKS_SIGNING_KEY", "MODELWORKS_VERIFYING_KEY"


def _make_key(folder: Path) -> tuple[Path, Path]:
    """Write a private and a public key file; return their paths."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "private.pem", folder / "public.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return _make_key(tmp_path / "keys")


@pytest.fixture
def signed(keys: tuple[Path, Path], register: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Register a version with the private key; only the public one is configured afterwards."""
    monkeypatch.setenv(PRIVATE, str(keys[0]))
    version = register()
    monkeypatch.delenv(PRIVATE)
    monkeypatch.setenv(PUBLIC, str(keys[1]))
    return version


def _forge(client: MlflowClient, run_id: str) -> tuple[Path, Path]:
    """Update every digest to the current files.

    Return the folders of the package and its evidence.
    """
    stored = local_path(client.get_model_version(NAME, "1").source)
    evidence = local_path(client.get_run(run_id).info.artifact_uri) / integrity.EVIDENCE
    files = folder_digests(stored)
    write_json(evidence / integrity.FILES, files)
    client.set_model_version_tag(NAME, "1", tags.DIGEST, json_digest(files))
    return stored, evidence


def test_signature_of_a_signed_version_is_verified(
    client: MlflowClient, project: Project, signed: Any, isolated_model: IsolatedModel
) -> None:
    found = verify_version.prove(client, queries.get(client, NAME, 1), isolated_model)
    assert found["signature"] == "verified"
    assert verify_version.model_folder(client, project, NAME, 1).is_dir()


def test_private_key_alone_can_verify(
    client: MlflowClient, project: Project, signed: Any, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(PUBLIC)
    monkeypatch.setenv(PRIVATE, str(keys[0]))
    assert verify_version.model_folder(client, project, NAME, 1).is_dir()


@pytest.mark.parametrize("attack", ["a planted serving.py", "a planted architecture.py", "swapped weights"])
def test_forged_code_and_weights_are_found(
    client: MlflowClient, project: Project, signed: Any, isolated_model: IsolatedModel, tmp_path: Path, attack: str
) -> None:
    stored, _ = _forge(client, signed.run_id)
    ATTACKS[attack](stored, tmp_path / "canary")
    _forge(client, signed.run_id)
    with pytest.raises(Corrupt) as caught:
        verify_version.prove(client, queries.get(client, NAME, 1), isolated_model)
    assert caught.value.code == "signing.mismatch"
    with pytest.raises(Corrupt) as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.code == "signing.mismatch"
    assert not (tmp_path / "canary").exists()


def test_missing_signature_and_signature_of_another_key_are_refused(
    client: MlflowClient,
    project: Project,
    signed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, evidence = _forge(client, signed.run_id)
    signature = evidence / signing.FILE
    shutil.copyfile(signature, tmp_path / "signature")
    signature.unlink()
    with pytest.raises(Corrupt) as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.code == "signing.missing"
    shutil.copyfile(tmp_path / "signature", signature)
    monkeypatch.setenv(PUBLIC, str(_make_key(tmp_path / "other")[1]))
    with pytest.raises(Corrupt) as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.code == "signing.mismatch"


def test_fetched_copy_is_not_used_without_its_signature(
    client: MlflowClient,
    project: Project,
    register: Callable[..., Any],
    keys: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register()  # without a key
    assert verify_version.model_folder(client, project, NAME, 1).is_dir()
    monkeypatch.setenv(PUBLIC, str(keys[1]))
    with pytest.raises(Corrupt) as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.code == "signing.missing"


def test_missing_key_file_is_named(
    register: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PRIVATE, str(tmp_path / "nowhere.pem"))
    with pytest.raises(BadInput, match=PRIVATE) as caught:
        register()
    assert caught.value.code == "signing.bad-key"


def _rsa_keys(public: Path, private: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _invalid_keys(public: Path, private: Path) -> None:
    public.write_text("not a key")
    private.write_text("not a key")


@pytest.mark.parametrize("write_keys", [_invalid_keys, _rsa_keys])
def test_invalid_key_is_named_and_the_fetched_copy_is_kept(
    client: MlflowClient,
    project: Project,
    register: Callable[..., Any],
    signed: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_keys: Callable[[Path, Path], None],
) -> None:
    copy = verify_version.model_folder(client, project, NAME, 1)
    inode = copy.stat().st_ino
    public, private = tmp_path / "public.pem", tmp_path / "private.pem"
    write_keys(public, private)
    monkeypatch.setenv(PUBLIC, str(public))
    with pytest.raises(BadInput, match=f"^{PUBLIC}: {public}: ") as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.code == "signing.bad-key"
    monkeypatch.delenv(PUBLIC)
    monkeypatch.setenv(PRIVATE, str(private))
    with pytest.raises(BadInput, match=f"^{PRIVATE}: {private}: "):
        verify_version.model_folder(client, project, NAME, 1)
    assert copy.stat().st_ino == inode
    with pytest.raises(BadInput, match=f"^{PRIVATE}: {private}: "):
        register(1)


@pytest.mark.parametrize("step", ["verify", "use_elliptic_key_verifier"])
def test_signal_during_verification_raises_interrupted(
    client: MlflowClient, project: Project, signed: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    from model_signing import verifying

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)  # as the command's signal handler does

    monkeypatch.setattr(verifying.Config, step, stopped)
    with pytest.raises(Interrupted) as caught:
        verify_version.model_folder(client, project, NAME, 1)
    assert caught.value.exit_code == 143


def test_signal_while_the_signing_key_is_read_raises_interrupted(
    register: Callable[..., Any], keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_signing import signing

    def stopped(*_: object, **__: object) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(signing.Config, "use_elliptic_key_signer", stopped)
    monkeypatch.setenv(PRIVATE, str(keys[0]))
    with pytest.raises(Interrupted):
        register()


def test_registration_with_only_a_verifying_key_is_rejected(
    register: Callable[..., Any], keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC, str(keys[1]))
    with pytest.raises(BadInput) as caught:
        register()
    assert caught.value.code == "signing.no-key"

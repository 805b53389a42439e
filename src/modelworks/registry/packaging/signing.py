"""Sign and verify packages with OpenSSF model-signing, if the environment has a key.

Digests detect corruption, but an attacker who can write artifacts and tags can change both. They cannot forge a
signature. The signature does not contain the version: only the tags detect that a package was replaced by an older one
signed with the same key.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, ModelworksError, first_line
from modelworks.registry.packaging.integrity import RESTORE_HINT
from modelworks.settings import signing_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelworks.settings import SigningKeys

__all__ = ["FILE", "require_signature", "sign"]

FILE = "signature.json"
"""A Sigstore bundle over `model/` and the other files of the evidence."""


def sign(folder: Path, signature: Path) -> bool:
    """Sign the files of a folder, except the signature itself, if a key is set.

    Returns:
        Whether a signature was written.

    Raises:
        BadInput: the key is invalid, the library is not installed, or only a verifying key is set.
    """
    keys = signing_keys()
    if not keys:
        return False
    if keys.private is None:
        raise BadInput(
            "MODELWORKS_VERIFYING_KEY requires signatures, and there is no key to sign a new version with",
            "set MODELWORKS_SIGNING_KEY to a private key in PEM, or register on a machine that has one",
            code="signing.no-key",
        )
    signing, hashing = _library()
    configured = signing.Config().set_hashing_config(_hashing_config(hashing, signature.relative_to(folder)))
    with _key_errors("MODELWORKS_SIGNING_KEY", keys.private):
        signer = configured.use_elliptic_key_signer(private_key=keys.private)
    signer.sign(folder, signature)
    return True


def require_signature(folder: Path, signature: Path) -> None:
    """Verify the signature of a folder, if a key is set.

    Raises:
        Corrupt: there is no signature, or it does not match the key or the files.
        BadInput: the key is invalid, or the library is not installed.
    """
    keys = signing_keys()
    if not keys:
        return
    if not signature.is_file():
        raise Corrupt(
            f"the version has no signature: {signature.name} is missing, and a key is set",
            "register it again with MODELWORKS_SIGNING_KEY set, or unset MODELWORKS_VERIFYING_KEY",
            code="signing.missing",
        )
    verifying, hashing = _library(verify=True)
    configured = verifying.Config().set_hashing_config(_hashing_config(hashing, signature.relative_to(folder)))
    with tempfile.TemporaryDirectory() as name:
        variable = "MODELWORKS_VERIFYING_KEY" if keys.public else "MODELWORKS_SIGNING_KEY"
        with _key_errors(variable, keys.public or keys.private):
            verifier = configured.use_elliptic_key_verifier(public_key=_public(keys, Path(name)))
        try:
            verifier.verify(folder, signature)
        except ModelworksError:  # Interrupted by a signal
            raise
        except Exception as error:  # the library has no exception class for a failed verification
            raise Corrupt(
                f"{signature.name} does not match these files and this key: {first_line(error)}",
                RESTORE_HINT,
                code="signing.mismatch",
            ) from None


def _hashing_config(hashing: Any, signature: Path) -> Any:
    """Return the hashing config: every file except the signature, also git's files."""
    return hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _public(keys: SigningKeys, folder: Path) -> Path:
    """Return the file of the public key, derived from the private key if only that is set."""
    if keys.public is not None:
        return keys.public
    from cryptography.hazmat.primitives import serialization

    assert keys.private is not None
    private = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    path = folder / "public.pem"
    path.write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return path


@contextmanager
def _key_errors(variable: str, path: Path | None) -> Iterator[None]:
    """Convert an error with a key file to one that names its variable.

    Raises:
        BadInput: the key cannot be read or used.
    """
    try:
        yield
    except ModelworksError:  # Interrupted by a signal
        raise
    except Exception as error:  # many classes: not PEM, a password, another kind of key
        raise BadInput(
            f"{variable}: {path}: {first_line(error)}", "set it to an elliptic curve key in PEM", code="signing.bad-key"
        ) from None


def _library(*, verify: bool = False) -> tuple[Any, Any]:
    """Return the library's modules for signing or verifying, and for hashing."""
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise BadInput(
            f"a signing key is set, and {error.name or 'model-signing'} is not installed",
            "pip install 'modelworks[signing]'",
            code="signing.not-installed",
        ) from error
    return (verifying if verify else signing), hashing

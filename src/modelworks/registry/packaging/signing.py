"""A version's package and evidence, signed with a key (OpenSSF model-signing), where the environment names one.

A digest beside a file finds corruption; whoever can write both the artifacts and the registry's tags can forge both.
A signature they cannot make. What it does not say is which version the signed bytes belong to: an older package of the
same key in a newer one's place is found by the tags alone.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelworks.errors import BadInput, Corrupt, ModelworksError, first_line
from modelworks.registry.packaging.integrity import WAY_OUT
from modelworks.settings import signing_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modelworks.settings import SigningKeys

__all__ = ["FILE", "demand_signature", "sign"]

FILE = "signature.json"
"""In the evidence: a Sigstore bundle over `model/` and the other files of the evidence."""


def sign(folder: Path, signature: Path) -> bool:
    """Sign what is below a folder, if a signing key is named; the signature's own file is not part of it.

    Returns:
        Whether there is a signature now.

    Raises:
        BadInput: the key is none, or the library is not installed, or a verifying key is named alone.
    """
    keys = signing_keys()
    if not keys:
        return False
    if keys.private is None:
        raise BadInput(
            "MODELWORKS_VERIFYING_KEY demands signatures, and there is no key to sign a new version with",
            "set MODELWORKS_SIGNING_KEY to a private key in PEM, or let a machine that has one register",
            code="signing.no-key",
        )
    signing, hashing = _library()
    configured = signing.Config().set_hashing_config(_hashed(hashing, signature.relative_to(folder)))
    with _read_as_key("MODELWORKS_SIGNING_KEY", keys.private):
        signer = configured.use_elliptic_key_signer(private_key=keys.private)
    signer.sign(folder, signature)
    return True


def demand_signature(folder: Path, signature: Path) -> None:
    """Compare what is below a folder with its signature, if a key is named.

    Raises:
        Corrupt: there is no signature, or it is not of this key or not of these bytes.
        BadInput: the key is none, or the library is not installed.
    """
    keys = signing_keys()
    if not keys:
        return
    if not signature.is_file():
        raise Corrupt(
            f"the version has no signature: {signature.name} is missing, and a key is named",
            "register it anew with MODELWORKS_SIGNING_KEY set, or unset MODELWORKS_VERIFYING_KEY",
            code="signing.missing",
        )
    verifying, hashing = _library(verify=True)
    configured = verifying.Config().set_hashing_config(_hashed(hashing, signature.relative_to(folder)))
    with tempfile.TemporaryDirectory() as name:
        variable = "MODELWORKS_VERIFYING_KEY" if keys.public else "MODELWORKS_SIGNING_KEY"
        with _read_as_key(variable, keys.public or keys.private):
            verifier = configured.use_elliptic_key_verifier(public_key=_public(keys, Path(name)))
        try:
            verifier.verify(folder, signature)
        except ModelworksError:  # a signal's, which may come in the middle
            raise
        except Exception as error:  # the library names no class of its own: whatever it was, it is not verified
            raise Corrupt(
                f"{signature.name} does not sign these bytes with this key: {first_line(error)}",
                WAY_OUT,
                code="signing.mismatch",
            ) from None


def _hashed(hashing: Any, signature: Path) -> Any:
    """Every file but the signature: the library would leave git's files out as well."""
    return hashing.Config().set_ignored_paths(paths=[signature], ignore_git_paths=False)


def _public(keys: SigningKeys, folder: Path) -> Path:
    """The verifying key's file, made of the private key where only that is named."""
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
def _read_as_key(variable: str, path: Path | None) -> Iterator[None]:
    """Say of a key that cannot be read, or not be used, which variable names it.

    Raises:
        BadInput: the key is none.
    """
    try:
        yield
    except ModelworksError:  # a signal's
        raise
    except Exception as error:  # of many classes: no PEM, a password, another kind of key
        raise BadInput(
            f"{variable}: {path}: {first_line(error)}", "name an elliptic-curve key in PEM", code="signing.bad-key"
        ) from None


def _library(*, verify: bool = False) -> tuple[Any, Any]:
    """The library's modules for signing or verifying, and for hashing."""
    try:
        from model_signing import hashing, signing, verifying
    except ImportError as error:
        raise BadInput(
            f"a signing key is named, and {error.name or 'model-signing'} is not installed",
            "pip install 'modelworks[signing]'",
            code="signing.not-installed",
        ) from error
    return (verifying if verify else signing), hashing

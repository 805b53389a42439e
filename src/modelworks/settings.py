"""Settings from the environment: library defaults, signing keys, and access to servers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENFORCED", "QUIET", "Exposure", "SigningKeys", "signing_keys"]


ENFORCED: Mapping[str, str] = {
    # No pickle, no job execution, and no server without host and origin checks.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
}
"""Set in every process that we start, over the user's environment."""

QUIET: Mapping[str, str] = {
    # No telemetry.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    **ENFORCED,
    # Detect a dead tracking server in seconds; MLflow's defaults take two minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # Prefect's log goes to its server, not to the console.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # Keep stdout free for --json.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Waiting threads sleep. Spinning threads on a shared machine block the threads that they wait for: a training
    # beside other work took sixteen times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Progress bars of libraries would overwrite ours.
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Defaults for libraries. A variable that the user has set takes precedence, unless it is `ENFORCED`."""


@dataclass(frozen=True)
class SigningKeys:
    """PEM files with the elliptic curve keys that sign and verify packages."""

    private: Path | None
    """`MODELWORKS_SIGNING_KEY`."""
    public: Path | None
    """`MODELWORKS_VERIFYING_KEY`; if only the private key is set, its public key is used."""

    def __bool__(self) -> bool:
        """Return whether packages must be signed."""
        return self.private is not None or self.public is not None


def signing_keys(environment: Mapping[str, str] = os.environ) -> SigningKeys:
    """Return the keys that the environment names.

    Raises:
        BadInput: a file does not exist.
    """
    paths = {}
    for name in ("MODELWORKS_SIGNING_KEY", "MODELWORKS_VERIFYING_KEY"):
        path = Path(environment.get(name, "")).expanduser()
        if environment.get(name) and not path.is_file():
            raise BadInput(
                f"{name}: there is no file {path}", "set it to a PEM key file, or unset it", code="signing.bad-key"
            )
        paths[name] = path if environment.get(name) else None
    return SigningKeys(*paths.values())


@dataclass(frozen=True)
class Exposure:
    """What a server needs to be reachable from other machines: all three fields."""

    token: str = field(repr=False)
    """`MODELWORKS_SERVER_TOKEN`: the bearer token of clients."""
    hosts: tuple[str, ...]
    """`MODELWORKS_SERVER_HOSTS`: allowed Host headers with the port, separated by commas."""
    origins: tuple[str, ...]
    """`MODELWORKS_SERVER_ORIGINS`: allowed CORS origins, e.g. https://example.org."""

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Exposure:
        """Read the settings from the environment."""
        lists = [environment.get(f"MODELWORKS_SERVER_{name}", "") for name in ("HOSTS", "ORIGINS")]
        hosts, origins = (tuple(each.strip() for each in text.split(",") if each.strip()) for text in lists)
        return cls(environment.get("MODELWORKS_SERVER_TOKEN", ""), hosts, origins)

    @property
    def missing(self) -> tuple[str, ...]:
        """The variables that are unset or unsafe: wildcards and short tokens do not count."""
        valid = {
            "MODELWORKS_SERVER_TOKEN (authentication, 20 characters or more)": len(self.token) >= 20,
            "MODELWORKS_SERVER_HOSTS (allowed hosts, no *)": self.hosts and "*" not in "".join(self.hosts),
            "MODELWORKS_SERVER_ORIGINS (CORS, no *)": self.origins and "*" not in "".join(self.origins),
        }
        return tuple(name for name, is_valid in valid.items() if not is_valid)

"""What the environment sets: defaults of the libraries, signing keys, and who may reach a server."""

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
    # No pickle and no foreign code, in no process; no server without its checks of hosts and origins.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE": "false",
}
"""Holds in every process we start, whatever the user's environment says."""

QUIET: Mapping[str, str] = {
    # No telemetry, whoever's it is.
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    **ENFORCED,
    # A dead tracking server is found in seconds, not in the library's two minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    # Prefect's log goes to its server; on the console it would drown ours.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # What MLflow would print to stdout belongs to --json alone.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # Threads that wait sleep. Spinning ones take a shared machine's cores from the very threads they wait for:
    # a training beside other work ran sixteen times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Libraries that draw their own progress bars draw over ours.
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Defaults for every library we start. A variable that is already set by the user wins, unless it is `ENFORCED`."""


@dataclass(frozen=True)
class SigningKeys:
    """Files in PEM with the keys of an elliptic curve: what packages are signed with, and known by."""

    private: Path | None
    """`MODELWORKS_SIGNING_KEY`."""
    public: Path | None
    """`MODELWORKS_VERIFYING_KEY`; the private key's own other half where only that is named."""

    def __bool__(self) -> bool:
        """Whether packages must be signed."""
        return self.private is not None or self.public is not None


def signing_keys(environment: Mapping[str, str] = os.environ) -> SigningKeys:
    """The keys that the environment names.

    Raises:
        BadInput: a file is not there.
    """
    named = {}
    for name in ("MODELWORKS_SIGNING_KEY", "MODELWORKS_VERIFYING_KEY"):
        path = Path(environment.get(name, "")).expanduser()
        if environment.get(name) and not path.is_file():
            raise BadInput(f"{name}: there is no file {path}", "name a key in PEM, or unset it", code="signing.bad-key")
        named[name] = path if environment.get(name) else None
    return SigningKeys(*named.values())


@dataclass(frozen=True)
class Exposure:
    """What makes a server of ours fit to be reached from other machines: all three, or none."""

    token: str = field(repr=False)
    """`MODELWORKS_SERVER_TOKEN`: what callers must show."""
    hosts: tuple[str, ...]
    """`MODELWORKS_SERVER_HOSTS`: the names that it is called by, with the port, separated by commas."""
    origins: tuple[str, ...]
    """`MODELWORKS_SERVER_ORIGINS`: the sites whose pages may ask it, e.g. https://example.org."""

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Exposure:
        """As the environment says."""
        named = [environment.get(f"MODELWORKS_SERVER_{name}", "") for name in ("HOSTS", "ORIGINS")]
        hosts, origins = (tuple(each.strip() for each in text.split(",") if each.strip()) for text in named)
        return cls(environment.get("MODELWORKS_SERVER_TOKEN", ""), hosts, origins)

    @property
    def missing(self) -> tuple[str, ...]:
        """The variables that are not set; a wildcard sets none, and a token can be guessed that is short."""
        given = {
            "MODELWORKS_SERVER_TOKEN (authentication, 20 characters or more)": len(self.token) >= 20,
            "MODELWORKS_SERVER_HOSTS (allowed hosts, no *)": self.hosts and "*" not in "".join(self.hosts),
            "MODELWORKS_SERVER_ORIGINS (CORS, no *)": self.origins and "*" not in "".join(self.origins),
        }
        return tuple(name for name, well in given.items() if not well)

"""Where things live: the project's root, its state folder, and the services it talks to.

The environment is read here and nowhere else, once, when a `Project` is made.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.secrets import without_password

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ENFORCED", "MLFLOW_PORT", "PREFECT_PORT", "QUIET", "Exposure", "Project", "SigningKeys", "signing_keys"]

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


MLFLOW_PORT, PREFECT_PORT = 5000, 4200
"""Where `modelworks up` serves the pages."""


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
            raise BadInput(f"{name}: there is no file {path}", "name a key in PEM, or unset it")
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


@dataclass(frozen=True)
class Project:
    """One checkout: everything below `root`, plus the addresses the user's environment names."""

    root: Path
    mlflow_uri: str = field(default="", repr=False)
    """The user's `MLFLOW_TRACKING_URI`; empty for the embedded store."""
    prefect_url: str = field(default="", repr=False)
    """The user's `PREFECT_API_URL`; empty for a server of our own."""
    lock_url: str = field(default="", repr=False)
    """The user's `MODELWORKS_LOCK_URL`: of the PostgreSQL database whose locks a team shares; empty for none."""
    artifact_root: str = ""
    """The user's `MLFLOW_DEFAULT_ARTIFACT_ROOT`: for a store that is made in a PostgreSQL database; empty for none."""

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Project:
        """The project of the current folder: `MODELWORKS_PROJECT`, or the nearest folder upwards with configs/.

        Raises:
            BadInput: no such folder.
        """
        named = environment.get("MODELWORKS_PROJECT")
        here = Path.cwd()
        candidates = [Path(named).expanduser().resolve()] if named else [here, *here.parents]
        for folder in candidates:
            if (folder / "configs").is_dir():
                return cls(
                    root=folder,
                    mlflow_uri=environment.get("MLFLOW_TRACKING_URI", ""),
                    prefect_url=environment.get("PREFECT_API_URL", ""),
                    lock_url=environment.get("MODELWORKS_LOCK_URL", ""),
                    artifact_root=environment.get("MLFLOW_DEFAULT_ARTIFACT_ROOT", ""),
                )
        raise BadInput(
            f"{named or here} is not inside a modelworks project (no configs/ folder here or above)",
            "change into your clone, or set MODELWORKS_PROJECT to it",
        )

    @property
    def state(self) -> Path:
        """Everything that can be deleted and made again, or that only this machine needs."""
        return self.root / ".modelworks"

    @property
    def stages(self) -> Path:
        return self.state / "stages"

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    @property
    def data(self) -> Path:
        """The folder that `data.dvc` pins."""
        return self.root / "data"

    @property
    def mlflow(self) -> Path:
        """Home of the embedded tracking store."""
        return self.root / "mlflow"

    @property
    def tracking_uri(self) -> str:
        """Where runs are tracked and models registered."""
        return self.mlflow_uri or f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def prefect_home(self) -> Path:
        return self.state / "prefect"

    def mlflow_home(self, *, port: int = MLFLOW_PORT) -> str:
        """Where MLflow's pages are: the user's server, or that of `modelworks up`."""
        user = without_password(self.mlflow_uri).rstrip("/")
        return user if user.startswith("http") else f"http://127.0.0.1:{port}"

    def mlflow_page(self, experiment_id: str, run_id: str = "", *, port: int = MLFLOW_PORT) -> str:
        """The page of an experiment's runs, or of one run: of model training, not MLflow's home of language models."""
        place = f"experiments/{experiment_id}/runs" + (f"/{run_id}" if run_id else "")
        return f"{self.mlflow_home(port=port)}/#/{place}?workflowType=machine_learning"

    def prefect_page(self, flow_run_id: str = "", *, port: int = PREFECT_PORT) -> str:
        """The page of Prefect's runs, or of one flow run."""
        base = without_password(self.prefect_url).rstrip("/").removesuffix("/api") or f"http://127.0.0.1:{port}"
        return f"{base}/runs/flow-run/{flow_run_id}" if flow_run_id else f"{base}/runs"

    def environment(self) -> dict[str, str]:
        """The variables every library of this project starts with."""
        return {
            **QUIET,
            "MODELWORKS_PROJECT": str(self.root),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "PREFECT_HOME": str(self.prefect_home),
        }

    def enter(self) -> None:
        """Give this process, and all that it starts, the project's variables."""
        given = {name: value for name, value in self.environment().items() if name not in os.environ}
        os.environ.update({**given, **ENFORCED})

    def make_private_folders(self) -> None:
        """Create the state folder, readable by its owner alone.

        Raises:
            BadInput: the disk cannot be written.
        """
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.stages, self.locks, self.prefect_home):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise BadInput(f"cannot write {error.filename}: {error.strerror}", "make the folder writable") from error

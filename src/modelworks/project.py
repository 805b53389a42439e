"""The project's paths and the addresses of the services that it uses.

The environment is read once, when a `Project` is created.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from modelworks.errors import BadInput
from modelworks.files.digest_memo import DigestMemo
from modelworks.redaction import without_password
from modelworks.settings import ENFORCED, QUIET

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LOOPBACK", "Project", "user_cache"]


LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of the loopback address."""
MLFLOW_PORT, PREFECT_PORT = 5000, 4200
"""The ports on which `modelworks up` serves the UIs."""


@dataclass(frozen=True)
class Project:
    """A project folder, and the service addresses from the environment."""

    root: Path
    mlflow_uri: str = field(default="", repr=False)
    """The user's `MLFLOW_TRACKING_URI`; empty for the embedded store."""
    prefect_url: str = field(default="", repr=False)
    """The user's `PREFECT_API_URL`; empty for a server that modelworks starts."""
    lock_url: str = field(default="", repr=False)
    """The user's `MODELWORKS_LOCK_URL`: the PostgreSQL database for locks shared between machines; empty for none."""

    @classmethod
    def find(cls, environment: Mapping[str, str] = os.environ) -> Project:
        """Return the project: `MODELWORKS_PROJECT`, or the nearest parent folder with configs/.

        Raises:
            BadInput: there is no such folder.
        """
        configured = environment.get("MODELWORKS_PROJECT")
        here = Path.cwd()
        candidates = [Path(configured).expanduser().resolve()] if configured else [here, *here.parents]
        for folder in candidates:
            if (folder / "configs").is_dir():
                return cls(
                    root=folder,
                    mlflow_uri=environment.get("MLFLOW_TRACKING_URI", ""),
                    prefect_url=environment.get("PREFECT_API_URL", ""),
                    lock_url=environment.get("MODELWORKS_LOCK_URL", ""),
                )
        raise BadInput(
            f"{configured or here} is not inside a modelworks project (no configs/ folder here or above)",
            "change into your clone, or set MODELWORKS_PROJECT to it",
            code="project.not-found",
        )

    @property
    def state(self) -> Path:
        """Local state and everything that can be deleted and computed again."""
        return self.root / ".modelworks"

    @property
    def memo(self) -> DigestMemo:
        """The digest memo for data/ and DVC's cache."""
        return DigestMemo(self.state)

    @property
    def stages(self) -> Path:
        return self.state / "stages"

    @property
    def locks(self) -> Path:
        return self.state / "locks"

    @property
    def product_rates(self) -> tuple[Path, ...]:
        """The caches of measurements for the choice of precision, see `training/machine/precision.py`.

        The first is shared by the user's projects; the second is used if the first cannot be written.
        """
        return tuple(folder / "product-rates" for folder in (user_cache(), self.state))

    @property
    def data(self) -> Path:
        """The folder that `data.dvc` pins."""
        return self.root / "data"

    @property
    def mlflow(self) -> Path:
        """The folder of the embedded tracking store."""
        return self.root / "mlflow"

    @property
    def tracking_uri(self) -> str:
        """The address of the tracking store and model registry."""
        return self.mlflow_uri or f"sqlite:///{self.mlflow / 'mlflow.db'}"

    @property
    def prefect_home(self) -> Path:
        return self.state / "prefect"

    def mlflow_home(self, *, port: int = MLFLOW_PORT) -> str:
        """Return the URL of MLflow's UI: the user's server, or that of `modelworks up`."""
        user = without_password(self.mlflow_uri).rstrip("/")
        return user if user.startswith("http") else f"http://127.0.0.1:{port}"

    def mlflow_page(self, experiment_id: str, run_id: str = "", *, port: int = MLFLOW_PORT) -> str:
        """Return the URL of an experiment's runs, or of one run, in MLflow's machine learning view."""
        place = f"experiments/{experiment_id}/runs" + (f"/{run_id}" if run_id else "")
        return f"{self.mlflow_home(port=port)}/#/{place}?workflowType=machine_learning"

    def prefect_page(self, flow_run_id: str = "", *, port: int = PREFECT_PORT) -> str:
        """Return the URL of Prefect's runs, or of one flow run."""
        base = without_password(self.prefect_url).rstrip("/").removesuffix("/api") or f"http://127.0.0.1:{port}"
        return f"{base}/runs/flow-run/{flow_run_id}" if flow_run_id else f"{base}/runs"

    def environment(self) -> dict[str, str]:
        """Return the environment variables that every library starts with."""
        return {
            **QUIET,
            "MODELWORKS_PROJECT": str(self.root),
            "MLFLOW_TRACKING_URI": self.tracking_uri,
            "PREFECT_HOME": str(self.prefect_home),
        }

    def enter(self) -> None:
        """Set the project's environment variables in this process, for its children too."""
        missing = {name: value for name, value in self.environment().items() if name not in os.environ}
        os.environ.update({**missing, **ENFORCED})

    def make_private_folders(self) -> None:
        """Create the state folder, readable only by its owner.

        Raises:
            BadInput: the folder is not writable.
        """
        try:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.stages, self.locks, self.prefect_home):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"cannot write {error.filename}: {error.strerror}", "make the folder writable", code="disk.not-writable"
            ) from error


def user_cache() -> Path:
    """Return the folder for files that the user's projects on this machine share.

    It does not depend on XDG_CACHE_HOME, which may differ between a shell and a service: they must use the same locks.
    """
    return Path.home() / ".cache" / "modelworks"

"""Create an empty database of each service: `python -m modelworks.cli.setup`.

`make setup` runs it. A project starts with a copy, which saves several seconds of its first run.
"""

from __future__ import annotations

import os

from modelworks.registry.backend import tracking_store
from modelworks.servers import prefect_server
from modelworks.settings import QUIET
from modelworks.sqlite.databases import keep_empty


def main() -> None:
    """Store an empty MLflow and an empty Prefect database in this Python environment."""
    os.environ |= QUIET
    keep_empty("mlflow", tracking_store.build_schema)
    keep_empty("prefect", prefect_server.build_schema)


if __name__ == "__main__":
    main()

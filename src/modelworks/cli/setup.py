"""What `make setup` does when everything is installed: `python -m modelworks.cli.setup`.

An empty database of each service, for projects to start with a copy: it saves a first run several seconds.
"""

from __future__ import annotations

import os

from modelworks.registry.backend import tracking_store
from modelworks.servers import prefect_server
from modelworks.settings import QUIET
from modelworks.sqlite.databases import keep_empty


def main() -> None:
    """Keep one of each in this Python's environment."""
    os.environ |= QUIET
    keep_empty("mlflow", tracking_store.build_schema)
    keep_empty("prefect", prefect_server.build_schema)


if __name__ == "__main__":
    main()

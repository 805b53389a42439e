"""What `make setup` does when everything is installed: `python -m flows.setup`.

An empty database of each service, for projects to start with a copy: it saves a first run several seconds.
"""

from __future__ import annotations

import os

from flows import server
from modelworks.embedded import keep_empty
from modelworks.project import QUIET
from modelworks.registry import store


def main() -> None:
    """Keep one of each in this Python's environment."""
    os.environ |= QUIET
    keep_empty("mlflow", store.build_schema)
    keep_empty("prefect", server.build_schema)


if __name__ == "__main__":
    main()

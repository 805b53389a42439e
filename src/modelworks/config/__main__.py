"""`python -m modelworks.config`: print the JSON Schema of a config."""

from __future__ import annotations

import json
import sys

from modelworks.config.run_config import json_schema

if __name__ == "__main__":
    sys.stdout.write(json.dumps(json_schema(), indent=1) + "\n")

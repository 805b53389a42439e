"""Load a package without this project and predict with it; run by `isolated_process.py`.

A request is a line on stdin, `{"package": folder, "contents": [...], "params": {...}}`; the reply is a line on stdout,
`{"answers": [...], "columns": {name: [...]}}` or `{"error": ..., "kind": ...}`. Encoded files are in base64. The columns
are the model's predictions, from which the answers are computed; packages of earlier releases have none. The reply to
`{"installed": [name, ...]}` is `{"installed": {name: version}}`, without a local version (+cpu), and null for a missing
distribution. The process ends at the end of stdin.
"""

import atexit
import gc
import importlib.metadata
import json
import os
import sys
from typing import Any


def main() -> None:
    # Libraries print to stdout, so it is redirected to stderr; replies have their own descriptor.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    # Garbage collection during imports takes a third of the time.
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
    import mlflow.pyfunc
    import pandas as pd
    import torch  # noqa: F401  # every package needs it: import it while the caller does other work

    for line in sys.stdin:
        request = json.loads(line)
        if "installed" in request:
            replies.write(json.dumps({"installed": {name: installed(name) for name in request["installed"]}}) + "\n")
            continue
        try:
            model = mlflow.pyfunc.load_model(request["package"])
            frame = pd.DataFrame({"content": request["contents"]})
            answers = model.predict(frame, params=request["params"]).to_dict("records")
            served = model.unwrap_python_model()
            columns = served.columns(frame["content"]) if hasattr(served, "columns") else {}
            lists = {name: values.tolist() for name, values in columns.items()}
            reply: dict[str, Any] = {"answers": answers, "columns": lists}
        except Exception as error:  # any error of the model is reported to the caller
            reply = {"error": str(error), "kind": type(error).__name__}
        replies.write(json.dumps(reply) + "\n")


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

"""A program: load a package as a stranger would and predict with it. Run by `isolated_process.py`, never imported.

A line on stdin, `{"package": folder, "contents": [...], "params": {...}}`, gives a line on stdout: `{"answers": [...],
"columns": {name: [...]}}`, or `{"error": ..., "kind": ...}`. Encoded files are given in base64. The columns are those
that the answers were made from; packages of earlier releases have none. `{"installed": [name, ...]}` gives `{"installed": {name:
version}}`, without what marks a build (+cpu), and null for what is not installed. It ends when stdin does.
"""

import atexit
import gc
import importlib.metadata
import json
import os
import sys
from typing import Any


def main() -> None:
    # Libraries print; the replies need stdout to themselves.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)

    # Looking for garbage among what is imported would take a third of the time.
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)
    import mlflow.pyfunc
    import pandas as pd
    import torch  # noqa: F401  # every package needs it: an early start then hides its seconds as well

    for line in sys.stdin:
        question = json.loads(line)
        if "installed" in question:
            replies.write(json.dumps({"installed": {name: installed(name) for name in question["installed"]}}) + "\n")
            continue
        try:
            model = mlflow.pyfunc.load_model(question["package"])
            frame = pd.DataFrame({"content": question["contents"]})
            answers = model.predict(frame, params=question["params"]).to_dict("records")
            served = model.unwrap_python_model()
            columns = served.columns(frame["content"]) if hasattr(served, "columns") else {}
            lists = {name: values.tolist() for name, values in columns.items()}
            reply: dict[str, Any] = {"answers": answers, "columns": lists}
        except Exception as error:  # whatever a model raises is the answer to the question whether it works
            reply = {"error": str(error), "kind": type(error).__name__}
        replies.write(json.dumps(reply) + "\n")


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

"""A program: load a package as a stranger would and answer questions about it. Run by `isolated_process.py`, never imported.

A line on stdin, `{"package": folder, "contents": [...], "top_k": n}`, gives a line on stdout, `{"answers": [...]}` or
`{"error": ..., "kind": ...}`; image contents are base64. `{"installed": [name, ...]}` gives `{"installed": {name:
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
    # Libraries print; the answers need stdout to themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
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
            answers.write(json.dumps({"installed": {name: installed(name) for name in question["installed"]}}) + "\n")
            continue
        try:
            model = mlflow.pyfunc.load_model(question["package"])
            frame = pd.DataFrame({"content": question["contents"]})
            found = model.predict(frame, params={"top_k": question["top_k"]})
            answer: dict[str, Any] = {"answers": list(found["probabilities"])}
        except Exception as error:  # whatever a model raises is the answer to the question whether it works
            answer = {"error": str(error), "kind": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")


def installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()

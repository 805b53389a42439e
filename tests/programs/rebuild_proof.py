"""`make rebuild-proof`: rebuild versions of every kind of model, also with changed data and libraries.

Each version is trained in a clone of this checkout's code and rebuilt by `modelworks rebuild`. The result is compared
with the expected one. Prints a table; the exit code is the number of unexpected results.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.clones import make_clone, other_version, running_from

from modelworks.data.sources import Tweets
from modelworks.settings import QUIET

TWEETS = """
name: %(name)s
source: {kind: table, path: %(name)s.csv, text: text, label: label}
checks: {max_bad_share: 0.1}
model: %(model)s
train: {epochs: 1, batch_size: 32, optimizer: adamw, learning_rate: %(rate)g, warmup: 0.1, clip_norm: 1.0, seed: 0}
compute: {threads: 2}
gate: {minimums: {accuracy: 0.2}}
"""
FAULT = """
_save = save

def save(tensors, metadata=None):
    name = sorted(tensors)[0]
    off = tensors[name].clone()
    off.view(-1)[0] += 0.25
    return _save({**tensors, name: off}, metadata)
"""


@dataclass(frozen=True)
class Case:
    """One rebuild with its expected and its actual result."""

    name: str
    expected: str
    result: str
    seconds: float
    tensors: str = ""
    predictions: str = ""

    @property
    def right(self) -> bool:
        return self.expected in self.result


def main() -> int:
    """Train and rebuild each version and print the table."""
    with tempfile.TemporaryDirectory() as name:
        root, beside = Path(name) / "clone", Path(name) / "beside"
        make_clone(root)
        variables = {key: value for key, value in os.environ.items() if key not in QUIET}
        environment = running_from(root, {**variables, "MODELWORKS_PROJECT": str(root)})
        cases = []
        for model in ("digits-cnn", "tweets-transformer", "tweets-minilm"):
            _train(root, environment, model)
            cases.append(_rebuild(environment, model, "identical"))
        other_version(beside, "safetensors", "99.0")
        changed = running_from(root, environment, beside)
        cases.append(_rebuild(changed, "digits-cnn", "identical", "another release with the same code"))
        package = beside / "safetensors" / "torch.py"
        package.write_text(package.read_text() + FAULT)
        cases.append(
            _rebuild(changed, "digits-cnn", "libraries: safetensors", "another release that adds 0.25 to a value")
        )
        _flip(root / ".dvc" / "cache")
        cases.append(_rebuild(environment, "digits-cnn", "identical", "one data byte changed in the cache"))
        _flip(root / ".dvc" / "cache")
        _flip(root / ".modelworks" / "dvc-remote")
        cases.append(_rebuild(environment, "digits-cnn", "data: ", "one data byte changed in cache and remote"))
    _print(cases)
    return sum(not case.right for case in cases)


def _train(root: Path, environment: dict[str, str], name: str) -> None:
    config = root / "configs" / "digits_cnn.yaml"
    if name != "digits-cnn":
        transformer = "{kind: transformer, vocabulary: 8000, max_tokens: 64, width: 128, layers: 2, heads: 4}"
        minilm = "{kind: pretrained, checkpoint: minilm, max_tokens: 64}"
        model, rows, rate = (transformer, 8000, 0.001) if name == "tweets-transformer" else (minilm, 2000, 0.0001)
        examples = Tweets(kind="tweets").read(root).columns
        with (root / f"{name}.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("text", "label"))
            pairs = list(zip(examples["text"].to_pylist(), examples["label"].to_pylist(), strict=True))
            writer.writerows(pairs[:: max(1, len(pairs) // rows)])  # they are sorted by label
        config = root / "configs" / f"{name}.yaml"
        config.write_text(TWEETS % {"name": name, "model": model, "rate": rate})
    done = _command(environment, "run", str(config), "--json")
    if done.returncode:
        sys.exit(done.stderr)


def _rebuild(environment: dict[str, str], model: str, expected: str, what: str = "as recorded") -> Case:
    started = time.monotonic()
    done = _command(environment, "rebuild", model, "--json")
    seconds = time.monotonic() - started
    found: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
    error = next((line for line in done.stderr.splitlines() if line.startswith(("error: ", "refused: "))), "")
    result = "identical" if found.get("identical") and done.returncode == 0 else f"{error} (exit {done.returncode})"
    if not found:
        return Case(f"{model}, {what}", expected, result, seconds)
    tensors, predictions = found["tensors"], found["predictions"]
    equal = tensors["compared"] - len(tensors["different"])
    return Case(
        f"{model}, {what}",
        expected,
        result,
        seconds,
        f"{equal} of {tensors['compared']}",
        f"{predictions['compared'] - predictions['different']:,} of {predictions['compared']:,}",
    )


def _command(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("modelworks"), *arguments],
        env=environment,
        cwd=environment["MODELWORKS_PROJECT"],
        capture_output=True,
        text=True,
        check=False,
    )


def _flip(folder: Path, is_data: Callable[[bytes], bool] = lambda content: content[:4] == b"PAR1") -> None:
    """Change one byte in every stored Parquet file."""
    for path in folder.rglob("*"):
        if path.is_file() and is_data(content := path.read_bytes()):
            path.chmod(0o644)
            half = len(content) // 2
            path.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])


def _print(cases: list[Case]) -> None:
    print("| version | expected | result | tensors equal | predictions equal | seconds | |")
    print("|---|---|---|---|---|---|---|")
    for each in cases:
        result = each.result.replace("|", "\\|")
        print(
            f"| {each.name} | {each.expected} | {result} | {each.tensors} | {each.predictions} | {each.seconds:.0f} "
            f"| {'right' if each.right else '**wrong**'} |"
        )


if __name__ == "__main__":
    sys.exit(main())

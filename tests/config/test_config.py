"""A config is loaded completely or rejected with every mistake: field, line and suggestion."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from config.configs import PLAIN, rejection
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from modelworks.config.run_config import RunConfig, json_schema, load
from modelworks.models.config import recommended
from modelworks.training.config import TrainConfig

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_loads_and_matches_the_schema(path: Path) -> None:
    config = load(path)
    assert config.name == path.stem.replace("_", "-")
    jsonschema.validate(YAML(typ="safe", pure=True).load(path.read_text()), json.loads(schema_file()))


def schema_file() -> str:
    return (CONFIGS / "schema.json").read_text()


def test_schema_file_is_up_to_date() -> None:
    program = [sys.executable, "-m", "modelworks.config"]
    printed = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    assert schema_file() == printed, "run make schema"


def test_schema_is_valid_and_describes_every_field() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for name, section in {"RunConfig": schema, **schema["$defs"]}.items():
        for field, description in section["properties"].items():
            # A field with the docstring of its section's class refers to it; `kind` needs no description.
            described = {"description", "$ref", "const"} & description.keys()
            assert described, f"{name}.{field} has no docstring"


def test_schema_rejects_values_that_load_rejects() -> None:
    values = YAML(typ="safe", pure=True).load(PLAIN)
    jsonschema.validate(values, json_schema())
    for wrong in ({"epochs": 0}, {"epochs": 3, "epoch": 3}, {"epochs": "3"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**values, "train": wrong}, json_schema())


def test_run_config_works_with_pydantics_type_adapter(file: Path) -> None:
    complete = {**YAML(typ="safe").load(PLAIN), **load(file).section("train")}
    assert TypeAdapter(RunConfig).validate_json(json.dumps(complete)) == load(file)


def test_missing_sections_have_their_defaults(file: Path) -> None:
    config = load(file)
    assert config.schedule is None
    assert config.split.test == 0.2
    assert config.section("train", "source") == {
        "train": {**dataclasses.asdict(config.train)},
        "source": {"kind": "digits"},
    }


def test_overrides_are_typed_yaml_1_2_values(file: Path) -> None:
    config = load(file, ["train.learning_rate=1e-3", "split.salt=no", "split.test=0.25"])
    assert (config.train.learning_rate, config.split.salt, config.split.test) == (0.001, "no", 0.25)


def test_override_creates_missing_sections(file: Path) -> None:
    config = load(file, ["schedule.cron=0 2 * * *", "train.epochs=5"])
    assert config.schedule is not None
    assert (config.schedule.cron, config.train.epochs) == ("0 2 * * *", 5)


def test_load_imports_no_large_library_and_is_fast() -> None:
    program = (
        "import sys, time; started = time.process_time()\n"
        "from pathlib import Path; from modelworks.config.run_config import load\n"
        f"load(Path({str(CONFIGS / 'mnist_cnn.yaml')!r}))\n"
        "seconds = time.process_time() - started\n"
        "heavy = {'torch', 'pandas', 'mlflow', 'dvc', 'pyarrow', 'numpy', 'great_expectations', 'prefect'}\n"
        "print(seconds, *heavy & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 2  # 0.4 on an idle machine; the limit only detects an unwanted import


def test_schema_has_every_section() -> None:
    names = {field.name for field in dataclasses.fields(RunConfig)}
    assert names == set(json_schema()["properties"])
    assert all(re.fullmatch(r"[a-z_]+", name) for name in names)


def test_train_section_is_optional(file: Path) -> None:
    file.write_text(PLAIN.replace("train:\n  epochs: 3\n", ""))
    config = load(file)
    assert (config.train.epochs, config.train.learning_rate, config.train.max_steps) == (10, 0.003, 0)
    assert "train.max_steps" in rejection(file, "train.max_steps=-1")


SHORT = """\
name: mine
source: {kind: table, path: sentences.csv, text: sentence, label: class}
model: {kind: pretrained, checkpoint: minilm}
gate:
  minimums: {accuracy: 0.9}
"""


def test_missing_train_fields_have_the_architectures_recommended_values(file: Path) -> None:
    file.write_text(SHORT)
    train = load(file).train
    assert (train.epochs, train.learning_rate, train.clip_norm, train.warmup) == (3, 5e-5, 1.0, 0.1)
    given = load(file, ["train.learning_rate=1e-4"]).train
    assert given == dataclasses.replace(train, learning_rate=1e-4)
    assert load(file, ["model={kind: transformer}"]).train.learning_rate == 1e-3


@pytest.mark.parametrize("kind", ["cnn", "pretrained", "transformer"])
def test_recommended_values_are_valid_train_fields(kind: str) -> None:
    config = TypeAdapter(TrainConfig).validate_json(json.dumps(recommended(kind)), strict=True)
    assert {"epochs", "learning_rate"} <= set(recommended(kind))
    assert all(getattr(config, name) == value for name, value in recommended(kind).items())


def test_printed_config_is_complete_and_loads(file: Path) -> None:
    file.write_text(SHORT)
    code = "from modelworks.cli.main import main; main()"
    program = [sys.executable, "-c", code, "run", str(file), "--print-config"]
    printed = subprocess.run(program, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "learning_rate: 5e-05" in printed
    assert "kind: classification" in printed
    again = file.with_name("printed.yaml")
    again.write_text(printed)
    assert load(again) == load(file)
    as_json = subprocess.run([*program, "--json"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert json.loads(as_json) == json.loads(json.dumps(load(file).section(*json_schema()["properties"])))

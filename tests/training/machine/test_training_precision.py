"""`compute.precision: auto` on a CPU uses measured and cached rates."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from modelworks.errors import BadInput
from modelworks.models.config import Cnn, Transformer
from modelworks.training.config import ComputeConfig
from modelworks.training.hardware import Hardware
from modelworks.training.machine.detect import detect
from modelworks.training.machine.precision import RATES, cached, choose, explained, identity
from modelworks.training.machine.processor import Processor, find

XEON = Processor(model="Intel(R) Xeon(R)", version="cpu family 6 model 143", flags=("avx512_bf16", "avx512f"))
UNDECIDED = Hardware(device="cpu", precision="fp32", threads=2, precision_source="undecided")
SLOW = {"products_fp32": 320.0, "products_bf16": 164.0, "convolutions_fp32": 385.0, "convolutions_bf16": 215.0}
FAST = {"products_fp32": 160.0, "products_bf16": 480.0, "convolutions_fp32": 100.0, "convolutions_bf16": 260.0}
ONLY_PRODUCTS = {**FAST, "convolutions_bf16": 119.0}
OPERATIONS = {"cnn": Cnn.operations, "transformer": Transformer.operations}


class Measured:
    """Return given rates and count the calls."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        self.rates, self.calls = rates, 0

    def __call__(self, hardware: Hardware) -> Mapping[str, float]:
        self.calls += 1
        return self.rates


def chosen(
    folder: Path, measure: Callable[[Hardware], Mapping[str, float]], kind: str = "cnn", **changes: object
) -> Hardware:
    processor = changes.pop("processor", XEON)
    assert isinstance(processor, Processor)
    return choose(replace(UNDECIDED, **changes), OPERATIONS[kind], [folder], processor=processor, measure=measure)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rates", "kind", "precision"),
    [
        (SLOW, "cnn", "fp32"),
        (SLOW, "transformer", "fp32"),
        (FAST, "cnn", "bf16"),
        (FAST, "transformer", "bf16"),
        (ONLY_PRODUCTS, "cnn", "fp32"),
        (ONLY_PRODUCTS, "transformer", "bf16"),
        ({**FAST, "products_bf16": 160 * 1.2}, "transformer", "bf16"),
    ],
    ids=["slow", "slow", "fast", "fast", "slow convolutions", "slow convolutions", "exactly the minimum gain"],
)
def test_bf16_is_chosen_if_the_relevant_operations_are_faster(
    tmp_path: Path, rates: dict[str, float], kind: str, precision: str
) -> None:
    found = chosen(tmp_path / "rates", Measured(rates), kind)
    assert (found.precision, found.precision_source, found.product_rates) == (precision, "measurement", rates)


def test_cached_rates_are_not_measured_again(tmp_path: Path) -> None:
    first, second = Measured(FAST), Measured(SLOW)
    assert chosen(tmp_path / "rates", first) == chosen(tmp_path / "rates", second)
    assert (first.calls, second.calls) == (1, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"processor": replace(XEON, version="cpu family 6 model 207")},
        {"processor": replace(XEON, flags=(*XEON.flags, "amx_bf16"))},
        {"threads": 1},
    ],
    ids=["processor", "flags", "threads"],
)
def test_each_identity_has_its_own_cache_file(tmp_path: Path, changes: dict[str, object]) -> None:
    assert chosen(tmp_path, Measured(SLOW)).precision == "fp32"
    other = Measured(FAST)
    assert chosen(tmp_path, other, **changes).precision == "bf16"
    assert other.calls == 1
    back = Measured(FAST)
    assert chosen(tmp_path, back).precision == "fp32"
    assert back.calls == 0


def test_instruction_limits_are_part_of_the_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(tmp_path, Measured(FAST)).precision == "bf16"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert chosen(tmp_path, Measured(SLOW)).precision == "fp32"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"\xff\x00",
        b"[]",
        b'{"rates": 3}',
        b'{"identity": {}, "rates": USABLE}',
        b'{"identity": IDENTITY, "rates": {"products_fp32": 1}}',
        b'{"identity": IDENTITY, "rates": UNUSABLE}',
    ],
)
def test_damaged_cache_is_measured_again_and_repaired(tmp_path: Path, damaged: bytes) -> None:
    chosen(tmp_path, Measured(SLOW))
    (path,) = tmp_path.iterdir()
    parts = {b"IDENTITY": identity(UNDECIDED, XEON), b"UNUSABLE": {**FAST, "products_fp32": 0}, b"USABLE": FAST}
    for name, value in parts.items():
        damaged = damaged.replace(name, json.dumps(value).encode())
    path.write_bytes(damaged)
    again = Measured(FAST)
    assert chosen(tmp_path, again).precision == "bf16"
    assert again.calls == 1
    assert list(tmp_path.iterdir()) == [path]
    assert cached([tmp_path], identity(UNDECIDED, XEON)) == FAST


def test_unwritable_cache_does_not_fail(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in place of the state folder")
    assert chosen(tmp_path / "state" / "rates", Measured(FAST)).precision == "bf16"


def test_second_cache_is_used_if_the_first_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file in place of the home folder")
    folders, first, second = (tmp_path / "home" / "rates", tmp_path / "rates"), Measured(FAST), Measured(SLOW)
    for measure in (first, second):
        assert choose(UNDECIDED, ("products",), folders, processor=XEON, measure=measure).precision == "bf16"
    assert (first.calls, second.calls) == (1, 0)


def test_decided_precision_is_not_measured(tmp_path: Path) -> None:
    never = Measured(FAST)
    for source in ("config", "cpu_flags", "compute_capability"):
        assert chosen(tmp_path, never, precision_source=source).precision == "fp32"
    assert never.calls == 0
    assert not list(tmp_path.iterdir())


def test_processor_without_bf16_instructions_uses_fp32(tmp_path: Path) -> None:
    found = detect(ComputeConfig(device="cpu"))
    assert found.precision_source == ("undecided" if find().has_bf16 else "cpu_flags")
    assert found.precision == "fp32"
    assert explained("cpu_flags", {}) == "the CPU has no bf16 instructions"


def test_processor_is_read_from_cpuinfo(tmp_path: Path) -> None:
    information = tmp_path / "cpuinfo"
    flags = "fpu sse2 fma avx2 avx512f avx512_bf16 amx_bf16 amx_tile"
    one = (
        f"processor\t: 0\ncpu family\t: 6\nmodel\t\t: 143\nmodel name\t: A Xeon\nstepping\t: 8\nflags\t\t: {flags}\n\n"
    )
    information.write_text(one + one.replace("A Xeon", "never read"))
    found = find(information)
    assert (found.model, found.version) == ("A Xeon", "cpu family 6 model 143 stepping 8")
    assert found.flags == ("amx_bf16", "amx_tile", "avx2", "avx512_bf16", "avx512f", "fma")
    assert found.has_bf16
    assert find(tmp_path / "absent").flags == ()


def test_measurement_does_not_import_torch_in_this_process(tmp_path: Path) -> None:
    program = (
        "import json, sys\nfrom pathlib import Path\n"
        "from modelworks.training.hardware import Hardware\n"
        "from modelworks.training.machine.precision import choose\n"
        "undecided = Hardware(device='cpu', precision='fp32', threads=1, precision_source='undecided')\n"
        "found = choose(undecided, ('products', 'convolutions'), [Path(sys.argv[1])])\n"
        "assert 'torch' not in sys.modules\n"
        "assert choose(undecided, ('products', 'convolutions'), [Path(sys.argv[1])]) == found\n"
        "print(sorted(found.product_rates), min(found.product_rates.values()) > 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "rates")],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == f"{sorted(RATES)} True"


def test_failed_measurement_names_the_field_to_set(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"compute\.precision") as caught:
        choose(replace(UNDECIDED, threads=-1), ("products",), [tmp_path])
    assert caught.value.code == "compute.precision"
    assert "compute.precision" in caught.value.hint
    assert not list(tmp_path.iterdir())

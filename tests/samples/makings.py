"""The provenance of versions in tests."""

from __future__ import annotations

from modelworks.provenance import Code, DataPin, Machine, Provenance

PROVENANCE = Provenance(
    code=Code(commit="", folder="", patch="", missing="the code that ran was not in a git repository"),
    data=DataPin(
        dataset="image",
        digest="0123456789abcdef0123456789abcdef.dir",
        pin="outs:\n- md5: 0123456789abcdef0123456789abcdef.dir\n  path: data\n",
        remote="local",
        remotes={"local": "../.modelworks/dvc-remote"},
    ),
    config={"name": "small", "model": {"kind": "cnn"}, "train": {"seed": 0}},
    lock="",
    seed=0,
    machine=Machine(
        device="cpu",
        precision="fp32",
        threads=2,
        processes=1,
        shard=False,
        scoring_threads=2,
        processor="x86_64 a processor",
    ),
    python="3.11.7",
    libraries={"numpy": "2.4.6", "torch": "2.13.0"},
    ingredients={"train": {"library torch": "2.13.0", "train.epochs": "8"}},
)

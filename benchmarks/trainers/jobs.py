"""Define the trainings as jobs of our trainer; all sides read the same file.

The schedule is a linear warm-up and half a cosine, which every library has. There are no validation rows, so that only
training is timed.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modelworks.data import dataset_format
from modelworks.data.dvc_storage import object_cache
from modelworks.data.sources import Examples, Fashion, Tweets
from modelworks.data.sources.base import LABELLED_IMAGES, LABELLED_TEXTS
from modelworks.data.splits import QUARANTINED, TEST, TRAIN, SplitConfig, assign_splits
from modelworks.models.config import Cnn, ModelConfig, Pretrained
from modelworks.models.pretrained_weights import locate
from modelworks.objectives.config import Classification
from modelworks.project import Project
from modelworks.training.config import ComputeConfig, TrainConfig
from modelworks.training.job import Job
from modelworks.training.machine.detect import detect
from modelworks.training.machine.precision import choose

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Precision", "bert", "fashion", "for_side", "pictures", "tweets"]

Precision = Literal["fp32", "bf16"]

WORDS = 30_522
"""Size of BERT's vocabulary."""


def fashion(folder: Path, rows: int, epochs: int = 1) -> Job:
    """Return the job of the two-conv CNN on `rows` training rows of Fashion-MNIST, as in configs/fashion_cnn.yaml."""
    train = TrainConfig(
        epochs=epochs,
        batch_size=128,
        learning_rate=0.003,
        schedule="cosine",
        warmup=0.2,
        checkpoint_steps=rows * epochs // 128 // 2 + 1,  # one checkpoint of ours, in the middle
    )
    return _job(folder, Fashion(kind="fashion").read(folder), Cnn(kind="cnn"), train, rows)


def tweets(folder: Path, rows: int, test_rows: int) -> Job:
    """Return the job of fine-tuning MiniLM on `rows` tweets for one epoch, as in configs/tweets_minilm.yaml."""
    train = TrainConfig(epochs=1, batch_size=32, learning_rate=0.0001, schedule="cosine", warmup=0.1, clip_norm=1.0)
    model = Pretrained(kind="pretrained", checkpoint="minilm")
    return _job(folder, Tweets(kind="tweets").read(folder), model, train, rows, test_rows)


def pictures(
    folder: Path, rows: int, *, side: int = 28, colours: int = 1, batch_size: int = 512, epochs: int = 1
) -> Job:
    """Return the job of the two-conv CNN on synthetic images: noise on one of ten grey levels, which is the class."""
    import numpy as np
    import pyarrow as pa

    test_rows = min(1000, rows // 10)
    total = rows + test_rows
    labels = np.arange(total) % 10
    generator = np.random.default_rng(0)
    header = b"P%d\n%d %d\n255\n" % (5 if colours == 1 else 6, side, side)

    def drawn(start: int) -> list[bytes]:
        levels = labels[start : start + 10_000, None] * 15
        noise = generator.integers(0, 100, (len(levels), side * side * colours), dtype=np.uint8)
        return [header + each.tobytes() for each in noise + levels.astype(np.uint8)]

    images = pa.chunked_array([pa.array(drawn(start), pa.binary()) for start in range(0, total, 10_000)])
    examples = Examples(
        features=LABELLED_IMAGES,
        columns={
            "image": images.combine_chunks(),
            "label": pa.array([str(label) for label in labels]),
            "split": pa.array(["train"] * rows + ["test"] * test_rows),
        },
        licence="none needed",
        source_digest="",
    )
    train = TrainConfig(epochs=epochs, batch_size=batch_size, learning_rate=0.003, schedule="cosine", warmup=0.2)
    return _job(folder, examples, Cnn(kind="cnn"), train, rows)


def bert(folder: Path, rows: int, batch_size: int) -> Job:
    """Return the job of a BERT with 110 M random weights on synthetic texts of exactly 128 tokens."""
    import numpy as np
    import pyarrow as pa

    test_rows = max(64, rows // 20)
    labels = np.arange(rows + test_rows) % 2
    words = np.random.default_rng(0).integers(0, WORDS // 2, (len(labels), 126)) + (WORDS // 2 - 10) * labels[:, None]
    examples = Examples(
        features=LABELLED_TEXTS,
        columns={
            "text": pa.array([" ".join(f"w{word}" for word in text) for text in words]),
            "label": pa.array([str(label) for label in labels]),
            "split": pa.array(["train"] * rows + ["test"] * test_rows),
        },
        licence="none needed",
        source_digest="",
    )
    folder.mkdir(parents=True)
    model = Pretrained(kind="pretrained", checkpoint=str(_fresh_bert(folder / "checkpoint")), max_tokens=128)
    train = TrainConfig(epochs=1, batch_size=batch_size, learning_rate=0.0001, schedule="cosine", clip_norm=1.0)
    return _job(folder, examples, model, train, rows)


def for_side(job: Job, folder: Path, seed: int, precision: Precision | None = None) -> Path:
    """Write the job's file for one training of one side to a new folder; return its path."""
    folder.mkdir(parents=True)
    hardware = replace(job.hardware, precision=precision) if precision else job.hardware
    path = folder / "job.json"
    replace(job, train=replace(job.train, seed=seed), hardware=hardware, work=folder).write(path)
    return path


def _job(
    folder: Path, examples: Examples, model: ModelConfig, train: TrainConfig, rows: int, test_rows: int | None = None
) -> Job:
    import numpy as np

    dataset = folder / "dataset"
    dataset.mkdir(parents=True)
    dataset_format.write(dataset, "benchmark", {"kind": "benchmark"}, examples)
    columns = dataset_format.read(dataset, ["id", "split"]).to_pydict()
    splits = assign_splits(columns["id"], columns.get("split"), SplitConfig(validation=0))
    for code, wanted in ((TRAIN, rows), (TEST, test_rows)):
        _keep(splits, code, wanted)
    np.save(folder / "splits.npy", splits)
    return Job(
        key="benchmark",
        dataset=dataset,
        dataset_digest=object_cache.listing_digest(object_cache.subtree(dataset)),
        splits=folder / "splits.npy",
        decoded=folder,
        decoded_key="benchmark",
        checkpoint=locate(model, folder),
        model=model,
        objective=Classification(kind="classification"),
        train=train,
        hardware=choose(detect(ComputeConfig()), model.operations, Project(folder).product_rates),
        work=folder,
        parent=os.getpid(),
    )


def _keep(splits: np.ndarray, code: int, wanted: int | None) -> None:
    """Quarantine all but `wanted` random rows of a split, with a fixed seed."""
    import numpy as np

    places = np.random.default_rng(0).permutation(np.flatnonzero(splits == code))
    splits[places[wanted:] if wanted is not None else []] = QUARANTINED


def _fresh_bert(folder: Path) -> Path:
    """Write a checkpoint with random weights and a word-level tokenizer."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    folder.mkdir()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    names = [*special, *(f"w{number}" for number in range(WORDS - len(special)))]
    tokenizer = Tokenizer(models.WordLevel({name: place for place, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(vocab_size=WORDS)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    save_file(BertModel(config).state_dict(), folder / "model.safetensors")
    return folder

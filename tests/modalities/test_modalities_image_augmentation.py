"""Effects of the image augmentations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from modelworks.modalities.image import Processor
from modelworks.modalities.image_augmentation import augment
from modelworks.training.config import AugmentConfig

PICTURE = torch.arange(1.0, 26.0).view(1, 1, 5, 5)
BLANK = torch.tensor([-7.0])


def varied(count: int = 200, **settings: Any) -> torch.Tensor:
    torch.manual_seed(0)
    pixels = PICTURE.expand(count, 1, 5, 5).contiguous(memory_format=torch.channels_last)
    return augment(pixels, AugmentConfig(**settings), BLANK)


def test_all_shifts_occur_and_shifted_in_pixels_are_blank() -> None:
    found = {tuple(each.flatten().tolist()) for each in varied(shift=1)}
    padded = nn.functional.pad(PICTURE, (1, 1, 1, 1), value=float(BLANK))[0, 0]
    windows = [padded[top : top + 5, left : left + 5] for top in range(3) for left in range(3)]
    assert found == {tuple(window.flatten().tolist()) for window in windows}


def test_flip_mirrors_about_half_of_the_images() -> None:
    mirrored = (varied(flip=True) == PICTURE.flip(-1)).all(dim=(1, 2, 3))
    assert 60 < int(mirrored.sum()) < 140
    assert ((varied(flip=True) == PICTURE).all(dim=(1, 2, 3)) | mirrored).all()


def test_crop_keeps_the_size() -> None:
    cropped = varied(crop=0.5)
    assert cropped.shape == (200, 1, 5, 5)
    spread = cropped.amax(dim=(1, 2, 3)) - cropped.amin(dim=(1, 2, 3))
    assert float(spread.max()) <= 24
    assert float(spread.min()) > 8
    assert len({tuple(each.flatten().tolist()) for each in cropped}) == 200


def test_cutout_blanks_a_square_that_may_cross_the_edge() -> None:
    hidden = varied(cutout=2) == float(BLANK)
    assert ((varied(cutout=2) == PICTURE) | hidden).all()
    assert set(hidden.sum(dim=(1, 2, 3)).tolist()) == {1, 2, 4}


def test_augmentation_keeps_the_memory_format() -> None:
    assert varied(shift=1, flip=True, cutout=2).is_contiguous(memory_format=torch.channels_last)


def test_processor_augments_with_black_as_blank() -> None:
    processor = Processor({"height": 5, "width": 5, "channels": 1, "mean": [14.0], "std": [2.0]})
    inputs = {"pixels": PICTURE.expand(200, 1, 5, 5).contiguous(memory_format=torch.channels_last)}
    torch.manual_seed(0)
    found = processor.augment(inputs, AugmentConfig(cutout=2))
    assert torch.equal(found["pixels"], varied(cutout=2))

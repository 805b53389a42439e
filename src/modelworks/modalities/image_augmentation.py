"""Augment a batch of images on its device: shift, flip, crop, cutout."""

from __future__ import annotations

from typing import Protocol

import torch
from torch.nn import functional

__all__ = ["Settings", "augment"]


class Settings(Protocol):
    """Settings of the augmentation; 0 and False disable one."""

    @property
    def shift(self) -> int: ...
    @property
    def flip(self) -> bool: ...
    @property
    def crop(self) -> float: ...
    @property
    def cutout(self) -> int: ...


def augment(pixels: torch.Tensor, config: Settings, blank: torch.Tensor) -> torch.Tensor:
    """Augment each image of a batch with random numbers from torch's generator.

    Args:
        pixels: float (n, channels, height, width); the result has the same memory format.
        config: as in `train.augment`.
        blank: value per channel (channels,) of shifted-in edges and cut-out squares.
    """
    if config.flip:
        mirrored = torch.rand(len(pixels), device=pixels.device) < 0.5
        pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
    if config.crop:
        pixels = _crop(pixels, config.crop)
    if config.shift:
        pixels = _shift(pixels, config.shift, blank)
    if config.cutout:
        pixels = _cut_out(pixels, config.cutout, blank)
    return pixels


def _shift(pixels: torch.Tensor, most: int, blank: torch.Tensor) -> torch.Tensor:
    n, channels, height, width = pixels.shape
    device = pixels.device
    padded = blank.view(1, 1, 1, -1).expand(n, height + 2 * most, width + 2 * most, channels).contiguous()
    padded[:, most : most + height, most : most + width] = pixels.permute(0, 2, 3, 1)
    down, right = torch.randint(0, 2 * most + 1, (2, n), device=device)
    # One gather of contiguous pixels, with indices (n, height, 1) and (n, 1, width).
    rows = (down[:, None] + torch.arange(height, device=device))[:, :, None]
    columns = (right[:, None] + torch.arange(width, device=device))[:, None, :]
    moved = padded[torch.arange(n, device=device)[:, None, None], rows, columns]
    return moved.permute(0, 3, 1, 2)


def _crop(pixels: torch.Tensor, most: float) -> torch.Tensor:
    """Crop a random window of each image and resize it to the full size by bilinear sampling."""
    n = len(pixels)
    scale = 1 - most * torch.rand(n, device=pixels.device)
    centre = (torch.rand(2, n, device=pixels.device) * 2 - 1) * (1 - scale)
    window = torch.zeros(n, 2, 3, device=pixels.device)
    window[:, 0, 0] = window[:, 1, 1] = scale
    window[:, :, 2] = centre.T
    grid = functional.affine_grid(window, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")


def _cut_out(pixels: torch.Tensor, side: int, blank: torch.Tensor) -> torch.Tensor:
    n, _, height, width = pixels.shape
    device = pixels.device
    top = torch.randint(1 - side, height, (n, 1), device=device)
    left = torch.randint(1 - side, width, (n, 1), device=device)
    rows = torch.arange(height, device=device) - top
    columns = torch.arange(width, device=device) - left
    hidden = ((rows >= 0) & (rows < side))[:, None, :, None] & ((columns >= 0) & (columns < side))[:, None, None, :]
    return torch.where(hidden, blank.view(1, -1, 1, 1), pixels)

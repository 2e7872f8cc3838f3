"""How many steps walks have: of all runs or boxes of a row."""

from __future__ import annotations

import torch
from torch import Tensor

NUMBERS = ("first", "gap", "pace", "extent", "span")
"""Of an axis of a box."""


def by_row(offsets: Tensor, amounts: Tensor) -> Tensor:
    """The sums of ``amounts[offsets[r] : offsets[r + 1]]``, int32."""
    ends = torch.cat((amounts.new_zeros(1), amounts)).cumsum(0)
    return (ends[offsets[1:].long()] - ends[offsets[:-1].long()]).to(torch.int32)


def of_boxes(offsets: Tensor, boxes: Tensor, step: int, extents: tuple[int, ...]) -> Tensor:
    """Of every row. boxes ``[boxes, numbers]``: the place of the first key, then :data:`NUMBERS` of
    each axis. step: slots. extents: of every step, where all boxes have the same."""
    width = len(NUMBERS)
    spans, own = (boxes[:, 1 + NUMBERS.index(w) :: width].long() for w in ("span", "extent"))
    cut = own.new_tensor(extents) if extents else own.clamp(min=1)
    tiles = (spans + cut - 1).div(cut, rounding_mode="floor").prod(1)
    parts = 1 if extents else (cut.prod(1) + step - 1).div(step, rounding_mode="floor")
    return by_row(offsets, tiles * parts)

"""A kernel that goes wrong in those ways that tests of memory have to see."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

SIZE, PROGRAMS, STRIDE = 16, 2, 2**30

WAYS: dict[str, dict[str, int]] = {
    "nothing": {},
    "reads behind": {"read": 1},
    "writes before": {"write": -1},
    "writes what another writes": {"step": 8},
    "reads what another writes": {"write": SIZE, "inplace": 1},
    "reads what nobody has written": {"empty": 1},
}


@triton.jit
def copy(x, y, read, write, step, stride, SIZE: tl.constexpr):  # type: ignore[no-untyped-def]
    """``y[i] = x[i]`` and the program's number, where the numbers say so at other places."""
    at = tl.program_id(0) * step + tl.arange(0, SIZE)
    tl.store(y + at + write, tl.load(x + (at + read) * stride) + tl.program_id(0))


def run(way: str) -> list[torch.Tensor]:
    """Launches the kernel. Gives what it writes."""
    how = {"read": 0, "write": 0, "step": SIZE, "inplace": 0, "empty": 0, **WAYS[way]}
    size = (PROGRAMS - 1) * how["step"] + SIZE * (1 + how["inplace"])
    x = torch.empty(size) if how["empty"] else torch.arange(float(size))
    y = x if how["inplace"] else torch.zeros(size)
    launch(x, y, 1, **{name: how[name] for name in ("read", "write", "step")})
    return [y]


def launch(x: torch.Tensor, y: torch.Tensor, stride: int, **numbers: int) -> None:
    given: dict[str, Any] = {"read": 0, "write": 0, "step": SIZE, **numbers}
    copy[(PROGRAMS,)](x=x, y=y, stride=stride, SIZE=SIZE, **given)

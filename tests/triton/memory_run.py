"""Runs calls with fences around what kernels are given, and disturbed."""

from __future__ import annotations

import faulthandler
import hashlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch

from tests.triton import wrong
from tests.triton.memory_calls import CALLS, Tensor
from tests.triton.watched import Edge, Unwritten, around_launches, backwards, fences

DISTURBED: dict[Edge, Callable[[], Any]] = {"first": backwards, "last": Unwritten}
"""What calls are run in: one thing for each edge, as each run takes its time."""


def result(name: str) -> list[Tensor]:
    """Of a call, the same every time."""
    torch.manual_seed(0)
    if name in wrong.WAYS:
        return wrong.run(name)
    if name in CALLS:
        return CALLS[name]()
    from tests.triton.memory_standards import STANDARDS

    return STANDARDS[name]()


def digest(found: Sequence[Tensor]) -> str:
    """Of the bits of tensors."""
    every = (x.detach().contiguous().flatten().view(torch.uint8).numpy() for x in found)
    return hashlib.sha256(b"".join(x.tobytes() for x in every)).hexdigest()


def main(edge: Edge, *names: str) -> None:
    """Prints a digest of each call's results, and as an error what is about to be launched: the
    last line is of what touches a fence."""
    faulthandler.enable()
    for name in names:

        def tell(kernel: str, name: str = name) -> None:
            print(f"{name}: {kernel}", file=sys.stderr, flush=True)

        with around_launches(fences(edge, tell)), DISTURBED[edge]():
            print(f"{name}\t{digest(result(name))}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]

"""Launches under Triton's interpreter, watched and disturbed: what a GPU's sanitizers would show.

The interpreter runs one program of a launch after another, and reads and writes memory where a
kernel's pointers say, except where they are masked.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Literal
from unittest.mock import patch

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime import interpreter
from triton.tools.tensor_descriptor import TensorDescriptor

from tests.triton.vast import reach

Tensor = torch.Tensor
Given = dict[str, Any]
Edge = Literal["first", "last"]
Around = Callable[[str, Given], AbstractContextManager[Given]]
PROT_NONE = 0
BEYOND = 16 * mmap.PAGESIZE
"""Bytes before and behind a tensor that nobody may touch."""


@contextmanager
def around_launches(change: Around) -> Iterator[list[str]]:
    """Every kernel launched inside, by name and arguments, runs within ``change``, with the
    arguments that this yields. Gives the names of the kernels that ran."""
    ran: list[str] = []
    launch = interpreter.GridExecutor.__call__

    def changed(self: Any, **given: Any) -> None:
        name = self.fn.__name__
        with change(name, given) as other:
            launch(self, **other)
        ran.append(name)

    with patch.object(interpreter.GridExecutor, "__call__", changed):
        yield ran


def with_tensors(given: Given, change: Callable[[Tensor], Tensor]) -> Given:
    """The arguments with every tensor changed, those of descriptors as well."""

    def one(x: Any) -> Any:
        if isinstance(x, TensorDescriptor):
            return replace(x, base=change(x.base))
        return change(x) if isinstance(x, Tensor) else x

    return {name: one(x) for name, x in given.items()}


def flat(x: Tensor) -> Tensor:
    """What lies between a tensor's first and its last element, gaps included."""
    return x.detach().as_strided((1 + reach(x),), (1,))


def fenced(size: int, dtype: torch.dtype, edge: Edge) -> Tensor:
    """Room for so many elements. Whoever touches the memory just before or behind it, dies."""
    length = size * dtype.itemsize
    inside = -(-length // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, inside + 2 * BEYOND, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for fence in (start, start + BEYOND + inside):
        if protect(ctypes.c_void_p(fence), ctypes.c_size_t(BEYOND), PROT_NONE):
            raise OSError(ctypes.get_errno(), "mprotect")
    at = BEYOND if edge == "first" else BEYOND + inside - length
    return torch.frombuffer(memory, dtype=dtype, count=size, offset=at)


def fences(edge: Edge, tell: Callable[[str], None] = lambda _: None) -> Around:
    """Kernels are given copies of their tensors, each with a fence before its first byte
    (``first``) or behind its last. tell: is given the name of a kernel before it is launched."""

    @contextmanager
    def change(name: str, given: Given) -> Iterator[Given]:
        tell(name)
        made: dict[object, tuple[Tensor, Tensor, Tensor]] = {}

        def moved(x: Tensor) -> Tensor:
            if not x.numel():
                return x
            own = flat(x)
            key = (own.data_ptr(), len(own), own.dtype)
            if key not in made:
                room = fenced(len(own), x.dtype, edge).copy_(own)
                made[key] = own, room, own.clone()
            return made[key][1].as_strided(x.shape, x.stride())

        yield with_tensors(given, moved)
        for own, room, before in made.values():
            # One tensor may be given under several names: what was only read is left alone.
            if not torch.equal(room.view(torch.uint8), before.view(torch.uint8)):
                own.copy_(room)

    return change


@contextmanager
def backwards() -> Iterator[None]:
    """The programs of a launch run from the last to the first."""
    forwards = interpreter.InterpreterBuilder.set_grid_idx

    def turned(self: Any, *at: int) -> None:
        forwards(self, *(n - 1 - i for n, i in zip(self.grid_dim, at, strict=True)))

    with patch.object(interpreter.InterpreterBuilder, "set_grid_idx", turned):
        yield


class Shared(AssertionError):
    """A program of a launch touches what another writes."""


@contextmanager
def strangers() -> Iterator[list[str]]:
    """Raises Shared where a program writes what another of the same launch reads or writes. Gives
    the names of the kernels that ran."""
    builder = interpreter.InterpreterBuilder
    place, load, store = (
        builder.set_grid_idx,
        builder.create_masked_load,
        builder.create_masked_store,
    )
    seen: dict[str, list[np.ndarray]] = {}
    program = 0

    def placed(self: Any, *at: int) -> None:
        nonlocal program
        program = int(np.ravel_multi_index(at, self.grid_dim))
        place(self, *at)

    def note(kind: str, pointers: Any, mask: Any) -> None:
        touched = np.unique(np.broadcast_to(pointers.data, mask.data.shape)[mask.data])
        seen[kind].append(
            np.stack([touched.astype(np.int64), np.full_like(touched, program, np.int64)])
        )

    def loaded(self: Any, pointers: Any, mask: Any, *more: Any, **how: Any) -> Any:
        note("read", pointers, mask)
        return load(self, pointers, mask, *more, **how)

    def stored(self: Any, pointers: Any, value: Any, mask: Any, *more: Any) -> Any:
        note("written", pointers, mask)
        return store(self, pointers, value, mask, *more)

    @contextmanager
    def watch(name: str, given: Given) -> Iterator[Given]:
        seen.update(read=[], written=[])
        yield given
        written = np.unique(np.concatenate(seen["written"], 1), axis=1)
        every = np.unique(np.concatenate([*seen["read"], written], 1), axis=1)
        at, times = np.unique(every[0], return_counts=True)
        if np.isin(at[times > 1], written[0]).any():
            raise Shared(f"two programs of `{name}` meet at what one of them writes")

    with (
        patch.object(builder, "set_grid_idx", placed),
        patch.object(builder, "create_masked_load", loaded),
        patch.object(builder, "create_masked_store", stored),
        around_launches(watch) as ran,
    ):
        yield ran


class Unwritten(TorchDispatchMode):
    """Memory that torch makes without writing it holds NaN and the largest integers, or zeros."""

    MAKERS = ("empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided")

    def __init__(self, *, zeros: bool = False) -> None:
        super().__init__()
        self.zeros, self.made = zeros, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket in {getattr(torch.ops.aten, x) for x in self.MAKERS}:
            self.made += made.numel() > 0
            made.fill_(0 if self.zeros else odd(made.dtype))
        return made


def odd(dtype: torch.dtype) -> float:
    """What nobody computes by chance."""
    if dtype.is_floating_point:
        return float("nan")
    return True if dtype is torch.bool else torch.iinfo(dtype).max

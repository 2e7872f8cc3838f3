"""Dense masks for people: the reference backend's truth in the public shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from attnlang.backends.arguments import check_inputs
from attnlang.backends.reference.attend import mask
from attnlang.compiler.ir.expr import Table, TokenInput
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.bind import Sizes

if TYPE_CHECKING:
    from attnlang.pattern import Pattern


def dense_mask(
    pattern: Pattern,
    sizes: Sizes,
    heads: int,
    kv_heads: int | None,
    q_offset: int,
    given: Mapping[str, object],
) -> torch.Tensor:
    """bool ``[H or 1, Nq, Nk]``, or ``[B, H or 1, Nq, Nk]`` when an input has a batch axis."""
    problem = pattern.problem(sizes, heads, kv_heads=kv_heads, q_offset=q_offset)
    batch = batch_of(pattern, given)
    read = {
        x.name
        for group in problem.groups
        for x in walk(group.attend.where)
        if isinstance(x, TokenInput | Table)
    }
    inputs = check_inputs(problem, given, batch, torch.device("cpu"), needed=read)
    full = mask(problem, inputs, torch.device("cpu"))
    by_head = any("head" in i.dims for i in pattern.ir.inputs if i.name in read)
    if not problem.varies_by_head and not by_head:
        full = full[:, :1]
    by_batch = any(
        i.dims[:1] == ("batch",) and given.get(i.name) is not None for i in pattern.ir.inputs
    )
    return full if by_batch else full[0]


def batch_of(pattern: Pattern, given: Mapping[str, object]) -> int:
    """The batch that the inputs with a batch axis come in."""
    sizes = [1]
    for decl in pattern.ir.inputs:
        value = given.get(decl.name)
        value = value[0] if isinstance(value, tuple) and value else value
        shape = getattr(value, "shape", None)
        if decl.dims[:1] == ("batch",) and shape:
            sizes.append(int(shape[0]))
    return max(sizes)

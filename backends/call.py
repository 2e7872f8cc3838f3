"""One call of an op as the backends see it: checked tensors in one fixed form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from attnlang.backends.listed import Listed
from attnlang.backends.precision import accumulation_dtype as accumulation_dtype
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.problem.problem import Problem


@dataclass(frozen=True, slots=True)
class Inputs:
    """Run-time tensors of one call.

    tokens: ``[B or 1, H or 1, tokens of the side's grid]`` by name and side.
    tables: ``[B or 1, ...declared dims without batch]`` by name; absent optional inputs are
    missing here, and read as 0. lists: tables that come as the places of what is true.
    """

    tokens: Mapping[tuple[str, Side], torch.Tensor] = field(default_factory=dict)
    tables: Mapping[str, torch.Tensor] = field(default_factory=dict)
    lists: Mapping[str, Listed] = field(default_factory=dict)

    def with_table(self, name: str, table: torch.Tensor) -> Inputs:
        """The same tensors and one more table."""
        return Inputs(self.tokens, {**self.tables, name: table}, self.lists)

    def dense(self, but: str | None = None) -> Inputs:
        """The same, lists as tables, but for one."""
        made = {name: x.table() for name, x in self.lists.items() if name != but}
        kept = {name: x for name, x in self.lists.items() if name == but}
        return Inputs(self.tokens, {**self.tables, **made}, kept) if made else self

    @property
    def batch(self) -> int:
        """The largest batch among the tensors: 1 when none varies by batch."""
        sizes = [t.shape[0] for t in (*self.tokens.values(), *self.tables.values())]
        sizes += [x.index.shape[0] for x in self.lists.values()]
        return max(sizes, default=1)


@dataclass(frozen=True, slots=True)
class Call:
    """q ``[B, Hq, Nq, D]``, k ``[B, Hkv, Nk, D]``, v ``[B, Hkv, Nk, Dv]``, and the rest.

    scale: factor of q.k when the pattern states none; None is ``D ** -0.5``.
    need_lse: is the lse asked for? Without it a backend may take a path that has none.
    """

    problem: Problem
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    inputs: Inputs
    scale: float | None = None
    need_lse: bool = True

    def dense(self, but: str | None = None) -> Call:
        """The same call, lists as tables, but for one."""
        return replace(self, inputs=self.inputs.dense(but)) if self.inputs.lists else self


def rowed(x: torch.Tensor) -> torch.Tensor:
    """With features one behind the other: so kernels read them, whatever the strides say."""
    return x if x.stride(-1) == 1 else x.contiguous()

"""Attention in several branches of disjoint pairs, merged into one softmax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeAlias

import torch

from attnlang.backends.call import Call, accumulation_dtype
from attnlang.backends.program.maps import merge
from attnlang.compiler.plan.branches import branches

Found: TypeAlias = tuple[torch.Tensor, torch.Tensor | None]
"""Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]``."""


def by_branches(call: Call, attend: Callable[[Call], Found]) -> Found | None:
    """What ``attend`` gives for each branch of the call's pattern, merged; None where it has none
    (:mod:`attnlang.compiler.plan.branches`)."""
    found = branches(call.problem)
    if not found:
        return None
    return merged(call, [attend(replace(call, problem=p, need_lse=True)) for p in found])


def merged(call: Call, found: Sequence[Found]) -> Found:
    """One softmax over the keys of all."""
    wide = accumulation_dtype(call.q.dtype)
    lses = [lse for _, lse in found if lse is not None]
    out, lse = merge([x.to(wide) for x, _ in found], lses)
    return out.to(call.q.dtype), lse

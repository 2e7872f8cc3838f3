"""Attention of a batch of tiles with its scores written out: edits, sinks, rules for empty rows."""

from __future__ import annotations

from typing import Any

import torch

from attnlang.backends.blocked.places import Places, may_be_infinite
from attnlang.backends.blocked.softmax import Edits, edited
from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.pattern import EmptyRule
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.problem import BoundAttend


def scale_of(call: Call, attend: BoundAttend) -> float:
    if attend.scale is not None:
        value = value_of(attend.scale)
        if value is not None:
            return float(value)
    return call.scale if call.scale is not None else call.q.shape[-1] ** -0.5


def edit(
    call: Call,
    attend: BoundAttend,
    heads: tuple[int, ...],
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: torch.Tensor | None,
    q_at: torch.Tensor,
    k_at: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch with score edits, a sink, a scale of its own or an lse."""
    dtype = accumulation_dtype(q.dtype)
    token_keys, table_keys = list(call.inputs.tokens), list(call.inputs.tables)
    tensors = (*call.inputs.tokens.values(), *call.inputs.tables.values())
    score, sink, gain = attend.score, attend.sink, attend.gain
    guarded = score is not None and may_be_infinite(score)

    def edits(extras: tuple[torch.Tensor, ...]) -> Edits:
        inputs = Inputs(
            dict(zip(token_keys, extras[: len(token_keys)], strict=True)),
            dict(zip(table_keys, extras[len(token_keys) :], strict=True)),
        )

        def places(rows: slice, seen: torch.Tensor | None = None) -> Places:
            here = mask if mask is None or mask.shape[0] == 1 else mask[rows]
            return Places(call.problem, inputs, heads, q_at[rows], k_at[rows], dtype, seen, here)

        def seen(rows: slice) -> torch.Tensor:
            if mask is None:
                return torch.ones((1, 1, 1), dtype=torch.bool, device=q.device)
            return mask[rows] if mask.shape[0] > 1 else mask

        def scored(s: torch.Tensor, rows: slice) -> torch.Tensor:
            assert score is not None
            hides = guarded and torch.is_grad_enabled()
            return torch.as_tensor(places(rows, seen(rows) if hides else None).value(score, s))

        def gained(rows: slice) -> torch.Tensor:
            assert gain is not None
            inside = seen(rows)
            return torch.where(inside, torch.as_tensor(places(rows, inside).value(gain)), 0.0)

        def scale() -> Any:
            constant = attend.scale is None or (
                not call.problem.pattern.inputs and not _reads_head(attend.scale)
            )
            return scale_of(call, attend) if constant else places(slice(0, 1)).value(attend.scale)  # type: ignore[arg-type]

        return Edits(
            scale,
            None if score is None else scored,
            None if sink is None else lambda rows: column(places(rows).value(sink), q, dtype),
            attend.normaliser,
            None if gain is None else gained,
        )

    out, lse = edited(q, k, v, mask, edits, tensors)
    return out.to(q.dtype), lse


def _reads_head(x: e.Expr) -> bool:
    return any(isinstance(n, e.Symbol | e.Table) for n in walk(x))


def column(value: Any, like: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A sink without its key dimension, which is the last and of size one: it varies with the
    query alone. A number has none."""
    x = torch.as_tensor(value, dtype=dtype, device=like.device)
    return x.squeeze(-1) if x.dim() else x


def select(x: torch.Tensor, heads: list[int]) -> torch.Tensor:
    """Some heads of a tensor: a view when they are consecutive."""
    if heads == list(range(heads[0], heads[0] + len(heads))):
        return x[:, heads[0] : heads[0] + len(heads)]
    return x[:, torch.tensor(heads, device=x.device)]


def fill_empty(
    call: Call, attend: BoundAttend, heads: tuple[int, ...], at: torch.Tensor,
    out: torch.Tensor, lse: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:  # fmt: skip
    """The rule for rows without keys, applied to the queries ``at`` alone.

    out, lse: of some heads, ``[B, heads, Nq, Dv]`` and ``[B, heads, Nq]``.
    """
    rule = attend.empty
    group = call.problem.heads // call.problem.kv_heads
    q = select(call.q, list(heads))
    if rule is EmptyRule.PASSTHROUGH:
        return out.index_copy(2, at, q[:, :, at]), lse
    kv = [h // group for h in heads]
    k, v = select(call.k, kv), select(call.v, kv)
    if rule is EmptyRule.SELF:
        at = at[at < call.problem.k_len]
        q_at = k_at = at[:, None]
        rows = (q[:, :, at].unsqueeze(3), k[:, :, at].unsqueeze(3), v[:, :, at].unsqueeze(3))
    else:
        q_at, k_at = at[None], torch.arange(call.problem.k_len, device=at.device)[None]
        rows = (q[:, :, at].unsqueeze(2), k.unsqueeze(2), v.unsqueeze(2))
    if not len(at):
        return out, lse
    filled, norm = edit(call, attend, heads, *rows, None, q_at, k_at)
    out = out.index_copy(2, at, filled.flatten(2, 3))
    return out, None if lse is None else lse.index_copy(2, at, norm.flatten(2, 3))

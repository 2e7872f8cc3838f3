"""Softmax attention by the kernels of this directory, as its manifest says under "launch"."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch

from attnlang.backends.ahead.runtime.files import MANIFEST
from attnlang.backends.ahead.runtime.kernels import Call, Group, Key, Leaf, run_kernel
from attnlang.backends.triton.amounts import summing_programs, walk_shares
from attnlang.backends.triton.descriptors import aligned, describable, machine_describes

Tensor = torch.Tensor
DTYPES = {"bool": torch.bool, "int": torch.int64, "float": torch.float32}


def attend(
    step: str, q: Tensor, k: Tensor, v: Tensor, given: Mapping[Key, Tensor],
    groups: Sequence[Group], *, scale: float | None = None, q_offset: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Output ``[B, Hq, Nq, Dv]`` in q's dtype, the lse ``[B, Hq, Nq]``, and which rows met a key.

    given: tensors that the pattern reads. Raises ValueError for what the kernels were not made for.
    """
    launch = MANIFEST["launch"][step]
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    check(step, launch, q, k, v, q_offset)
    leaves = [x for g in groups for x in g.leaves]
    keys = tuple(dict.fromkeys(x.key for x in leaves))
    described = machine_describes(q.device, q.dtype) and describable(q, k, v)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    call = Call(launch, groups, keys, scale, described, {})
    call.values.update(_inputs(launch, given, q))
    call.values.update(length_q=q.shape[2], length_k=k.shape[2], q_offset=q_offset)
    extras = (*(g.sink for g in groups), *(given[key] for key in keys))
    out, lse, met = _Attention.apply(call, q, k, v, *extras)  # type: ignore[no-untyped-call]
    return out, lse, met != 0


def check(
    step: str, launch: dict[str, Any], q: Tensor, k: Tensor, v: Tensor, q_offset: int
) -> None:
    """Raises ValueError."""
    d, dtype, heads = launch["head_dim"], launch["dtype"], launch["heads"]
    kv_heads = launch["kv_heads"] if k.shape[1] != heads else heads
    every = (("q", q, heads, d), ("k", k, kv_heads, d), ("v", v, kv_heads, v.shape[3]))
    for name, x, h, width in every:
        if x.dim() != 4 or x.shape[0] != q.shape[0] or x.shape[1] != h or x.shape[3] != width:
            wanted = f"[{q.shape[0]}, {h}, tokens, {width}]"
            raise ValueError(f"{name} of {step} must be {wanted}, not {list(x.shape)}")
        if str(x.dtype) != f"torch.{dtype}" or x.device != q.device:
            raise ValueError(f"{name} of {step} must be {dtype} on {q.device}")
    if k.shape[2] != v.shape[2]:
        raise ValueError(f"v must have k's {k.shape[2]} tokens, not {v.shape[2]}")
    for name, x in (("q", q), ("k", k)):
        fixed = launch["tokens"][name]
        if launch["tables"] and (x.shape[2] != fixed or q_offset):
            raise ValueError(f"{name} of {step} must have {fixed} tokens, from the first")
        if x.shape[2] + q_offset > launch["longest"]:
            raise ValueError(f"{name} of {step} must end before coordinate {launch['longest']}")


def _inputs(launch: dict[str, Any], given: Mapping[Key, Tensor], q: Tensor) -> dict[str, Any]:
    """The tensors as kernels read them, with strides and sizes, by the kernels' names for them."""
    values: dict[str, Any] = {}
    for declared in launch["inputs"]:
        name, dtype = declared["name"], DTYPES[declared["kind"]]
        for side in declared["sides"]:
            x = _near(name, given[side, name].detach().to(q.device, dtype))
            values[f"in_{side}_{name}"] = x
            for i in range(3):
                alone = x.shape[i] == 1 and i < 2
                values[f"in_{side}_{name}_stride{i}"] = 0 if alone else x.stride(i)
        if not declared["sides"]:
            values |= _table(name, given[name].detach().to(q.device, dtype))
    for table in launch["values"]:
        dtype = torch.float64 if table["kind"] == "float" else DTYPES[table["kind"]]
        entries = torch.tensor([table["entries"]], dtype=dtype, device=q.device)
        values |= _table(table["name"], entries)
    return values


def _near(name: str, x: Tensor) -> Tensor:
    """Kernels compiled ahead count an input's entries in 32 bits."""
    if sum((n - 1) * step for n, step in zip(x.shape, x.stride(), strict=True)) >= 2**31:
        raise ValueError(f"input `{name}` must have its last entry within 2**31 of its first")
    return x


def _table(name: str, x: Tensor) -> dict[str, Any]:
    there = _near(name, x) if x.numel() else x.new_zeros(1)  # of no size: every entry is outside
    found: dict[str, Any] = {f"table_{name}": there}
    found[f"table_{name}_stride_batch"] = x.stride(0) * (x.shape[0] > 1)
    for i in range(1, x.dim()):
        found[f"table_{name}_stride_{i - 1}"] = x.stride(i)
        found[f"table_{name}_size_{i - 1}"] = x.shape[i]
    return found


class _Attention(torch.autograd.Function):
    """extras: a sink or None for each group, then the learned tensors."""

    @staticmethod
    def forward(
        ctx: Any, call: Call, q: Tensor, k: Tensor, v: Tensor, *extras: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        out = q.new_zeros((*q.shape[:3], v.shape[3]))
        new = partial(torch.empty, dtype=torch.float32, device=q.device)
        norm = new(q.shape[:3]).fill_(-math.inf)
        met = torch.ones(q.shape[:3], dtype=torch.int8, device=q.device)
        ctx.mark_non_differentiable(met)
        ctx.call, sinks = call, extras[: len(call.groups)]
        sinks = tuple(None if s is None else s.detach().float().contiguous() for s in sinks)
        ctx.tops = []
        for group in call.launch["groups"]:
            read: dict[str, Any] = {"q": q, "k": k, "v": v, "sink": sinks[group["group"]]}
            rows = {"lse": norm, "divisor": norm, "met": met}
            first, last = group["heads"]
            # Heads that share keys may stand in one tile.
            packed = group["kernels"]["split_forward"]["packed"]
            heads = (last - first) // (q.shape[1] // k.shape[1] if packed else 1)
            splits = walk_shares(q.shape[2], heads * q.shape[0], k.shape[2], q.device)
            tops: dict[str, Tensor] = {}
            for i in range(group["row_maxes"]):
                part = new((splits, *norm.shape)).fill_(-math.inf)
                one = {"part_top": part, "splits": splits}
                run_kernel(call, group, f"row_max{i}", {**read, **tops, **one})
                top = part.amax(0)
                tops[f"top{i}"] = torch.where(top.isinf(), 0.0, top)
            ctx.tops.append(tops)
            read |= tops
            if splits == 1:
                run_kernel(call, group, "forward", {**read, **rows, "out": out})
                continue
            parts: dict[str, Any] = {
                "part_out": new((splits, *out.shape)),
                "part_lse": new((splits, *norm.shape)),
                "part_met": met.new_empty((splits, *met.shape)), "splits": splits,
            }  # fmt: skip
            parts["part_divisor"] = parts["part_lse"]
            run_kernel(call, group, "split_forward", {**read, **parts})
            run_kernel(call, group, "merge", {**read, **rows, **parts, "out": out})
        ctx.save_for_backward(q, k, v, out, norm, *sinks)
        ctx.learned = extras[len(sinks) :]
        return out, _softmax_alone(call, norm), met

    @staticmethod
    def backward(ctx: Any, d_out: Tensor, d_lse: Tensor, _: Tensor) -> tuple[Any, ...]:
        q, k, v, out, divisor, *sinks = ctx.saved_tensors
        call: Call = ctx.call
        d_lse = torch.where(divisor.isinf(), 0.0, _softmax_alone(call, d_lse))
        delta = (out.float() * d_out.float()).sum(-1) - d_lse
        norm = torch.where(divisor.isinf(), math.inf, divisor)
        d_out = aligned(d_out.contiguous())
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        given = {"q": q, "k": k, "v": v, "d_out": d_out, "lse": norm, "divisor": divisor}
        given["delta"] = delta
        d_sinks: list[Any] = [None] * len(sinks)
        learned: list[Any] = [None] * len(call.keys)
        for group, tops in zip(call.launch["groups"], ctx.tops, strict=True):
            at = group["group"]
            own, sink, read = call.groups[at], sinks[at], given | tops
            programs = _programs(call, own.leaves, q)
            sums = {leaf.number: _sums(call, leaf, programs, q) for leaf in own.leaves}
            read |= {f"d_leaf{i}": x for i, x in sums.items()}
            for i in reversed(range(group["row_maxes"])):
                read[f"top_share{i}"] = torch.empty_like(norm)
                for name in ("first", "last"):
                    read[f"top_{name}{i}"] = torch.empty_like(norm, dtype=torch.int32)
                run_kernel(call, group, f"row_max_gradient{i}", read)
            run_kernel(call, group, "query_gradient", {**read, "d_q": d_q})
            mine = {"d_k": torch.zeros_like(k), "d_v": torch.zeros_like(v)}
            run_kernel(call, group, "key_gradient", {**read, **mine})
            d_k += mine["d_k"]
            d_v += mine["d_v"]
            if any(x.stands_on is None for x in own.leaves):
                run_kernel(call, group, "table_gradient", {**read, "programs": programs})
            for leaf in own.leaves:
                if ctx.needs_input_grad[_place(call, leaf)]:
                    i = call.keys.index(leaf.key)
                    found = _slope(leaf, ctx.learned[i], sums[leaf.number])
                    learned[i] = found if learned[i] is None else learned[i] + found
            first, last = group["heads"]
            if sink is not None:
                heads = torch.arange(q.shape[1], device=q.device)[:, None]
                weight = torch.exp(sink - norm) * ((heads >= first) & (heads < last))
                before = 0.0 if d_sinks[at] is None else d_sinks[at]
                d_sinks[at] = before - weight * delta
        return None, d_q, d_k, d_v, *d_sinks, *learned


def _softmax_alone(call: Call, rows: Tensor) -> Tensor:
    """The rows ``[B, H, Nq]`` of heads that have an lse, 0 for others."""
    for group in call.launch["groups"]:
        if not group["softmax"]:
            rows = rows.index_fill(1, torch.arange(*group["heads"], device=rows.device), 0.0)
    return rows


def _place(call: Call, leaf: Leaf) -> int:
    """Of a learned tensor among the arguments."""
    return 4 + len(call.groups) + call.keys.index(leaf.key)


def _entries(call: Call, leaf: Leaf) -> tuple[int, ...]:
    assert isinstance(leaf.key, str)
    return tuple(call.values[f"table_{leaf.key}_size_{i}"] for i in leaf.moving)


def _programs(call: Call, leaves: Sequence[Leaf], q: Tensor) -> int:
    """How many programs of a head share the tiles when they add up by entry."""
    sizes = [math.prod(_entries(call, x)) for x in leaves if x.stands_on is None]
    return summing_programs(q.shape[0] * q.shape[1], max(sizes, default=1))


def _sums(call: Call, leaf: Leaf, programs: int, q: Tensor) -> Tensor:
    """Zeros to add a leaf's slopes in: ``[B, H, tokens]`` or ``[programs, B, H, entries]``."""
    shape: tuple[int, ...] = (*q.shape[:2], call.values.get(f"length_{leaf.stands_on}", 0))
    if leaf.stands_on is None:
        entries = math.prod(_entries(call, leaf))
        call.values[f"entries_leaf{leaf.number}"] = entries
        shape = (programs, *q.shape[:2], entries)
    return torch.zeros(shape, dtype=torch.float32, device=q.device)


def _slope(leaf: Leaf, x: Tensor, sums: Tensor) -> Tensor:
    """The gradient of a tensor, from sums over the pairs that read the same of it."""
    wide = x.detach().double().requires_grad_()
    with torch.enable_grad():
        if leaf.stands_on is None:
            sums = sums.sum(0)
            shape = [x.shape[1 + i] for i in leaf.moving]
            slots = torch.arange(sums.shape[2], device=x.device)
            found = leaf.value(wide, *torch.unravel_index(slots, shape))
        else:
            found = leaf.value(wide)
        read = found.flatten(2).expand(sums.shape)
    (grad,) = torch.autograd.grad(read, wide, sums.double())
    return grad.to(x.dtype)


def check_tokens(name: str, x: Tensor, wanted: int) -> None:
    """Raises ValueError."""
    if x.shape[2] != wanted:
        raise ValueError(f"{name} must have {wanted} tokens, as compiled for, not {x.shape[2]}")


def check_whole(q_offset: int) -> None:
    """Raises ValueError."""
    if q_offset:
        raise ValueError("this pattern needs all tokens at once, not q_offset")

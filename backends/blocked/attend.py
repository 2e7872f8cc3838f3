"""Block-sparse attention in batched torch operations: any device, any dtype, trainable.

Executes a plan: tokens are brought into tiles, each batch of like query tiles attends its key
tiles at once, and outputs are put back in sequence order. Empty tiles are never touched.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.blocked.edit import column, edit, fill_empty, scale_of, select
from attnlang.backends.blocked.fused import Batches, flash, fused, key_rows
from attnlang.backends.blocked.places import Places
from attnlang.backends.blocked.program import (
    HeadProgram,
    Program,
    Programs,
    SideIndex,
    Step,
    programs_for,
)
from attnlang.backends.blocked.schedule import View
from attnlang.backends.blocked.set_attention import attend_set
from attnlang.backends.blocked.sets import set_read
from attnlang.backends.blocked.stretch import attend_stretches, stretched_for
from attnlang.backends.blocked.union import apart
from attnlang.backends.branches import by_branches, merged
from attnlang.backends.call import Call, Inputs, accumulation_dtype
from attnlang.compiler.analysis.leaves import Known, in_range
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import EmptyRule, Normaliser
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import walk
from attnlang.compiler.problem.problem import BoundAttend, Problem, grid_of
from attnlang.compiler.syntax.limits import MAX_INTEGER

NAME = "blocked"


def attend(call: Call) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output ``[B, Hq, Nq, Dv]`` and lse ``[B, Hq, Nq]`` (None when not asked for)."""
    read = set_read(call)
    if read is not None:
        return attend_set(call, read)
    halves = apart(call)
    if halves is not None:
        others, chosen, read = halves
        return merged(call, [attend(others), attend_set(chosen, read)])
    call = call.dense()
    branched = by_branches(call, attend)
    if branched is not None:
        return branched
    if not reads_runtime(call):
        return _element(call, None)
    batch = call.q.shape[0] if call.inputs.batch > 1 else 1
    parts = []
    for b in range(batch):
        one = call if batch == 1 else element(call, b)
        parts.append(_element(one, known_of(one.inputs, call.problem)))
    out = torch.cat([o for o, _ in parts])
    return out, torch.cat([x for _, x in parts if x is not None]) if call.need_lse else None


def _element(call: Call, known: Known | None) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A call whose tensors that decide which pairs attend are known, and alike in its batch."""
    if flash(call.q, call.v) and all(_plain(call, g.attend) for g in call.problem.groups):
        found = stretched_for(call.problem, known)
        if found is not None:
            heads, outs, lses = attend_stretches(call, found)
            return _by_head(outs, heads), _by_head(lses, heads) if call.need_lse else None
    return _run(call, programs_for(call.problem, known, call.q.device))


def reads_runtime(call: Call) -> bool:
    """Does which pairs attend depend on run-time tensors?"""
    names = {i.name for i in call.problem.pattern.inputs}
    return any(
        isinstance(x, e.TokenInput | e.Table) and x.name in names
        for group in call.problem.groups
        for x in walk(group.attend.where)
    )


def element(call: Call, b: int) -> Call:
    """One batch element of a call."""

    def pick(x: torch.Tensor) -> torch.Tensor:
        return x[b : b + 1] if x.shape[0] > 1 else x

    inputs = Inputs(
        {key: pick(x) for key, x in call.inputs.tokens.items()},
        {name: pick(x) for name, x in call.inputs.tables.items()},
        {name: replace(x, index=pick(x.index)) for name, x in call.inputs.lists.items()},
    )
    return Call(
        call.problem, pick(call.q), pick(call.k), pick(call.v), inputs, call.scale, call.need_lse
    )


def known_of(inputs: Inputs, problem: Problem) -> Known:
    """The tensors that decide which pairs attend, as arrays (copied to the host). Absent ones
    read 0."""
    tokens: dict[tuple[str, Side], np.ndarray] = {}
    tables: dict[str, np.ndarray] = {}
    declared = {i.name: i for i in problem.pattern.inputs}
    for x in (x for group in problem.groups for x in walk(group.attend.where)):
        match x:
            case e.TokenInput(name=name, side=side):
                given = inputs.tokens.get((name, side))
                grid = grid_of(problem.extents(side))
                tokens[name, side] = (
                    np.zeros(grid.size, _DTYPES[x.kind])
                    if given is None
                    else _array(given[0, 0], name)
                )
            case e.Table(name=name) if name in declared:
                table = inputs.tables.get(name)
                tables[name] = (
                    np.zeros((1,) * len(x.indices), _DTYPES[x.kind])
                    if table is None
                    else _array(table[0], name)
                )
            case _:
                pass
    ordered = set()
    for name in (n for n, i in declared.items() if i.sorted):
        mine = [v for (n, _), v in tokens.items() if n == name]
        if all(bool((np.diff(v) >= 0).all()) for v in mine):
            ordered.add(name)
    return Known(tokens, tables, frozenset(ordered))


_DTYPES = {Kind.BOOL: np.bool_, Kind.INT: np.int64, Kind.FLOAT: np.float64}


def _array(x: torch.Tensor, name: str) -> np.ndarray:
    """On the host, floats as doubles: so `where` is evaluated, whatever they come in."""
    array: np.ndarray = (x.double() if x.is_floating_point() else x).detach().cpu().numpy()
    if array.dtype.kind == "i" and array.size and not in_range(array):
        raise ArgumentError(f"input `{name}` must hold values of at most {MAX_INTEGER}")
    return array


def _run(call: Call, programs: Programs) -> tuple[torch.Tensor, torch.Tensor | None]:
    outs: list[torch.Tensor] = []
    lses: list[torch.Tensor | None] = []
    for program in programs:
        q = _tiles(call.q, program.q)
        k, v = _tiles(call.k, program.k), _tiles(call.v, program.k)
        for heads in program.heads:
            out, lse = _heads(call, program, heads, q, k, v)
            outs.append(out)
            lses.append(lse)
    order = [h for program in programs for p in program.heads for h in p.heads]
    out = _by_head(outs, order)
    lse = _by_head([x for x in lses if x is not None], order) if call.need_lse else None
    return out, lse


def _by_head(parts: list[torch.Tensor], order: list[int]) -> torch.Tensor:
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
    if order == sorted(order):
        return whole
    return whole[:, torch.tensor(np.argsort(order), device=whole.device)]


def _tiles(x: torch.Tensor, side: SideIndex) -> torch.Tensor:
    """``[B, H, tokens, D]`` in tile order ``[B, H, tiles * capacity, D]``."""
    if side.gather is not None:
        return x[:, :, side.gather]
    return F.pad(x, (0, 0, 0, side.pad)) if side.pad else x


def _heads(
    call: Call,
    program: Program,
    heads: HeadProgram,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Output and lse of heads that attend alike, in sequence order."""
    group = call.problem.heads // call.problem.kv_heads
    kv = [h // group for h in heads.heads]
    q = select(q, list(heads.heads)).unflatten(2, (program.q.tiles, program.q.capacity))
    lead = (call.q.shape[0], len(heads.heads))
    if _plain(call, heads.attend):
        pack = group if group > 1 and heads.heads == _whole_groups(heads.heads, group) else 1
        chosen = kv[::pack] if pack > 1 else kv
        parts = _fused(call, program, heads, q, select(k, chosen), select(v, chosen), pack)
    else:
        k, v = select(k, kv), select(v, kv)
        parts = [_edited_step(call, program, heads, step, q, k, v) for step in heads.steps]
    # Even where nothing attends, gradients exist: they are 0.
    nothing = call.q.new_zeros(())
    if not parts:
        nothing = torch.stack([x[:, :, :0].sum() for x in (call.q, call.k, call.v)]).sum()
    out = _assemble(
        [o for o, _ in parts], heads, program.q, call, lead, (call.v.shape[-1],), nothing
    )
    lse = None
    if call.need_lse:
        nothing = torch.full(
            (), -torch.inf, dtype=accumulation_dtype(call.q.dtype), device=call.q.device
        )
        lse = _assemble([x for _, x in parts], heads, program.q, call, lead, (), nothing)
    if len(heads.empty) and heads.attend.sink is not None and lse is not None:
        lse = lse.index_copy(2, heads.empty, _sinks(call, heads, lse))
    if len(heads.empty) and heads.attend.empty is not EmptyRule.ZERO:
        out, lse = fill_empty(call, heads.attend, heads.heads, heads.empty, out, lse)
    return out, lse


def _plain(call: Call, attend: BoundAttend) -> bool:
    """Is the score q.k alone, and no gradient asked of the lse?"""
    constant = attend.scale is None or value_of(attend.scale) is not None
    grads = torch.is_grad_enabled() and any(x.requires_grad for x in (call.q, call.k, call.v))
    unedited = (attend.score, attend.sink, attend.gain) == (None, None, None) and constant
    softmax = attend.normaliser is Normaliser.SOFTMAX
    return unedited and softmax and not (call.need_lse and grads)


def _fused(
    call: Call,
    program: Program,
    heads: HeadProgram,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    pack: int,
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """All batches through fused attention; query heads of one key head share its tiles."""
    if not heads.steps:
        return []
    batch = q.shape[0]
    if pack > 1:
        q = q.unflatten(1, (-1, pack)).transpose(2, 3).flatten(3, 4)
    batches = Batches(
        heads.steps, program.k.capacity, pack, scale_of(call, heads.attend), call.need_lse
    )
    out, lse = fused(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), batches)
    out, lse = out.unflatten(0, (batch, -1)), lse.unflatten(0, (batch, -1))
    if pack > 1:
        out = out.unflatten(3, (pack, -1)).transpose(2, 3).flatten(1, 2)
        lse = lse.unflatten(3, (pack, -1)).transpose(2, 3).flatten(1, 2)
    if not any(step.dead for step in heads.steps):
        return [(out, lse)]
    dead = torch.cat([_unfed(step, program.q.capacity, q.device) for step in heads.steps])
    return [(torch.where(dead[:, :, None], 0.0, out), torch.where(dead, -torch.inf, lse))]


def _unfed(step: Step, capacity: int, device: torch.device) -> torch.Tensor:
    rows = len(step.batch.rows)
    if step.unfed is None:
        return torch.zeros((rows, capacity), dtype=torch.bool, device=device)
    return step.unfed.expand(rows, -1)


def _whole_groups(heads: tuple[int, ...], group: int) -> tuple[int, ...]:
    firsts = sorted({h // group for h in heads})
    return tuple(g * group + i for g in firsts for i in range(group))


def _edited_step(
    call: Call,
    program: Program,
    heads: HeadProgram,
    step: Step,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """One batch with its scores written out: ``[B, H, rows, M, Dv]`` and ``[B, H, rows, M]``."""
    batch, size = step.batch, program.k.capacity
    if isinstance(batch, View):
        q_rows = q[:, :, batch.first : batch.first + batch.count]
    else:
        q_rows = q[:, :, step.rows]
    k_rows, v_rows = key_rows(k, step, size), key_rows(v, step, size)
    rows = torch.as_tensor(batch.rows, device=q.device)
    columns = torch.as_tensor(batch.columns, device=q.device)
    q_at, k_at = program.q_tokens[rows], program.k_tokens[columns].flatten(1)
    mask = step.mask
    if mask is not None and step.unfed is not None:
        mask = mask & ~step.unfed[:, :, None]
    return edit(call, heads.attend, heads.heads, q_rows, k_rows, v_rows, mask, q_at, k_at)


def _sinks(call: Call, heads: HeadProgram, lse: torch.Tensor) -> torch.Tensor:
    """The sinks of rows without keys ``[B, H, rows]``: all there is of their denominator."""
    at = heads.empty[None]
    places = Places(call.problem, call.inputs, heads.heads, at, at[:, :1], lse.dtype)
    sink = heads.attend.sink
    assert sink is not None
    found = column(places.value(sink), lse, lse.dtype)
    return found.expand(*lse.shape[:2], 1, at.shape[1])[:, :, 0]


def _assemble(
    parts: list[torch.Tensor],
    heads: HeadProgram,
    side: SideIndex,
    call: Call,
    lead: tuple[int, int],
    tail: tuple[int, ...],
    nothing: torch.Tensor,
) -> torch.Tensor:
    """Step results in sequence order ``[B, H, Nq, ...]``; tiles of no step hold ``nothing``."""
    if heads.order is not None or not parts:
        parts = [*parts, nothing.expand(*lead, 1, side.capacity, *tail)]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, 2)
    if heads.order is not None:
        whole = whole[:, :, heads.order]
    flat = whole.flatten(2, 3)
    return flat[:, :, side.inverse] if side.inverse is not None else flat[:, :, : call.q.shape[2]]

"""Tensors that stand alone behind a name: numbers of tokens, and features as tokens."""

from __future__ import annotations

from dataclasses import replace

from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl
from attnlang.compiler.ir.program import Assign, Attention, Branch, Turn, condition_by_head
from attnlang.compiler.ir.vector import CHANNEL, COUNTS, OF_KEYS, Map, Space, Tensor
from attnlang.compiler.sema.draft import Draft
from attnlang.compiler.sema.scope import AxisName, TokenName, ValueName
from attnlang.compiler.sema.vectors import turned
from attnlang.compiler.syntax import tree as t


def turn(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``name = channels(q)``."""
    found = turned(node, draft)
    if not draft.define(name):
        return
    if found is None:
        draft.ctx = draft.ctx.with_names(**{name.id: ValueName(None)})
        return
    value, made, space = found
    draft.spaces[name.id] = space
    draft.ctx = draft.ctx.with_names(**{CHANNEL: AxisName(CHANNEL)})
    draft.steps.append(Turn(name.id, value, made, space))


def readout(name: t.Name, node: t.Call, draft: Draft) -> None:
    """``mass = column_sum(a)``: numbers of an attention, read as ``k.mass`` from here on."""
    of = node.arguments[0] if len(node.arguments) == 1 and not node.keywords else None
    steps = {s.name: s for s in draft.steps if isinstance(s, Attention)}
    step = steps.get(of.id) if isinstance(of, t.Name) else None
    branch = step.branches[0] if step is not None and len(step.branches) == 1 else None
    good = draft.define(name)
    kind = node.function.id
    if not isinstance(branch, Branch) or len(branch.keys) != 1:
        what = f"`{node.span.text}`"
        help = f"`{kind}(a)` of a softmax attention `a = attend ...`"
        draft.ctx.error("AL310", node.span, what=what, help=help)
        return
    if not good or step is None:
        return
    space = step.space
    if kind in OF_KEYS:
        space = replace(draft.spaces[branch.keys[0]], heads=Side.Q)
    made = Map(kind, (Tensor(step.name),))
    draft.steps.append(Assign(name.id, made, space))
    draft.spaces[name.id] = space
    by_head = kind not in COUNTS or condition_by_head(branch.pattern)
    number(name, Kind.INT if kind in COUNTS else Kind.FLOAT, space, by_head, draft)


def number(name: t.Name, kind: Kind, space: Space, by_head: bool, draft: Draft) -> None:
    """Later steps read a tensor of one feature as a number of its tokens."""
    dims = ("batch", *(("head",) if by_head else ()), *space.axes)
    decl = InputDecl(name.id, kind, dims, (space.side,), False, False, span=name.span)
    draft.numbers.append(decl)
    draft.ctx = draft.ctx.with_names(**{name.id: TokenName(decl)})

"""A softmax attention of a program as Python text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from attnlang.backends.ahead.numbers import Written, table_name
from attnlang.backends.ahead.parts import Part
from attnlang.backends.ahead.scope import Scope, local
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.triton.learned import Leaf, moves
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side
from attnlang.compiler.ir.pattern import Attend, EmptyRule
from attnlang.compiler.ir.program import Branch, PairProduct
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram


@dataclass(frozen=True, slots=True)
class Branched:
    """One attention: name: of its step. problem: with the heads and features that its tensors
    have. parts: of every group of heads, its kernels; none before these are written."""

    name: str
    branch: Branch
    problem: Problem
    width: int
    value_width: int
    parts: Sequence[Part] = ()


def branched(bound: BoundProgram, shapes: Shapes) -> Iterator[Branched]:
    """Every softmax attention of a program that has heads and tokens."""
    for name, pattern, owner in bound.program.owners:
        if not isinstance(owner, Branch):
            continue
        start, stop = bound.heads_of(owner)
        query = bound.spaces[owner.query]
        keys = {k: bound.spaces[k] for k in owner.keys}
        if start >= stop or not all(bound.tokens(s) for s in (query, *keys.values())):
            continue
        kv = max(joined_heads(bound, shapes, x, start, stop) for x in (owner.keys, owner.values))
        width = shapes.tensors[owner.query].width
        problem = bound.bound(pattern, query, keys, stop - start, kv, width)
        yield Branched(
            name or pattern.name, owner, problem, width, shapes.tensors[owner.values[0]].width
        )


def joined_heads(
    bound: BoundProgram, shapes: Shapes, names: Sequence[str], start: int, stop: int
) -> int:
    """Heads of tensors that stand one behind the other, as many as some query heads read."""
    heads, every = max(shapes.tensors[n].heads for n in names), bound.frame.heads
    if stop - start == every or heads == 1:
        return heads
    share = every // heads
    if start % share or stop % share:
        return stop - start
    return stop // share - start // share


def write_attention(scope: Scope, shapes: Shapes, one: Branched) -> None:
    bound, branch, own = scope.bound, one.branch, local(one.name)
    start, stop = bound.heads_of(branch)
    query, keys = bound.spaces[branch.query], {k: bound.spaces[k] for k in branch.keys}
    every = (("q", (branch.query,)), ("k", branch.keys), ("v", branch.values))
    for tensor, names in every:
        there = joined_heads(bound, shapes, names, start, stop)
        wanted = stop - start if tensor == "q" else one.problem.kv_heads
        scope.write(f"{own}_{tensor} = {scope.joined(names, start, stop, there, wanted)}")
    for made in branch.products:
        _product(scope, one, made.name, start, stop)
    groups = []
    closed = closed_groups(one.problem.pattern)
    each = [next(p for p in one.parts if p.group is g) for g in one.problem.groups]
    for part in each:
        group, form, kernels = part.group, part.form, part.kernels
        attend = closed[group.index].attend
        name = own if len(each) == 1 else f"{own}_{group.index}"
        own_scale = form.own_scale and attend.scale is not None
        rule = attend.empty if attend.empty is not None else EmptyRule.ZERO
        ruled = rule in (EmptyRule.SELF, EmptyRule.FULL)
        read: list[Expr | None] = [attend.sink, *(x.node for x in kernels.leaves)]
        read += [attend.score, attend.scale if own_scale else None] if ruled else []
        written = scope.numbers(
            name, read, query, keys, pattern=one.problem.pattern, heads=(start, stop),
            shared=(one.problem.heads, one.problem.kv_heads),
        )  # fmt: skip
        fields = []
        if attend.sink is not None:
            scope.write(f"{name}_sink = t.row({written(attend.sink)}, {own}_q)")
            fields.append(f"sink={name}_sink")
        leaves = [_leaf(scope, one, x, written) for x in kernels.leaves]
        if leaves:
            fields.append(f"leaves=({''.join(x + ', ' for x in leaves)})")
        groups.append((f"launch.Group({', '.join(fields)})", name, group, attend, rule, written))
    given = ", ".join(_given(scope, one, start, stop))
    origin = scope.origin(query)
    scope.write()
    with scope.inside(f"def run_{own}(values: torch.Tensor) -> tuple[torch.Tensor, ...]:"):
        scope.write(f"given: dict[Any, torch.Tensor] = {{{given}}}")
        scope.write(f"groups = [{', '.join(text for text, *_ in groups)}]")
        scope.write("return launch.attend(")
        keys_of = f"t.repeated({own}_k, values.shape[1])"
        scope.write(f"    {one.name!r}, {own}_q, {keys_of}, values, given, groups, scale=scale,")
        scope.write(f"    q_offset={origin},")
        scope.write(")  # fmt: skip")
    scope.write()
    scope.write(f"{own}, {own}_lse, {own}_met = run_{own}({own}_v)")
    for _, name, group, attend, rule, written in groups:
        if rule is EmptyRule.ZERO:
            continue
        edit = "None"
        if rule is not EmptyRule.PASSTHROUGH:
            edit = _edit(scope, name, attend, written, rule, f"{own}_q")
        sink = "None" if attend.sink is None else f"{name}_sink"
        scope.write(f"{own}, {own}_lse = t.filled(")
        heads = f"({group.start}, {group.stop})"
        scope.write(f"    {own}, {own}_lse, {own}_met, {heads}, {str(rule)!r},")
        scope.write(f"    {own}_q, {own}_k, {own}_v, {edit}, {sink},")
        scope.write(")")


def _edit(
    scope: Scope, name: str, attend: Attend, written: Written, rule: EmptyRule, q: str
) -> str:
    """The function that edits scores of some rows, written out; its name."""
    score, scale = attend.score, attend.scale
    scope.write(f"def edit_{name}(s: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:")
    inner = replace(written, query="i", key="j")
    texts = []
    factor = f"({q}.shape[3] ** -0.5 if scale is None else scale)"
    if scale is not None:
        factor = str(value_of(scale)) if value_of(scale) is not None else inner(scale)
    texts.append(f"s = s * ({factor})")
    texts.append(f"return s * 0.0 + ({inner(score)})" if score is not None else "return s")
    body = "\n".join(texts)
    if "i." in body:
        scope.write(f"    i = t.at({written.query}, 2, rows)")
    if "j." in body:
        some = f"t.turned(t.at({written.key}, 3, rows))" if rule is EmptyRule.SELF else written.key
        scope.write(f"    j = {some}")
    if "allowed" in body:
        scope.write("    allowed = True")
    for text in texts:
        scope.write(f"    {text}")
    return f"edit_{name}"


def _given(scope: Scope, one: Branched, start: int, stop: int) -> Iterator[str]:
    """The tensors that kernels read, by their names."""
    bound, branch = scope.bound, one.branch
    query, keys = bound.spaces[branch.query], {k: bound.spaces[k] for k in branch.keys}
    key = next((s for s in keys.values() if s.whole), list(keys.values())[-1])
    for decl in one.problem.pattern.inputs:
        for side, space in ((Side.Q, query), (Side.K, key)):
            if side in decl.sides:
                x = f"in_{space.side}_{decl.name}"
                yield f'("{side}", "{decl.name}"): {scope.of_heads(x, start, stop, decl.name)}'
        if not decl.sides:
            scope.table(decl.name)
            yield f'"{decl.name}": {table_name(decl.name)}'


def _leaf(scope: Scope, one: Branched, leaf: Leaf, written: Written) -> str:
    """A learned tensor's entries that a score reads, as `launch.Leaf`."""
    node, stands = leaf.node, leaf.stands_on
    if isinstance(node, e.TokenInput):
        branch = one.branch
        query, keys = (
            scope.bound.spaces[branch.query],
            {k: scope.bound.spaces[k] for k in branch.keys},
        )
        side, space, around, before = next(x for x in scope.sides(query, keys) if x[0] is node.side)
        segments, origin = scope.segments(space, around, before), scope.origin(space)
        dim = 2 if side is Side.Q else 3
        value = f"lambda x: t.tokens({dim}, {segments}, device, {origin}, x=x).x"
        return f'launch.Leaf({leaf.number}, ("{side}", "{node.name}"), {value}, "{stands}")'
    moving = tuple(
        i for i, x in enumerate(node.indices) if stands is None and any(moves(x, s) for s in Side)
    )
    places = iter(f"a{i}" for i in range(len(moving)))
    indices = [next(places) if i in moving else written(x) for i, x in enumerate(node.indices)]
    own = table_name(node.name)
    arguments = ", ".join([own, *(f"a{i}" for i in range(len(moving)))])
    value = f"lambda {arguments}: t.read({', '.join([own, *indices])})"
    where = f'"{stands}"' if stands is not None else f"None, {moving}"
    return f'launch.Leaf({leaf.number}, "{node.name}", {value}, {where})'


def _product(scope: Scope, one: Branched, name: str, start: int, stop: int) -> None:
    made = next(p for p in one.branch.products if p.name == name)
    own = local(one.name)
    table = table_name(made.table)
    if made.by_head and stop - start != scope.bound.frame.heads:
        table = f"{table}[:, {start}:{stop}]"
    if isinstance(made, PairProduct):
        heads = one.problem.heads
        scope.write(
            f"{table_name(name)} = t.pair_products({made.op!r}, {made.function!r}, {own}_q, "
            f"t.repeated({own}_k, {heads}), {table}, {made.by_head})"
        )
        return
    x = f"{own}_{made.side}"
    scope.write(f"{table_name(name)} = t.table_products({x}, {table}, {made.by_head})")

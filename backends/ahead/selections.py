"""Selections of a program, and what is counted of them, as Python text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

from attnlang.backends.ahead.numbers import table_name
from attnlang.backends.ahead.scope import Scope, local
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.program.choose import chosen_spaces, set_heads
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Gather,
    Normalise,
    Search,
    Select,
    SizeOf,
    Ties,
    condition_by_head,
)
from attnlang.compiler.ir.values import closed_groups
from attnlang.compiler.ir.vector import ONE, Scalar, Space, Tensor, Vector
from attnlang.compiler.problem.problem import grid_of

KNOWN = frozenset(
    (
        "name", "query", "key", "pattern", "dims", "rule", "force", "share", "normalise", "gather",
        "ties", "search", "rows", "span",
    )
)  # fmt: skip
"""What of a selection is written out."""


def write_selection(scope: Scope, shapes: Shapes, step: Select) -> None:
    """A set as a table of truth values, made without a gradient."""
    bound = scope.bound
    for x in fields(step):
        if x.name not in KNOWN and getattr(step, x.name) != x.default:
            raise Unsupported(f"`{x.name}` of a selection in a directory", "triton", "attnlang")
    query, key = bound.spaces[step.query], bound.spaces[step.key]
    rows, runs = chosen_spaces(step, query, key)
    heads, name = shapes.tensors[step.query].heads, step.name
    with scope.inside("with torch.no_grad():"):
        _scores(scope, shapes, step, query, key)
        if step.gather is not None:
            belongs = _belonging(scope, f"{name}_keys", step.gather, runs, key)
            scope.write(
                f"scores, allowed = t.gathered(scores, allowed, {', '.join(belongs)}, "
                f'"{step.gather.rule}")'
            )
        if step.rows is not None:
            belongs = _belonging(scope, f"{name}_rows", step.rows, query, rows)
            turned = ", ".join(f"{x}.T" for x in belongs)
            scope.write(
                f'scores, allowed = t.gathered(scores.mT, allowed.mT, {turned}, "{step.rows.rule}")'
            )
            scope.write("scores, allowed = scores.mT, allowed.mT")
        forced = "None"
        if step.force is not None:
            always = _pairs(scope, f"{name}_force", step.force, rows, runs, heads)
            sets = set_heads(step, heads, bound.frame.kv_heads)
            forced = f"t.by_set({always}, {sets}).any(2)"
        options = [f"by_head={step.by_head}", f"per={step.rule.per}"]
        if isinstance(step.rule.amount, SizeOf):
            amount = table_name(step.rule.amount.name)
            amount += f".unsqueeze({1 + step.dims.index(ONE)})" if ONE in step.dims else ""
            options += ["largest=True"] * step.rule.amount.largest
        else:
            written = scope.numbers(name, [])
            amount = f"float({written(scope.closed(step.rule.amount))})"
        options += ["minmax=True"] * (step.normalise is Normalise.MINMAX)
        options += [f'search="{step.search}"'] * (step.search is not Search.ALL)
        options += ["ties=True"] * (step.ties is Ties.ALL)
        lengths = "".join(f"{scope.length(s.side, a)}, " for s in (rows, runs) for a in s.axes)
        scope.write(f"{table_name(name)} = t.chosen(")
        scope.write(f'    scores, allowed, {forced}, "{step.rule.kind}", {amount}, ({lengths}),')
        scope.write(f"    {', '.join(options)},")
        squeezed = f".squeeze({1 + step.dims.index(ONE)})" if ONE in step.dims else ""
        scope.write(f"){squeezed}")


def _scores(scope: Scope, shapes: Shapes, step: Select, query: Space, key: Space) -> None:
    """The function that scores candidates of some heads, and its call."""
    name = step.name
    attend = closed_groups(step.pattern)[0].attend
    q, k = local(step.query), local(step.key)
    heads, kv_heads = shapes.tensors[step.query].heads, shapes.tensors[step.key].heads
    read = [attend.where, attend.score, attend.scale]
    with scope.inside(f"def scored_{name}(some: torch.Tensor) -> Any:"):
        written = scope.numbers(
            name, read, query, {"keys": key}, pattern=step.pattern, heads=(0, heads),
            shared=(heads, kv_heads), some="some",
        )  # fmt: skip
        factor = f"({q}.shape[3] ** -0.5 if scale is None else scale)"
        factor = factor if attend.scale is None else f"({written(attend.scale)})"
        scope.write(f"s = t.head_products({q}, {k}, some) * {factor}")
        scope.write(f"allowed = {written(attend.where)}")
        score = "s" if attend.score is None else written(attend.score)
        scope.write(f"return t.scored({score}, allowed, s)")
    sets = set_heads(step, heads, scope.bound.frame.kv_heads)
    scope.write("scores, allowed = t.set_scores(")
    scope.write(f'    scored_{name}, {heads}, {sets}, "{step.normalise}", "{step.share}", device')
    scope.write(")")
    cut = _cut(scope, query, key)
    if cut:
        scope.write(f"scores, allowed = scores{cut}, allowed{cut}")


def _cut(scope: Scope, query: Space, key: Space) -> str:
    """Without the tokens of prefixes and suffixes."""
    cuts = []
    for space in (query, key):
        extents = scope.bound.extents(space)
        grid = grid_of(extents)
        cuts.append(":" if len(extents) == 1 else f"{grid.start} : {grid.stop}")
    return "" if cuts == [":", ":"] else f"[:, :, {', '.join(cuts)}]"


def _pairs(
    scope: Scope, name: str, pattern: PatternIR, query: Space, key: Space, heads: int
) -> str:  # fmt: skip
    """Where a condition holds, written out; the local name."""
    where = closed_groups(pattern)[0].attend.where
    keys: Mapping[str, Space] = {"keys": key}
    written = scope.numbers(
        name, [where], query, keys, pattern=pattern, heads=(0, heads), shared=(heads, heads)
    )
    tokens = f"{scope.tokens(query)}, {scope.tokens(key)}"
    cut = _cut(scope, query, key)
    scope.write(f"{name}_pairs = t.mask({written(where)}, {heads}, {tokens}, device){cut}")
    return f"{name}_pairs"


def _belonging(
    scope: Scope, name: str, gather: Gather, query: Space, key: Space
) -> tuple[str, str]:
    """Which keys belong to which queries, and with what weight."""
    pairs = _pairs(scope, name, gather.pattern, query, key, 1)
    score = closed_groups(gather.pattern)[0].attend.score
    read = [] if score is None else [score]
    keys: Mapping[str, Space] = {"keys": key}
    written = scope.numbers(
        f"{name}_weight", read, query, keys, pattern=gather.pattern, heads=(0, 1), shared=(1, 1)
    )
    weight = "1.0" if score is None else written(score)
    tokens = f"{scope.tokens(query)}, {scope.tokens(key)}"
    cut = _cut(scope, query, key)
    scope.write(f"{name}_weight = t.mask({weight}, 1, {tokens}, device){cut}")
    return f"{pairs}[0, 0]", f"{name}_weight[0, 0]"


def write_count(
    scope: Scope, step: Assign, arguments: Sequence[Vector], *, of_keys: bool
) -> None:  # fmt: skip
    """How many keys each query has in a set or attends, or how many queries attend each key."""
    assert isinstance(arguments[0], Tensor)
    name, own, bound = arguments[0].name, local(step.name), scope.bound
    made = next(s for s in bound.program.steps if s.name == name)
    if isinstance(made, Select):
        weight = "None"
        for x in arguments[1:]:
            assert isinstance(x, Scalar)
            axes = made.dims[made.by_head + len(bound.spaces[made.query].axes) :]
            runs = Space(axes, bound.spaces[made.key].side)
            closed = scope.closed(x.value)
            written = scope.numbers(step.name, [closed], None, {"runs": runs}, heads=(0, 1))
            weight = f"t.four({written(closed)}, device)"
        by_head = step.space.heads is Side.Q
        scope.write(
            f"{own} = t.counted({table_name(name)}, {len(step.space.axes)}, by_head={by_head}, "
            f"heads={bound.frame.heads}, weight={weight})"
        )
        return
    assert isinstance(made, Attention)
    (branch,) = made.branches
    if not isinstance(branch, Branch) or len(branch.pattern.groups) > 1:
        raise Unsupported(f"counting `{name}` in a directory", "triton", "attnlang")
    heads = bound.frame.heads if condition_by_head(branch.pattern) else 1
    query, (key,) = bound.spaces[branch.query], (bound.spaces[k] for k in branch.keys)
    where = closed_groups(branch.pattern)[0].attend.where
    written = scope.numbers(
        step.name, [where], query, {branch.keys[0]: key}, pattern=branch.pattern,
        heads=(0, heads), shared=(heads, heads),
    )  # fmt: skip
    tokens = f"{scope.tokens(query)}, {scope.tokens(key)}"
    scope.write(f"{own} = t.mask({written(where)}, {heads}, {tokens}, device)")
    scope.write(f"{own} = {own}.sum({-2 if of_keys else -1}).expand(q.shape[0], -1, -1)[..., None]")

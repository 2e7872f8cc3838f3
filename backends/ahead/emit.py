"""`attention.py` of a directory: a pattern's steps in order, as Python text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from attnlang.backends.ahead.attentions import Branched, write_attention
from attnlang.backends.ahead.linears import write_linear
from attnlang.backends.ahead.numbers import safe, table_name
from attnlang.backends.ahead.pools import write_pool
from attnlang.backends.ahead.scope import LONE, Scope, local
from attnlang.backends.ahead.selections import write_count, write_selection
from attnlang.backends.ahead.shapes import Shapes
from attnlang.backends.ahead.vectors import Vectors
from attnlang.compiler.diagnostics.model import Unsupported
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import InputDecl, Normaliser
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Branch,
    Part,
    Pool,
    Program,
    Recurrence,
    Select,
    Turn,
    recurrences,
)
from attnlang.compiler.ir.text import input_type, to_text
from attnlang.compiler.ir.vector import COUNTS, OF_KEYS, Map, Scalar, Tensor, is_number, own_spaces
from attnlang.compiler.plan.branches import branches
from attnlang.compiler.problem.problem import Problem, grid_of
from attnlang.compiler.problem.program import BoundProgram

LOADER = '''

def _launcher() -> ModuleType:
    """The file beside this one that loads the others."""
    path = Path(__file__).with_name("launch.py")
    name = f"{path.parent.name}_launch_{abs(hash(str(path)))}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


launch = _launcher()
'''


def as_program(problem: Problem) -> BoundProgram:
    """One attention as a program of one step, which has the pattern's name, or of one for each of
    its branches."""
    pattern = problem.pattern
    spaces = own_spaces(pattern.q_axes, pattern.k_axes)
    patterns = [one.pattern for one in branches(problem) or (problem,)]
    steps = tuple(
        Attention(x.name, (Branch("q", ("k",), ("v",), x),), spaces["q"]) for x in patterns
    )
    parts = tuple(Tensor(x.name) for x in patterns)
    program = Program((), steps, parts[0] if len(parts) == 1 else Map("merge", parts))
    frame = replace(problem, pattern=replace(pattern, program=program))
    counts: dict[e.Expr, int] = {
        e.Symbol(e.SymbolName.HEADS): problem.heads,
        e.Symbol(e.SymbolName.KV_HEADS): problem.kv_heads,
        e.Symbol(e.SymbolName.HEAD_DIM): problem.head_dim,
    }
    for side in Side:
        for x in problem.extents(side):
            pairs = zip(x.axes, x.lengths, strict=True)
            counts.update({e.Length(side, a): n for a, n in pairs})
    spaces |= {x.name: spaces["q"] for x in patterns}
    return BoundProgram(frame, counts, {}, spaces)


def attention_text(
    bound: BoundProgram, shapes: Shapes, branches: Mapping[str, Branched], head: Sequence[str],
    steps: Sequence[str],
) -> str:  # fmt: skip
    """The module. branches: softmax attentions by the names of their steps. head: lines of its
    docstring. steps: of linear attention, that have states."""
    scope = Scope(bound)
    _prelude(scope)
    for step in bound.program.steps:
        scope.write()
        match step:
            case Pool():
                write_pool(scope, shapes, step)
            case Assign(value=Map(function="column_sum", arguments=(Tensor(name=name),))):
                like = f"t.repeated({local(name)}_k, {bound.frame.heads})"
                scope.write(f"{local(step.name)} = t.column_sum(run_{local(name)}, {like})")
            case Assign(
                value=Map(function="row_sum", arguments=(Tensor(name=name), Scalar(value=told)))
            ):
                branch = next(b.branch for b in branches.values() if b.name == name)
                (key,) = branch.keys
                closed = scope.closed(told)
                written = scope.numbers(step.name, [closed], bound.spaces[key])
                one = f"t.told({written(closed)}, {local(name)}_k, {bound.frame.heads})"
                scope.write(f"{local(step.name)} = run_{local(name)}({one})[0]")
            case Assign(value=Map(function=kind, arguments=arguments)) if kind in COUNTS:
                write_count(scope, step, arguments, of_keys=kind in OF_KEYS)
            case Assign(value=Map(function="rank", arguments=(Scalar(value=value),))):
                closed = scope.closed(value)
                own = (0, shapes.of(step.value, step.space).heads)
                written = scope.numbers(step.name, [closed], step.space, heads=own)
                scope.write(f"{local(step.name)} = t.ranks({written(closed)}, slice(None))")
            case Assign():
                vectors = Vectors(scope, shapes, step.space, step.name)
                made, lse = vectors.text(step.value)
                kept = "" if is_number(step.value) else ".to(dtype)"
                scope.write(f"{local(step.name)} = ({made}){kept}")
                if lse is not None and lse.endswith("merged_lse"):
                    scope.write(f"{local(step.name)}_lse = {lse}")
            case Turn():
                made, _ = Vectors(scope, shapes, step.made, step.name).text(step.value)
                scope.write(f"{local(step.name)} = {made}.mT.to(dtype)")
            case Attention():
                _attention(scope, shapes, step, branches)
            case Select():
                write_selection(scope, shapes, step)
            case _:
                assert_never(step)
        if isinstance(step, Assign) and is_number(step.value):
            _number(scope, step)
    scope.write()
    space = bound.spaces["q"]
    made, lse = Vectors(scope, shapes, space, "result").text(bound.program.result)
    lse = lse if _has_lse(bound) else None
    if steps:
        scope.write("if return_state:")
        scope.write(f"    return ({made}).to(dtype), left")
    scope.write(f"return ({made}).to(dtype), {lse}")
    return "\n".join([*_header(scope, head, steps), *scope.lines]) + "\n"


def _has_lse(bound: BoundProgram) -> bool:
    """Is the result one softmax?"""
    result = bound.program.result
    if isinstance(result, Map):
        return result.function == "merge"
    if not isinstance(result, Tensor):
        return False
    step = next((s for s in bound.program.steps if s.name == result.name), None)
    if isinstance(step, Assign):
        return isinstance(step.value, Map) and step.value.function == "merge"
    return isinstance(step, Attention) and all(
        isinstance(b, Branch)
        and all(g.attend.normaliser is Normaliser.SOFTMAX for g in b.pattern.groups)
        for b in step.branches
    )


def _attention(
    scope: Scope, shapes: Shapes, step: Attention, branches: Mapping[str, Branched]
) -> None:
    names, logs = [], []
    for branch in step.branches:
        start, stop = scope.bound.heads_of(branch)
        if start >= stop:
            continue
        name = branch.pattern.name.partition(".")[2] or branch.pattern.name
        if isinstance(branch, Recurrence):
            write_linear(scope, shapes, branch, name)
        elif name in branches:
            write_attention(scope, shapes, branches[name])
            logs.append(f"{local(name)}_lse")
        else:
            feature = f"`{name}`, which has no tokens or heads here, in a directory"
            raise Unsupported(feature, "triton", "attnlang")
        names.append(local(name))
    own = local(step.name)
    if names != [own]:
        scope.write(f"{own} = torch.cat([{', '.join(names)}], 1)")
        if len(logs) == len(names):
            scope.write(f"{own}_lse = torch.cat([{', '.join(logs)}], 1)")


def _number(scope: Scope, step: Assign) -> None:
    """A tensor of one feature, as later steps read it."""
    space, name = step.space, local(step.name)
    grid = grid_of(scope.bound.extents(space))
    cut = f"[..., {grid.start}:{grid.start} + {scope.grid(space)}]"
    cut = cut if len(scope.bound.extents(space)) > 1 else ""
    heads = scope.bound.frame.heads
    own = f"in_{space.side}_{step.name}"
    scope.write(f"{own} = t.number({name}, {heads}){cut}")
    kept = "" if space.heads is Side.Q else "[:, 0]"
    lengths = scope.lengths(space)
    scope.write(f"{table_name(step.name)} = {own}.unflatten(2, {lengths}){kept}")
    scope.made[step.name] = space


def _header(scope: Scope, head: Sequence[str], steps: Sequence[str]) -> Iterable[str]:
    yield '"""' + head[0]
    yield from head[1:]
    yield '"""'
    yield ""
    yield "from __future__ import annotations"
    yield ""
    yield from ("import importlib.util", "import sys", "from pathlib import Path")
    yield from ("from types import ModuleType", "from typing import Any", "", "import torch")
    yield LOADER + 't = launch.module("tensors.py")'
    if steps:
        yield 'linear = launch.module("linear.py")'
    yield ""
    yield ""
    given = {name for name, _ in scope.bound.program.given}
    declared = sorted(scope.pattern.inputs, key=lambda i: i.optional)
    yield "def attend("
    yield "    q: torch.Tensor,"
    yield "    k: torch.Tensor,"
    yield "    v: torch.Tensor,"
    yield "    *,"
    yield "    scale: float | None = None,"
    yield "    q_offset: int = 0,"
    if steps:
        yield "    state: dict[str, Any] | None = None,"
        yield "    return_state: bool = False,"
    for decl in declared:
        yield f"    {safe(decl.name)}: Any{' = None' if decl.optional else ''},"
    yield ") -> tuple[torch.Tensor, Any]:"
    frame = scope.bound.frame
    yield '    """Output ``[B, Hq, Nq, Dv]`` in the dtype of q, and the log-sum-exp ``[B, Hq, Nq]``'
    yield "    where the result is one softmax, else None. Gradients of q, k, v and float inputs."
    yield ""
    keys = f"k and v ``[B, {frame.kv_heads}, Nk, ...]``"
    yield f"    q ``[B, {frame.heads}, Nq, {frame.head_dim}]``, {keys}."
    yield "    scale: factor of scores, default ``D ** -0.5``, unless the pattern has its own."
    yield "    q_offset: coordinate of the first query."
    if steps:
        kept = ", ".join(steps)
        yield f"    state: what to go on from, by step ({kept}); with return_state what is left"
        yield "    then comes in the place of the lse."
    for decl in declared:
        both = "; a pair where queries' and keys' differ" if len(decl.sides) > 1 else ""
        kind = "vectors" if decl.name in given else "optional" if decl.optional else ""
        yield f"    {decl.name}: {input_type(decl)}{f', {kind}' if kind else ''}{both}."
    yield ""
    yield "    Raises ValueError for what the kernels were not made for."
    yield '    """'


def _prelude(scope: Scope) -> None:
    """Lengths and inputs."""
    bound, frame, pattern = scope.bound, scope.bound.frame, scope.pattern
    scope.write("device, dtype = q.device, q.dtype")
    for name, side in (("q", Side.Q), ("k", Side.K)):
        if scope.open:
            (axis,) = pattern.axes(side)
            scope.write(f"{scope.length(side, axis)} = {name}.shape[2]")
            continue
        grid = grid_of(frame.extents(side))
        for axis, n in zip(grid.axes, grid.lengths, strict=True):
            scope.write(f"{scope.length(side, axis)} = {n}")
        tokens = frame.q_len if side is Side.Q else frame.k_len
        scope.write(f'launch.check_tokens("{name}", {name}, {tokens})')
    steps = bound.program.steps
    if any(isinstance(s, Select | Pool) for s in steps):
        scope.write("launch.check_whole(q_offset)")
    if scope.alone and not scope.open:
        scope.write('launch.check_tokens("q", q, k.shape[2])')
    if any(True for _ in recurrences(bound.program)):
        scope.write("state, left = state or {}, {}")
    for part in bound.program.parts:
        _part(scope, part)
    selects = [s for s in steps if isinstance(s, Select)]
    for name, x in LONE.items():
        if any(name in (s.query, s.key) for s in selects):
            like = "q" if x == "one_q" else "k"
            scope.write(f"{x} = {like}.new_zeros((*{like}.shape[:2], 1, {like}.shape[3]))")
    given = dict(bound.program.given)
    for decl in pattern.inputs:
        if decl.name in given:
            axes = len(given[decl.name].axes)
            batched = "" if decl.dims[:1] == ("batch",) else "[None]"
            x = f"{safe(decl.name)}{batched}"
            scope.write(f"{local(decl.name)} = t.vectors({x}, {axes}, q.shape[0])")
            scope.write(f"{table_name(decl.name)} = {x}")
        else:
            _input(scope, decl)


def _part(scope: Scope, part: Part) -> None:
    """How many tokens a part has."""
    for side in Side:
        if (side, part.name) not in scope.bound.runs:
            continue
        written = scope.numbers(part.name, [])
        size, stride = (written(scope.closed(x)) for x in (part.size, part.stride))
        own = scope.length(side, part.name)
        if part.own:
            scope.write(f"{own} = {size}")
            continue
        of = scope.length(side, part.axis)
        if part.axis == "index":
            axes = scope.pattern.axes(side)
            of = " * ".join(scope.length(side, a) for a in axes)
        whole = f"max(({of} - {size}) // {stride} + 1, 0)"
        scope.write(f"{own} = {whole if part.whole else f'-(-({of}) // ({stride}))'}")


def _input(scope: Scope, decl: InputDecl) -> None:
    dims = tuple(d if isinstance(d, str) else to_text(d) for d in decl.dims)
    name = f'"{decl.name}", {safe(decl.name)}, {dims!r}, "{decl.kind}", q'
    if not decl.sides:
        scope.write(f"{table_name(decl.name)} = t.table({name})")
        return
    lengths = {
        side: " * ".join(scope.length(side, a) for a in scope.pattern.axes(side))
        for side in decl.sides
    }
    more = "".join(f", {side}={n}" for side, n in lengths.items())
    more += ", nonpositive=True" if decl.nonpositive else ""
    own = ", ".join(f"in_{side}_{decl.name}" for side in decl.sides)
    scope.write(f"{own}{'' if len(lengths) > 1 else ','} = t.by_token({name}{more})")

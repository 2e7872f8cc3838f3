"""The content hash of a checked pattern: equal for patterns that compile to the same IR.

Sub-expressions are numbered in the order in which they are completed, each written once with
the numbers of its operands. So shared parts cost nothing, and the text is the same in every
process. Left out is what only people read: the pattern's name, docstrings, the paper, messages
of requirements, and where things stand in the source. Lets and functions are gone by then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import assert_never

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr
from attnlang.compiler.ir.pattern import (
    HeadGroup,
    InputDecl,
    Normaliser,
    ParameterValue,
    PatternIR,
    Segment,
)
from attnlang.compiler.ir.program import (
    Assign,
    Attention,
    Gradient,
    Pool,
    Program,
    Recurrence,
    Select,
    SizeOf,
    Turn,
)
from attnlang.compiler.ir.traverse import children
from attnlang.compiler.ir.vector import (
    Choose,
    Combine,
    Map,
    Project,
    Scalar,
    Slice,
    Space,
    Tensor,
    Vector,
)

FORMAT = "attnlang.ir/1"


def content_hash(ir: PatternIR) -> str:
    """SHA-256 of :func:`canonical_text`, as 64 hexadecimal digits."""
    return hashlib.sha256(canonical_text(ir).encode()).hexdigest()


def canonical_text(ir: PatternIR) -> str:
    """Lines that say everything about a pattern that can change what it computes."""
    numbers = _Numbers()
    declarations = [
        f"{FORMAT}",
        *(f"parameter {p.name} {p.type_name}" for p in ir.parameters),
        *(f"value {name} {_value(value)}" for name, value in ir.values),
        f"axes q {' '.join(ir.q_axes)}",
        f"axes k {' '.join(ir.k_axes)}",
        *(_segment(s, numbers) for s in ir.segments),
        *(_input(i, numbers) for i in ir.inputs),
        *(f"require {numbers.of(r.condition)}" for r in ir.requirements),
        *(_group(g, numbers) for g in ir.groups),
        *(() if ir.program is None else _program(ir.program, numbers)),
    ]
    return "\n".join([*declarations, *numbers.lines, ""])


class _Numbers:
    """Distinct sub-expressions, numbered."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._by_text: dict[str, int] = {}
        self._by_id: dict[int, int] = {}
        # Nodes are kept alive, so that no other node gets the id of one that is gone.
        self._kept: list[Expr] = []

    def of(self, x: Expr | None) -> str:
        """``%n`` for an expression, ``-`` for one that is not there."""
        return "-" if x is None else f"%{self._number(x)}"

    def _number(self, x: Expr) -> int:
        known = self._by_id.get(id(x))
        if known is not None:
            return known
        operands = "".join(f" %{self._number(c)}" for c in children(x))
        text = _head(x) + operands
        number = self._by_text.setdefault(text, len(self._by_text))
        if number == len(self.lines):
            self.lines.append(f"%{number} {text}")
        self._by_id[id(x)] = number
        self._kept.append(x)
        return number


def _head(x: Expr) -> str:
    """What a node says besides its operands."""
    match x:
        case e.Int():
            return f"int {x.value}"
        case e.Float():
            return f"float {x.value.hex()}"
        case e.Bool():
            return f"bool {x.value}"
        case e.Param():
            return f"param {x.name} {x.kind} {x.axis or '-'}"
        case e.Length():
            return f"length {x.side} {x.axis}"
        case e.Coord():
            return f"coord {x.side} {x.axis}"
        case e.Index():
            return f"index {x.side}"
        case e.Symbol():
            return f"symbol {x.name}"
        case e.TokenInput():
            return f"token {x.side} {x.name} {x.kind}"
        case e.Table():
            return f"table {x.name} {x.kind}"
        case e.InSegment():
            return f"in {x.side} {x.segment}"
        case e.Arith() | e.Compare():
            return x.op
        case e.Neg() | e.Not() | e.And() | e.Or() | e.Select():
            return type(x).__name__.lower()
        case e.Apply():
            return f"call {x.function}"
        case _:
            assert_never(x)


def _value(value: ParameterValue) -> str:
    match value:
        case tuple():
            return " ".join(_value(v) for v in value)
        case bool() | str() | int():
            return f"{type(value).__name__}:{value}"
        case float():
            return f"float:{value.hex()}"
        case _:
            assert_never(value)


def _segment(s: Segment, numbers: _Numbers) -> str:
    return f"segment {s.place} {s.name} {numbers.of(s.size)} {' '.join(s.sides)}"


def _input(i: InputDecl, numbers: _Numbers) -> str:
    dims = " ".join(d if isinstance(d, str) else numbers.of(d) for d in i.dims)
    said = (("sorted", i.sorted), ("optional", i.optional), ("nonpositive", i.nonpositive))
    flags = " ".join(word for word, holds in said if holds)
    return f"input {i.name} {i.kind} [{dims}] {flags}".rstrip()


def _group(g: HeadGroup, numbers: _Numbers) -> str:
    a = g.attend
    heads = f"heads {numbers.of(g.start)} {numbers.of(g.stop)}"
    clauses = " ".join(numbers.of(x) for x in (a.where, a.score, a.scale, a.sink))
    gain = "" if a.gain is None else f" gain {numbers.of(a.gain)}"
    norm = "" if a.normaliser is Normaliser.SOFTMAX else f" {a.normaliser}"
    return f"{heads} attend {clauses} {a.empty or '-'}{norm}{gain}"


def _program(program: Program, numbers: _Numbers) -> Iterator[str]:
    """The steps; the attention of each by the hash of its pattern."""
    for name, space in program.given:
        yield f"given {name} {_space(space)}"
    for part in program.parts:
        cut = f"{numbers.of(part.size)} {numbers.of(part.stride)}"
        yield f"part {part.name} {part.axis} {cut} {part.whole}"
    for name, space in program.given:
        yield f"tensor {name} {_space(space)}"
    for step in program.steps:
        match step:
            case Pool():
                how = f"{step.reduction} {step.chosen or step.divide}"
                members = "" if step.where is None else f" {content_hash(step.where)}"
                yield f"pool {step.name} {step.source} {_space(step.space)} {how}{members}"
            case Assign():
                yield f"assign {step.name} {_space(step.space)} {_vector(step.value, numbers)}"
            case Turn():
                made = f"{_space(step.made)} {_space(step.space)}"
                yield f"turn {step.name} {made} {_vector(step.value, numbers)}"
            case Attention():
                for b in step.branches:
                    if isinstance(b, Recurrence):
                        yield _recurrence(step.name, b, numbers)
                        continue
                    heads = f"{numbers.of(b.start)} {numbers.of(b.stop)}"
                    tensors = f"{b.query} {','.join(b.keys)} {','.join(b.values)}"
                    yield f"attention {step.name} {heads} {tensors} {content_hash(b.pattern)}"
            case Select():
                per = ",".join(map(str, step.rule.per))
                amount = step.rule.amount
                size = repr(amount) if isinstance(amount, SizeOf) else numbers.of(amount)
                rule = f"{step.rule.kind} {size} {per} {step.ties} {step.search}"
                if step.gradient is not Gradient.STOP:
                    rule += f" {step.weigh} {step.gradient}"
                forced = "-" if step.force is None else content_hash(step.force)
                words = f"{step.share} {step.normalise} {forced}"
                runs = " ".join(
                    "-" if g is None else f"{g.rule} {content_hash(g.pattern)}"
                    for g in (step.gather, step.rows)
                )
                tensors = f"{step.query} {step.key} {','.join(step.dims)}"
                scored = content_hash(step.pattern)
                yield f"select {step.name} {tensors} {rule} {words} {runs} {scored}"
            case _:
                assert_never(step)
    yield f"return {_vector(program.result, numbers)}"


def _recurrence(name: str, b: Recurrence, numbers: _Numbers) -> str:
    clauses = " ".join(numbers.of(x) for x in (b.start, b.stop, b.decay, b.delta, b.logit))
    tensors = f"{b.query} {b.key} {b.value} {b.causal} {b.segments or '-'}"
    return f"linear {name} {tensors} {clauses} {content_hash(b.pattern)}"


def _space(space: Space) -> str:
    turned = "" if space.turned is None else f":({_space(space.turned)})"
    return f"{space.side}:{','.join(space.axes)}:{space.whole}:{space.heads}{turned}"


def _vector(root: Vector, numbers: _Numbers) -> str:
    match root:
        case Tensor(name=name):
            return name
        case Scalar(value=value):
            return numbers.of(value)
        case Combine(op=op, left=left, right=right):
            return f"({_vector(left, numbers)} {op} {_vector(right, numbers)})"
        case Choose(condition=condition, then=then, otherwise=otherwise):
            parts = f"{_vector(then, numbers)} {_vector(otherwise, numbers)}"
            return f"(if {numbers.of(condition)} {parts})"
        case Map(function=function, arguments=arguments):
            return f"({function} {' '.join(_vector(a, numbers) for a in arguments)})"
        case Slice(operand=x, start=start, stop=stop):
            return f"(slice {_vector(x, numbers)} {numbers.of(start)} {numbers.of(stop)})"
        case Project(operand=x, table=table, by_head=by_head):
            return f"(project {_vector(x, numbers)} {table} {by_head})"
        case _:
            assert_never(root)

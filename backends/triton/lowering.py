"""Expressions of a pattern as Triton expressions over one tile.

What depends on one side alone is a vector and is worked out once, where that side's tile is
loaded; only what depends on both is a matrix. Truth is decided in double precision, as the
analysis decides it, so that a kernel never disagrees with the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.functions import (
    FLOAT32,
    FLOAT64,
    INT32,
    INT64,
    NOTHING,
    both,
    compare,
    function,
)
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Literal, Name, X, lift, op
from attnlang.compiler.analysis.ranges import range_of
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.traverse import kind_of, walk

Sides = frozenset[Side]
NEITHER: Sides = frozenset()


@dataclass(frozen=True, slots=True)
class Value:
    """code: a scalar, a vector over one side's tile, or a matrix."""

    code: X
    sides: Sides = NEITHER


@dataclass(slots=True)
class Scope:
    """Where the vectors of one side are worked out, and what is known: by expression and
    precision, and by code."""

    block: Block
    known: dict[object, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Lowering:
    """One kernel's expressions.

    rows: the side along the first dimension of matrices. scopes: of both sides and, under None,
    of scalars. used: collects the arguments that the expressions need. wide: 64-bit integers.
    absent: optional inputs that are not given, and read as 0. tops: the ``row_max`` that are read.
    coordinates: those that a walk knows. head: of the tile, or of each of its queries.
    """

    pattern: PatternIR
    rows: Side
    wide: bool
    absent: frozenset[str]
    scopes: dict[Side | None, Scope]
    used: dict[a.Argument, None]
    tops: tuple[Expr, ...] = ()
    head: Value = Value(Name("head"))
    coordinates: Mapping[Expr, X] = field(default_factory=dict)
    score: X | None = None

    def matrix(self, root: Expr, *, double: bool = False) -> X:
        """The expression in a form that combines with a matrix."""
        return self._spread(self._named(self._lower(root, double)), frozenset(Side)).code

    @property
    def moving(self) -> Side:
        """The side that is walked."""
        return Side.K if self.rows is Side.Q else Side.Q

    def standing(self, x: Expr) -> tuple[X, bool]:
        """An expression over the standing side, and whether it varies within that side's tile."""
        value = self._named(self._lower(x, True))
        assert value.sides <= {self.rows}
        return value.code, bool(value.sides)

    def argument(self, argument: a.Argument) -> Name:
        self.used[argument] = None
        return Name(argument.name)

    def _lower(self, x: Expr, double: bool) -> Value:
        # Truth and whole numbers are the same in either precision.
        key = (x, double or kind_of(x) is not Kind.FLOAT)
        for scope in self.scopes.values():
            if key in scope.known:
                return scope.known[key]
        made = self._compute(x, double)
        if len(made.sides) == 2 or isinstance(made.code, Literal | Name):
            return made
        scope = self.scopes[next(iter(made.sides), None)]
        match x:
            case e.Coord():
                made = self._named(made, f"{x.side}_{x.axis}")
            case e.TokenInput():
                precise = "_double" if double and x.kind is Kind.FLOAT else ""
                made = self._named(made, f"{x.side}_in_{x.name}{precise}")
            case e.Symbol():
                made = self._named(made, "own_head")
            case e.Apply(function="row_max"):
                made = self._named(made, f"largest{self.tops.index(x)}")
            case _:
                pass
        scope.known[key] = made
        return made

    def _named(self, value: Value, name: str | None = None) -> Value:
        """A scalar or vector worked out where its side is read, under a name."""
        if len(value.sides) == 2 or isinstance(value.code, Literal | Name):
            return value
        side = next(iter(value.sides), None)
        scope = self.scopes[side]
        found = scope.known.get(value.code)
        if found is None:
            name = name or f"{side or 'scalar'}_{len(scope.block.statements)}"
            found = Value(scope.block.let(name, value.code), value.sides)
            scope.known[value.code] = found
        return found

    def _reads_score(self, x: Expr) -> bool:
        return any(isinstance(n, e.Symbol) and n.name is SymbolName.SCORE for n in walk(x))

    def _spread(self, value: Value, sides: Sides) -> Value:
        """A value in the form of values over ``sides``."""
        if len(sides) < 2 or len(value.sides) != 1:
            return value
        column = self.rows in value.sides
        return Value(value.code[(ALL, NEW) if column else (NEW, ALL)], sides)

    def _together(self, *values: Value) -> tuple[list[X], Sides]:
        sides: Sides = frozenset().union(*(v.sides for v in values))
        plain = (v if v.sides == sides else self._named(v) for v in values)
        return [self._spread(v, sides).code for v in plain], sides

    def _compute(self, x: Expr, double: bool) -> Value:
        match x:
            case e.Int() | e.Bool():
                return Value(Literal(x.value))
            case e.Float():
                return Value(Literal(float(x.value)))
            case e.Length(side=side, axis=axis):
                return self._scalar(a.AxisLength(side, axis))
            case e.Symbol(name=name):
                return self._symbol(name)
            case e.Coord(side=side) if x in self.coordinates:
                return Value(self._integer(self.coordinates[x]), frozenset({side}))
            case e.Coord(side=side, axis=axis):
                return self._coordinate(side, axis)
            case e.Index(side=side):
                return Value(self._integer(Name(f"place_{side}")), frozenset({side}))
            case e.InSegment(side=side, segment=segment):
                return self._in_segment(side, segment)
            case e.TokenInput():
                return self._token_input(x, double)
            case e.Table():
                return self._table(x, double)
            case e.Neg(operand=operand):
                inner = self._lower(operand, double)
                return Value(-inner.code, inner.sides)
            case e.Not(operand=operand):
                inner = self._lower(operand, double)
                return Value(self._negated(inner.code), inner.sides)
            case e.And(operands=operands) | e.Or(operands=operands):
                return self._logic(isinstance(x, e.And), operands, double)
            case e.Arith():
                return self._arith(x, double)
            case e.Compare(op=symbol, left=left, right=right):
                floats = Kind.FLOAT in (kind_of(left), kind_of(right))
                deep = not self._reads_score(x)
                pair = [self._number(o, floats, deep) for o in (left, right)]
                (one, two), sides = self._together(*pair)
                return Value(compare(symbol, one, two), sides)
            case e.Select():
                return self._select(x, double)
            case e.Apply(function="row_max"):
                return self._top(x)
            case e.Apply():
                return self._apply(x, double)
            case e.Param(name=name):
                raise AssertionError(f"the parameter `{name}` has no value")
            case _:
                assert_never(x)

    def _negated(self, code: X) -> X:
        if isinstance(code, Literal):
            return Literal(not code.value)
        return ~code

    def _scalar(self, argument: a.Argument) -> Value:
        return Value(self._integer(self.argument(argument)))

    def _integer(self, code: X) -> X:
        return code.to(INT64) if self.wide else code

    def _apart(self, index: X, stride: X) -> X:
        """How far an index is from the first."""
        if not self.wide:
            return index * stride
        return op("cast")(index, INT64) * stride

    def _symbol(self, name: SymbolName) -> Value:
        match name:
            case SymbolName.SCORE:
                assert self.score is not None
                return Value(self.score, frozenset(Side))
            case SymbolName.HEAD:
                return self.head
            case SymbolName.KV_HEAD:
                return Value(Name("kv_head"))
            case SymbolName.HEADS | SymbolName.KV_HEADS | SymbolName.HEAD_DIM:
                return self._scalar(a.Count(name))
            case _:
                assert_never(name)

    def _coordinate(self, side: Side, axis: str) -> Value:
        axes = self.pattern.axes(side)
        in_grid = axis in axes
        start = self.argument(a.SegmentStart(side, GRID if in_grid else axis))
        flat = Name(f"place_{side}") - start
        code: X = flat
        if in_grid:
            for inner in reversed(axes[axes.index(axis) + 1 :]):
                code = code // self.argument(a.AxisLength(side, inner))
            if axis != axes[0]:
                code = code % self.argument(a.AxisLength(side, axis))
            else:
                code = code + self.argument(a.Origin(side))
        return Value(self._integer(code), frozenset({side}))

    def _in_segment(self, side: Side, segment: str) -> Value:
        place = Name(f"place_{side}")
        start = self.argument(a.SegmentStart(side, segment))
        stop = self.argument(a.SegmentStop(side, segment))
        return Value((place >= start) & (place < stop), frozenset({side}))

    def _own_head(self, side: Side) -> X:
        """Whose entries the tokens of a side read. Keys of a tile read those of one head alone."""
        if side not in self.head.sides:
            return Name("head")
        return self._lower(e.Symbol(SymbolName.HEAD), False).code

    def _top(self, x: e.Apply) -> Value:
        heads = Name("batch").to(INT64) * Name("num_heads") + self._own_head(Side.Q)
        at = self.argument(a.RowTop(self.tops.index(x))) + heads * Name("length_q")
        value = op("load")(at + Name("place_q"), mask=Name("real_q"), other=0.0)
        return Value(value, frozenset({Side.Q}))

    def _token_input(self, x: e.TokenInput, double: bool) -> Value:
        if x.name in self.absent:
            return Value(Literal(NOTHING[x.kind]))
        grid, sides = self._in_segment(x.side, GRID).code, frozenset({x.side})
        pointer = self.argument(a.TokenTensor(x.side, x.name, x.kind))
        batch, head, token = (self.argument(a.TokenStride(x.side, x.name, i)) for i in range(3))
        at = Name(f"place_{x.side}") - self.argument(a.SegmentStart(x.side, GRID))
        own = self._own_head(x.side)
        offset = Name("batch").to(INT64) * batch
        offset = offset + self._apart(own, head) + self._apart(at, token)
        return Value(self._read(pointer + offset, grid, x.kind, double), sides)

    def _read(self, pointer: X, inside: X | None, kind: Kind, double: bool) -> X:
        whole = inside is None  # a single number
        value = op("load")(pointer) if whole else op("load")(pointer, mask=inside, other=0)
        match kind:
            case Kind.INT:
                return value
            case Kind.FLOAT:
                return value.to(FLOAT64 if double else FLOAT32)
            case Kind.BOOL:
                return compare("!=", value, lift(0))

    def _table(self, x: e.Table, double: bool) -> Value:
        if x.name in self.absent:
            return Value(Literal(NOTHING[x.kind]))
        pointer = self.argument(a.TableTensor(x.name, x.kind))
        values = [self._lower(i, double) for i in x.indices]
        indices, sides = self._together(*values)
        offset = Name("batch").to(INT64) * self.argument(a.TableStride(x.name, -1))
        scalar: X | None = None
        inside: X | None = None
        for i, (index, value) in enumerate(zip(indices, values, strict=True)):
            if len(sides) == 2 and not isinstance(index, Literal | Name):
                index = self._fresh(f"index_{i}", index)
            offset = offset + self._apart(index, self.argument(a.TableStride(x.name, i)))
            size: X = self.argument(a.TableSize(x.name, i))
            if not value.sides:
                scalar = both(scalar, (index >= 0) & (index < size))
                continue
            if inside is None and scalar is not None:  # outside for one index: outside for all
                size = self._named(Value(op("where")(scalar, size, 0))).code
            inside = both(inside, (index >= 0) & (index < size))
        inside = inside if inside is not None else scalar
        return Value(self._read(pointer + offset, inside, x.kind, double), sides)

    def entry(self, x: e.Table) -> tuple[X, X]:
        """Which entry a pair reads, row-major over the indices that tokens decide, and whether
        there is one."""
        flat: X | None = None
        inside: X | None = None
        for i, index in enumerate(x.indices):
            value = self._lower(index, False)
            if value.sides:
                code = self._spread(self._named(value), frozenset(Side)).code
                code = self._fresh(f"entry_{i}", code)
                size = self.argument(a.TableSize(x.name, i))
                flat = code if flat is None else flat * size + code
                inside = both(inside, (code >= 0) & (code < size))
        assert flat is not None
        assert inside is not None
        return flat.to(INT32), inside

    def _fresh(self, name: str, code: X) -> Name:
        """A matrix under a name of its own: what reads it is written later than other matrices."""
        body = self._body()
        return body.let(f"{name}_{len(body.statements)}", code)

    def _body(self) -> Block:
        """Where the side that moves is read: matrices are worked out after it."""
        return self.scopes[self.moving].block

    def _number(self, x: Expr, floats: bool, double: bool) -> Value:
        """An operand, as a float where the operation is one."""
        value = self._lower(x, double)
        if not floats or kind_of(x) is Kind.FLOAT:
            return value
        if isinstance(value.code, Literal):
            assert isinstance(value.code.value, int)
            return Value(Literal(float(value.code.value)))
        return Value(value.code.to(FLOAT64 if double else FLOAT32), value.sides)

    def _logic(self, all_of: bool, operands: tuple[Expr, ...], double: bool) -> Value:
        # Operands of one side are joined while they are vectors.
        parts: dict[Sides, Value] = {}
        for operand in operands:
            value = self._lower(operand, double)
            old = parts.get(value.sides)
            if old is not None:
                code = old.code & value.code if all_of else old.code | value.code
                value = Value(code, value.sides)
            parts[value.sides] = value
        codes, sides = self._together(*parts.values())
        code = codes[0]
        for other in codes[1:]:
            code = code & other if all_of else code | other
        return Value(code, sides)

    def _arith(self, x: e.Arith, double: bool) -> Value:
        floats = kind_of(x) is Kind.FLOAT
        pair = [self._number(o, floats, double) for o in (x.left, x.right)]
        (one, two), sides = self._together(*pair)
        match x.op:
            case "+":
                return Value(one + two, sides)
            case "-":
                return Value(one - two, sides)
            case "*":
                return Value(one * two, sides)
            case "/":
                return Value(one / two, sides)
            case "//" | "%":
                whole = range_of(x.left)[0] >= 0 and range_of(x.right)[0] >= 0
                if whole:
                    return Value(one // two if x.op == "//" else one % two, sides)
                return Value(Name("floordiv" if x.op == "//" else "floormod")(one, two), sides)
            case _:
                assert_never(x.op)

    def _select(self, x: e.Select, double: bool) -> Value:
        floats = kind_of(x) is Kind.FLOAT
        condition = self._lower(x.condition, double)
        if kind_of(x) is Kind.BOOL:
            branches = [self._lower(b, double) for b in (x.then, x.otherwise)]
            (c, one, two), sides = self._together(condition, *branches)
            return Value((c & one) | (self._negated(c) & two), sides)
        branches = [self._number(b, floats, double) for b in (x.then, x.otherwise)]
        (c, one, two), sides = self._together(condition, *branches)
        return Value(op("where")(c, one, two), sides)

    def _apply(self, x: e.Apply, double: bool) -> Value:
        floats = any(kind_of(o) is Kind.FLOAT for o in x.arguments)
        to_int = x.function in ("floor", "ceil", "round", "int")
        double = double or (to_int and floats)
        values = [self._number(o, floats, double) for o in x.arguments]
        codes, sides = self._together(*values)
        return Value(function(x.function, codes, floats, double), sides)

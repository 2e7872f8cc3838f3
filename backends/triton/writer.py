"""What all kernels are written with: tiles read and written, scores, and walks over a plan.

A walk goes over runs of tiles: first those where the predicate has to be asked, then those that
it fills. Scores of a softmax are kept as logarithms to base 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton import table_walks
from attnlang.backends.triton.closed import Interval, intervals, rises
from attnlang.backends.triton.form import READ, Form
from attnlang.backends.triton.functions import INT64
from attnlang.backends.triton.lowering import Lowering, Scope, Value
from attnlang.backends.triton.odometer import (
    box_places,
    coordinates,
    corner,
    read_box,
    strip_places,
)
from attnlang.backends.triton.slope import slope
from attnlang.backends.triton.source.tree import (
    ALL,
    NEW,
    Attribute,
    Block,
    Listed,
    Literal,
    Name,
    X,
    op,
)
from attnlang.backends.triton.spans import Ends, attended, spans_of, visit_spans
from attnlang.backends.triton.tops import tops
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, Normaliser, PatternIR

LOG2_E = 1.4426950408889634
LOWEST = -1.0e30
HEAD = {
    "q": "head",
    "k": "kv_head",
    "v": "kv_head",
    "out": "head",
    "d_out": "head",
    "d_q": "head",
    "d_k": "kv_head",
    "d_v": "kv_head",
}
OTHER = {Side.Q: Side.K, Side.K: Side.Q}


@dataclass(slots=True)
class Writer:
    """One kernel being written. fixed: the side that stays while the other moves.

    split: do programs share the steps of a walk? packed: slots are the queries of all heads that
    share a key head, one after another. ends: of the standing tokens, where the walk is worked out
    from them. full: is a step of full boxes being written?
    """

    pattern: PatternIR
    attend: Attend
    form: Form
    fixed: Side
    split: bool = False
    packed: bool = False
    scalars: Scope = field(default_factory=lambda: Scope(Block()))
    standing: Scope = field(default_factory=lambda: Scope(Block()))
    used: dict[a.Argument, None] = field(default_factory=dict)
    ends: list[Ends] = field(default_factory=list)
    full: bool = False

    def argument(self, argument: a.Argument) -> Name:
        self.used[argument] = None
        return Name(argument.name)

    def lowering(self, moving: Block) -> Lowering:
        side, by_axis = self.moving, self.boxed or self.stripped
        scopes: dict[Side | None, Scope] = {
            None: self.scalars,
            self.fixed: self.standing,
            side: Scope(moving),
        }
        return Lowering(
            self.pattern, self.fixed, self.form.wide, self.form.absent, scopes, self.used,
            tops(self.attend), self.head,
            coordinates(side, self.pattern.axes(side)) if by_axis else {},
        )  # fmt: skip

    @property
    def moving(self) -> Side:
        return OTHER[self.fixed]

    @property
    def head(self) -> Value:
        """The head of the tile, or of each of its queries."""
        if self.packed:
            return Value(Name("head") + Name("member"), frozenset({Side.Q}))
        return Value(Name("head"))

    @property
    def boxed(self) -> bool:
        """Does the walk go over boxes of keys?"""
        return self.form.tiles.boxed and self.fixed is Side.Q and self.fixed not in self.form.closed

    @property
    def stripped(self) -> bool:
        """Does the walk go over tiles that are products of strips?"""
        read = self.boxed or self.form.tiles.listed or self.fixed in self.form.closed
        return not read and self.moving in self.form.tiles.strips

    @property
    def axes(self) -> int:
        """Axes of the grid of the side that moves, of which boxes and tiles are parts."""
        return len(self.pattern.axes(self.moving))

    @property
    def spans(self) -> tuple[Interval, ...] | None:
        """What the walk is worked out from; None where it is read from tables."""
        if self.fixed not in self.form.closed:
            return None
        return intervals(self.pattern, self.attend.where, self.fixed)

    @property
    def rising(self) -> bool:
        """Do the last tiles visit more than the first ones, each alone?"""
        found = self.spans
        if found is None:
            return self.fixed in self.form.tiles.rising and not self.split
        return any(rises(x, self.fixed) for x in found) and not self.split

    def described(self, tensor: str) -> bool:
        """Is a tensor read by a descriptor: do the tokens of its tiles lie one after another?"""
        side = READ.get(tensor)
        if side is None or not self.form.described or (self.packed and side is self.fixed):
            return False
        if self.fixed in self.form.closed:
            return True
        if self.carved(tensor):
            return True
        odd = side is not self.fixed and (self.boxed or self.form.tiles.listed is not None)
        return not odd and side not in self.form.tiles.gathered

    @property
    def overlaps(self) -> bool:
        """Do products with the values run beside the softmax of the step after them? Shared walks
        wait for memory, and tiles of few rows for the products themselves."""
        worked_out = self.fixed in self.form.closed
        return self.described("v") and not self.split and (worked_out or self.form.tiles.large)

    def carved(self, tensor: str) -> bool:
        """Is a tensor read box by box, by a descriptor of its grid?"""
        boxes = self.boxed or self.stripped
        return boxes and self.moving in self.form.carved and READ.get(tensor) is self.moving

    def pointers(self, block: Block, *tensors: str) -> None:
        """Where the tensors' heads begin, those apart that are read by descriptors."""
        for tensor in (t for t in tensors if not self.described(t)):
            head_pointer(block, tensor, Name(HEAD[tensor]))

    def places(self, block: Block, side: Side, tile: X) -> None:
        """``place_q`` or ``place_k`` and which of the slots hold tokens."""
        size = Name("ROWS" if side is self.fixed else "STEP")
        if self.boxed and side is not self.fixed:
            box_places(block, self.axes, alike=self.form.tiles.alike, full=self.full)
            return
        if self.parted(side):
            gathered = self.form.tiles.listed is not None or side in self.form.tiles.gathered
            table_walks.part_places(block, side, tile, packed=self.packed, gathered=gathered)
            return
        first: X = tile * size
        if self.fixed in self.form.closed and side is not self.fixed:
            first = Name("anchor") + first
        if self.form.described:
            first = block.let(f"at_{side}", first)
        slots = first + op("arange")(0, size)
        place = Name(f"place_{side}")
        if self.packed and side is self.fixed:
            slots = block.let("slots", slots)
            block.let("member", slots % Name("group"))
            slots = slots // Name("group")
        if self.fixed in self.form.closed:
            length = Name(f"length_{side}")
            block.let(place.text, slots)
            block.let(f"real_{side}", place < length)
            if side is self.fixed:
                # Padding stands for the last token, so that it widens no span.
                block.let(place.text, op("minimum")(place, length - 1))
        elif self.stripped and side is not self.fixed:
            strip_places(block, side, self.axes)
        elif self.form.tiles.listed and side is not self.fixed:
            table_walks.list_places(block, side)
        elif side in self.form.tiles.gathered:
            table_walks.gathered_places(block, side, slots)
        else:
            block.let(place.text, slots)
            block.let(f"real_{side}", place < Name(f"length_{side}"))

    def parted(self, side: Side) -> bool:
        """Does a program stand on slots that are no power of two: of a granule, or of a tile once
        for each head?"""
        own = side is self.fixed and side not in self.form.closed
        return own and (self.packed or self.form.tiles.listed is not None)

    def whole(self, partial: bool) -> bool:
        """Has every slot of a step a token? Full tiles of tables may be padded, full spans not."""
        return not partial and self.fixed in self.form.closed

    def read(
        self, tensor: str, side: Side, dim: str, *, whole: bool = False, at: Sequence[X] = ()
    ) -> X:
        """A tile ``[tokens, dim]`` of a tensor, zeros where there is no token. at: where a
        descriptor is to read another tile than that of the step, see :meth:`first`."""
        if self.carved(tensor):
            by_key = self.argument(a.Count(e.SymbolName.KV_HEADS)) if side is Side.K else None
            head = Name("batch") * (by_key or Name("num_heads")) + Name(HEAD[tensor])
            return read_box(tensor, head, at or self.first(tensor, side), dim)
        if self.described(tensor):
            (token,) = at or self.first(tensor, side)
            begin = Listed((Name("batch"), Name(HEAD[tensor]), token, Literal(0)))
            size = Name("ROWS" if side is self.fixed else "STEP")
            return Attribute(Attribute(Name(tensor), "load")(begin), "reshape")(
                size, Name(f"PADDED_{dim}")
            )
        dims = Name(f"dims_{dim}")
        offset = self.offset(tensor, side, dims)
        inside = (dims < Name(dim))[(NEW, ALL)]
        if not whole:
            inside = Name(f"real_{side}")[(ALL, NEW)] & inside
        return op("load")(Name(f"{tensor}_head") + offset, mask=inside, other=0.0)

    def first(self, tensor: str, side: Side) -> tuple[X, ...]:
        """Where a descriptor reads the step's tile: its first token, or the coordinates."""
        return corner(self.axes) if self.carved(tensor) else (Name(f"at_{side}"),)

    def write(self, block: Block, tensor: str, side: Side, dim: str, value: X) -> None:
        read = side in self.form.tiles.gathered and side not in self.form.closed
        if read and not self.parted(side):
            # Held through the walk places would take registers: they are read once more, in a way
            # that the compiler does not take for the same.
            slots = Name(f"tile_{side}") * Name("ROWS") + op("arange")(0, Name("ROWS"))
            table_walks.gathered_places(block, side, slots, cache_modifier=Literal(".cg"))
        dims = Name(f"dims_{dim}")
        inside = Name(f"real_{side}")[(ALL, NEW)] & (dims < Name(dim))[(NEW, ALL)]
        stored = value.to(Attribute(Attribute(Name(tensor), "dtype"), "element_ty"))
        at = Name(f"{tensor}_head") + self.offset(tensor, side, dims)
        block.do(op("store")(at, stored, mask=inside))

    def offset(self, tensor: str, side: Side, dims: X) -> X:
        stride = Name(f"{tensor}_stride_token")
        if self.boxed and side is not self.fixed:
            # What is the same at every step is apart, and worked out once.
            at = Name("inner").to(INT64) * stride
            return Name(f"corner_{side}").to(INT64) * stride + (at[(ALL, NEW)] + dims[(NEW, ALL)])
        rows = Name(f"place_{side}").to(INT64) * stride
        if self.packed and side is self.fixed:
            rows = rows + Name("member").to(INT64) * Name(f"{tensor}_stride_head")
        return rows[(ALL, NEW)] + dims[(NEW, ALL)]

    @property
    def at(self) -> X:
        """Of the standing queries in a contiguous ``[heads, length]`` tensor, from their head."""
        if self.packed:
            return Name("member").to(INT64) * Name("length_q") + Name("place_q")
        return Name("place_q")

    def score(self, block: Block, dot: X, moving: Lowering) -> tuple[Name, X | None]:
        """The score, a softmax's in base 2, and its slope where the pattern edits it."""
        edit, softmax = self.attend.score, self.attend.normaliser is Normaliser.SOFTMAX
        if edit is None:
            return block.let("score", dot * Name("scale_log2" if softmax else "scale")), None
        moving.score = block.let("scaled", dot * Name("scale"))
        edited = moving.matrix(edit)
        steep = moving.matrix(slope(edit))
        shape = Listed((Name("ROWS"), Name("STEP")))
        edited = op("broadcast_to")(edited, shape)
        return block.let("score", edited * LOG2_E if softmax else edited), steep

    def seen(self, block: Block, moving: Lowering) -> X:
        """Which pairs of a partial tile attend."""
        other = OTHER[self.fixed]
        if self.ends:
            return block.let("seen", attended(self.ends, Name(f"place_{other}")))
        real = Name(f"real_{other}")[(NEW, ALL)]
        where = self.attend.where
        if isinstance(where, e.Bool):
            return block.let("seen", real if where.value else real & False)
        return block.let("seen", real & moving.matrix(where))

    def let_in(self, block: Block, moving: Lowering, partial: bool) -> X | None:
        """Which pairs of a step attend; None: all."""
        if partial:
            return self.seen(block, moving)
        if self.boxed or self.form.tiles.listed:
            return block.let("seen", Name(f"real_{OTHER[self.fixed]}")[(NEW, ALL)])
        return None

    def along(self, side: Side, x: X) -> X:
        """A vector of the tokens of one side, to be combined with matrices."""
        return x[(ALL, NEW) if side is self.fixed else (NEW, ALL)]

    def row(self, block: Block) -> None:
        """Names the row of the tables that the standing tile has."""
        if self.fixed in self.form.closed:
            return
        tile = Name(f"tile_{self.fixed}") // Name("PARTS")
        block.let("row", op("load")(Name("classes") + Name("head")) * Name("rows") + tile)

    def walk(self, block: Block, step: Callable[[bool], Callable[[Block], None]]) -> None:
        """Visits tiles of the moving side once each: ``step(True)`` is of those to be asked."""
        found = self.spans
        if found is not None:
            spans, self.ends = spans_of(block, self.lowering(Block()), found)
            ahead = self.described("k" if self.moving is Side.K else "q")
            visit_spans(block, spans, step, self.steps, ahead=ahead)
            return
        block.remark("Tiles where the predicate decides pair by pair.")
        table_walks.over(self, block, "partial", step(True))
        block.remark("Tiles where every pair attends.")
        self.full = True
        table_walks.over(self, block, "full", step(False))

    def steps(self, first: X, last: X) -> X:
        """A run of steps; where programs share them, step ``t`` is for program ``t % splits``."""
        if not self.split:
            return Name("range")(first, last)
        splits = Name("splits")
        if first == Literal(0):
            return Name("range")(Name("split"), last, splits)
        begin = first + (Name("split") + splits - first % splits) % splits
        return Name("range")(begin, last, splits)


def dtype(tile: str) -> X:
    return Attribute(Name(tile), "dtype")


def head_pointer(block: Block, tensor: str, head: X) -> None:
    batch = Name("batch").to(INT64) * Name(f"{tensor}_stride_batch")
    block.let(
        f"{tensor}_head", Name(tensor) + batch + head.to(INT64) * Name(f"{tensor}_stride_head")
    )


def row_pointer(block: Block, tensor: str, length: str = "length_q") -> None:
    """Of a contiguous ``[B, H, length]`` tensor."""
    at = Name("batch").to(INT64) * Name("num_heads") + Name("head")
    block.let(f"{tensor}_head", Name(tensor) + at * Name(length))


def dims(block: Block, *which: str) -> None:
    for dim in which or ("D", "DV"):
        block.let(f"dims_{dim}", op("arange")(0, Name(f"PADDED_{dim}")))


def dot(left: X, right: X, onto: X | None = None) -> X:
    """A matrix product in full precision of its operands, added to ``onto``."""
    given = (left, right) if onto is None else (left, right, onto)
    return op("dot")(*given, input_precision=Literal("ieee"))


def across(values: X) -> X:
    """The transpose."""
    return op("trans")(values)

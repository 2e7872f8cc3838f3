"""The kernels of `row_max(x)`: the largest x of every row, and who shares its gradient.

One walk finds it before the scores are edited; what it is taken of may read those found before.
In the backward pass another walk adds up its slope, and looks for those keys that have it.
"""

from __future__ import annotations

from collections.abc import Callable

from attnlang.backends.triton.assemble import kernel, tile_of_queries
from attnlang.backends.triton.backward import backward_rows, query_step
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.functions import FLOAT32, INT32, INT64, masked
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.shares import (
    NO_KEY,
    SHARES,
    read_shares,
    row_of,
    share_pointers,
    through_tops,
)
from attnlang.backends.triton.slope import SCORE, slope
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Listed, Literal, Name, X, op
from attnlang.backends.triton.tops import tops
from attnlang.backends.triton.weights import read_rows
from attnlang.backends.triton.writer import Writer, across, dims, dot, row_pointer
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, PatternIR
from attnlang.compiler.ir.traverse import walk

LOWEST = Literal(float("-inf"))
BEYOND = 2**31 - 1
"""A place behind every key."""


def row_max(pattern: PatternIR, attend: Attend, form: Form, number: int) -> Kernel:
    """The largest value of each row, -inf where nothing attends: ``[splits, B, H, Nq]``."""
    w = Writer(pattern, attend, form, Side.Q, split=True, packed=form.packs)
    of = tops(attend)[number].arguments[0]
    products = SCORE in walk(of)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(w, begin)
    begin.let("split", op("program_id")(2))
    w.row(begin)
    batch = Name("batches").to(INT64) * Name("split") + Name("batch")
    row = (batch * Name("num_heads") + Name("head")) * Name("length_q")
    begin.let("part_top_head", Name("part_top") + row)
    if products:
        w.pointers(begin, "q", "k")
        dims(begin, "D")
    w.places(begin, Side.Q, Name("tile_q"))
    if products:
        begin.let("query", w.read("q", Side.Q, "D"))
    begin.let("highest", op("full")(Listed((Name("ROWS"),)), LOWEST, FLOAT32))

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            w.places(block, Side.K, Name("step"))
            if products:
                block.let("key", w.read("k", Side.K, "D", whole=w.whole(partial)))
            moving = w.lowering(block)
            if products:
                dots = dot(Name("query"), across(Name("key")))
                moving.score = block.let("scaled", dots * Name("scale"))
            seen = w.let_in(block, moving, partial)
            block.let("value", _values(w, moving, number, seen))
            block.let("highest", op("maximum")(Name("highest"), op("max")(Name("value"), 1)))

        return write

    w.walk(loops, step)
    end.do(op("store")(Name("part_top_head") + w.at, Name("highest"), mask=Name("real_q")))
    doc = "The largest value of each row, over every so many steps of its walk."
    pointers = [*(["q", "k"] if products else []), "part_top"]
    return kernel(
        w, f"row_max{number}", doc, pointers, ("q", "k"), begin, loops, end, ("splits", "batches")
    )


def _values(w: Writer, moving: Lowering, number: int, seen: X | None) -> X:
    """What the largest is looked for among, -inf where nothing attends."""
    value = moving.matrix(tops(w.attend)[number].arguments[0])
    value = op("broadcast_to")(value, Listed((Name("ROWS"), Name("STEP"))))
    return value if seen is None else op("where")(seen, value, LOWEST)


def row_max_gradient(pattern: PatternIR, attend: Attend, form: Form, number: int) -> Kernel:
    """Of each row the slope by its largest value, in equal parts for those keys that have it, and
    the places of the first and the last of them."""
    w = Writer(pattern, attend, form, Side.Q, packed=form.packs)
    top = tops(attend)[number]
    steep = slope(attend.score or SCORE, top)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(w, begin)
    w.row(begin)
    w.pointers(begin, "q", "k", "v", "d_out")
    rows = [*backward_rows(w, begin), *share_pointers(w, begin, number)]
    made = [row_of(name, number) for name in SHARES]
    for name in made:
        row_pointer(begin, name)
    dims(begin)
    w.places(begin, Side.Q, Name("tile_q"))
    begin.let("query", w.read("q", Side.Q, "D"))
    begin.let("d_result", w.read("d_out", Side.Q, "DV"))
    read_rows(w, begin)
    read_shares(w, begin, after=number)
    zeros = Listed((Name("ROWS"),))
    begin.let("highest", op("full")(zeros, LOWEST, FLOAT32))
    for name in ("slope_top", "ties"):
        begin.let(name, op("zeros")(zeros, FLOAT32))
    begin.let("first_key", op("full")(zeros, BEYOND, INT32))
    begin.let("last_key", op("full")(zeros, NO_KEY, INT32))

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            moving, _ = query_step(w, block, w.whole(partial), number)
            seen = w.let_in(block, moving, partial)
            by_top = through_tops(
                w, moving, masked(Name("flow"), moving.matrix(steep), seen), seen, top, number
            )
            block.let("slope_top", Name("slope_top") + op("sum")(by_top, 1))
            block.let("found", _values(w, moving, number, seen))
            block.let("higher", op("maximum")(Name("highest"), op("max")(Name("found"), 1)))
            equal = block.let("equal", Name("found").equal(Name("higher")[(ALL, NEW)]))
            beaten = block.let("beaten", Name("higher") > Name("highest"))
            place = Name("place_k")[(NEW, ALL)]
            kept = op("where")(beaten, 0.0, Name("ties"))
            block.let("ties", kept + op("sum")(equal.to(FLOAT32), 1))
            first = op("min")(op("where")(equal, place, BEYOND), 1)
            last = op("max")(op("where")(equal, place, NO_KEY), 1)
            block.let(
                "first_key", op("where")(beaten, first, op("minimum")(Name("first_key"), first))
            )
            block.let("last_key", op("where")(beaten, last, op("maximum")(Name("last_key"), last)))
            block.let("highest", Name("higher"))

        return write

    w.walk(loops, step)
    end.remark("A largest value that is infinite counts as 0, and nothing moves it.")
    finite = end.let("finite", op("abs")(Name("highest")) < float("inf"))
    share = Name("slope_top") / op("where")(finite, Name("ties"), float("inf"))
    for name, value in zip(made, (share, Name("first_key"), Name("last_key")), strict=True):
        end.do(op("store")(Name(f"{name}_head") + w.at, value, mask=Name("real_q")))
    doc = "The gradient of the largest value of each row, and where that is."
    names = ["q", "k", "v", "d_out", *rows, *made]
    tensors = ("q", "k", "v", "d_out")
    return kernel(w, f"row_max_gradient{number}", doc, names, tensors, begin, loops, end)

"""The backward kernels: scores worked out again, once by queries and once by keys.

Two passes instead of one: no atomics, so gradients are the same every time.
"""

from __future__ import annotations

from collections.abc import Callable

from attnlang.backends.triton.assemble import kernel, key_head, own_tile, tile_of_queries
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.functions import FLOAT32
from attnlang.backends.triton.leaves import (
    add_leaves,
    begin_leaves,
    end_leaves,
    standing_leaves,
)
from attnlang.backends.triton.lowering import Lowering, Scope
from attnlang.backends.triton.shares import read_shares, share_pointers, share_tops
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Listed, Name, X, op
from attnlang.backends.triton.weights import (
    by_score,
    flow,
    gained,
    is_softmax,
    kept_of_rows,
    let_gain,
    read_rows,
    weigh,
)
from attnlang.backends.triton.writer import Writer, across, dims, dot, dtype, row_pointer
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, Normaliser, PatternIR


def query_gradient(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """The gradient of q: the forward walk once more."""
    w = Writer(pattern, attend, form, Side.Q, packed=form.packs)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(w, begin)
    w.row(begin)
    w.pointers(begin, "q", "k", "v", "d_out", "d_q")
    of_rows = [*backward_rows(w, begin), *share_pointers(w, begin)]
    dims(begin)
    w.places(begin, Side.Q, Name("tile_q"))
    begin.let("query", w.read("q", Side.Q, "D"))
    begin.let("d_result", w.read("d_out", Side.Q, "DV"))
    read_rows(w, begin)
    read_shares(w, begin)
    begin.let("slope_q", op("zeros")(Listed((Name("ROWS"), Name("PADDED_D"))), FLOAT32))
    mine = standing_leaves(w, Side.Q)
    begin_leaves(w, begin, mine)

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            moving, steep = query_step(w, block, w.whole(partial))
            seen = w.let_in(block, moving, partial)
            add_leaves(w, block, mine, moving, seen)
            block.let("slope_s", by_score(w, moving, steep, seen))
            block.let(
                "slope_q",
                dot(Name("slope_s").to(dtype("key")), Name("key"), Name("slope_q")),
            )

        return write

    w.walk(loops, step)
    w.write(end, "d_q", Side.Q, "D", Name("slope_q") * Name("scale"))
    end_leaves(w, end, mine, Side.Q)
    names = ["q", "k", "v", "d_out", *of_rows, "d_q"]
    tensors = ("q", "k", "v", "d_out", "d_q")
    doc = "The gradient of one tile of queries."
    return kernel(w, "query_gradient", doc, names, tensors, begin, loops, end)


def query_step(w: Writer, block: Block, whole: bool, after: int = -1) -> tuple[Lowering, X | None]:
    """Names ``flow``, the slope of the loss by the edited score, of a step of the query walk, and
    what pairs take of the slope of ``row_max`` with numbers above ``after``.

    Gives the step's expressions, and the slope of the edit by the score.
    """
    w.places(block, Side.K, Name("step"))
    block.let("key", w.read("k", Side.K, "D", whole=whole))
    block.let("value", w.read("v", Side.K, "DV", whole=whole))
    moving = w.lowering(block)
    block.let("dots", dot(Name("query"), across(Name("key"))))
    _, steep = w.score(block, Name("dots"), moving)
    let_gain(w, block, moving)
    if is_softmax(w.attend) or w.attend.gain is not None:
        weigh(w, block)
    block.let("slope_p", dot(Name("d_result"), across(Name("value"))))
    flow(w, block)
    share_tops(w, block, moving, after)
    return moving, steep


def backward_rows(w: Writer, block: Block) -> list[str]:
    """Pointers to what is read of each query beside its vectors. Gives their names."""
    softmax_or_sum = w.attend.normaliser in (Normaliser.SOFTMAX, Normaliser.SUM)
    given = (kept_of_rows(w.attend), "delta" if softmax_or_sum else None)
    names = [name for name in given if name is not None]
    for name in names:
        row_pointer(block, name)
    return names


def key_gradient(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """The gradients of k and v: the transposed walk, over all query heads of a key head."""
    w = Writer(pattern, attend, form, Side.K)
    begin, loops, end = Block(), Block(), Block()
    own_tile(w, begin)
    key_head(begin)
    w.pointers(begin, "k", "v", "d_k", "d_v")
    dims(begin)
    w.places(begin, Side.K, Name("tile_k"))
    begin.let("key", w.read("k", Side.K, "D"))
    begin.let("value", w.read("v", Side.K, "DV"))
    rows = Name("ROWS")
    begin.let("slope_k", op("zeros")(Listed((rows, Name("PADDED_D"))), FLOAT32))
    begin.let("slope_v", op("zeros")(Listed((rows, Name("PADDED_DV"))), FLOAT32))

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            w.places(block, Side.Q, Name("step"))
            whole = w.whole(partial)
            block.let("query", w.read("q", Side.Q, "D", whole=whole))
            block.let("d_result", w.read("d_out", Side.Q, "DV", whole=whole))
            read_rows(w, block, whole=whole)
            read_shares(w, block, whole=whole)
            moving = w.lowering(block)
            block.let(
                "dots",
                dot(Name("key"), across(Name("query"))),
            )
            _, steep = w.score(block, Name("dots"), moving)
            weigh(w, block)
            seen: X | None = None
            if partial:
                seen = w.seen(block, moving)
                block.let("weight", op("where")(seen, Name("weight"), 0.0))
            elif edited and not whole:
                # A slope may be infinite where padding stands for a query.
                seen = Name("real_q")[(NEW, ALL)]
                if not is_softmax(attend):
                    block.let("weight", op("where")(seen, Name("weight"), 0.0))
            let_gain(w, block, moving)
            weight = gained(w, block, seen)
            block.let(
                "slope_v",
                dot(weight.to(dtype("d_result")), Name("d_result"), Name("slope_v")),
            )
            block.let(
                "slope_p",
                dot(Name("value"), across(Name("d_result"))),
            )
            flow(w, block)
            share_tops(w, block, moving)
            add_leaves(w, block, mine, moving, seen)
            block.let("slope_s", by_score(w, moving, steep, seen if edited else None))
            block.let(
                "slope_k",
                dot(Name("slope_s").to(dtype("query")), Name("query"), Name("slope_k")),
            )

        return write

    mine = standing_leaves(w, Side.K)
    # Weights of a plain softmax are 0 where nothing attends, and so are their slopes.
    edited = attend.score is not None or attend.gain is not None or not is_softmax(attend)
    # Scalars and vectors of keys may depend on the head: they are worked out anew for each.
    heads = Block()
    head_begin = Block()
    head_begin.let("head", Name("begin_head") + Name("member"))
    w.row(head_begin)
    w.pointers(head_begin, "q", "d_out")
    of_rows = [*backward_rows(w, head_begin), *share_pointers(w, head_begin)]
    begin_leaves(w, head_begin, mine)
    w.walk(heads, step)
    end_leaves(w, heads, mine, Side.K)
    for part in (w.scalars.block, w.standing.block, heads):
        head_begin.extend(part)
    own = Name("kv_head") * Name("group")
    begin.let("begin_head", op("maximum")(own, Name("first_head")))
    begin.let(
        "end_head", op("minimum")(own + Name("group"), Name("first_head") + Name("launched_heads"))
    )
    members = Name("range")(0, Name("end_head") - Name("begin_head"))
    loops.loop("member", members, head_begin)
    w.scalars, w.standing = Scope(Block()), Scope(Block())
    w.write(end, "d_k", Side.K, "D", Name("slope_k") * Name("scale"))
    w.write(end, "d_v", Side.K, "DV", Name("slope_v"))
    names = ["q", "k", "v", "d_out", *of_rows, "d_k", "d_v"]
    tensors = ("q", "k", "v", "d_out", "d_k", "d_v")
    doc = "The gradients of one tile of keys and values."
    return kernel(w, "key_gradient", doc, names, tensors, begin, loops, end)

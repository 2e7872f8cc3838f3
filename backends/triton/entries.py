"""The kernel of the gradients of tables whose entries pairs choose, as biases by distance."""

from __future__ import annotations

from collections.abc import Callable

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.assemble import kernel
from attnlang.backends.triton.backward import backward_rows, query_step
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.functions import INT64
from attnlang.backends.triton.learned import Leaf, leaves
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.shares import read_shares, share_pointers
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Literal, Name, X, op
from attnlang.backends.triton.weights import by_leaf, read_rows
from attnlang.backends.triton.writer import Writer, dims
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, PatternIR

NO_ENTRY = 2**31 - 1


def table_gradient(pattern: PatternIR, attend: Attend, form: Form) -> Kernel | None:
    """Sums of slopes by entry ``[programs, B, H, entries]``; None where no table needs them.

    A program walks every so many tiles of queries and adds into entries of its own, in a fixed
    order. In each tile it looks for the entries that occur, from the lowest to the highest.
    """
    mine = tuple(x for x in leaves(attend, form.learned) if x.stands_on is None)
    if not mine:
        return None
    w = Writer(pattern, attend, form, Side.Q)
    begin, tile, loops = Block(), Block(), Block()
    begin.let("head", Name("first_head") + op("program_id")(1) % Name("launched_heads"))
    begin.let("batch", op("program_id")(1) // Name("launched_heads"))
    begin.let("kv_head", Name("head") // Name("group"))
    w.pointers(begin, "q", "k", "v", "d_out")
    rows = [*backward_rows(w, begin), *share_pointers(w, begin)]
    batches = op("num_programs")(1) // Name("launched_heads")
    begin.let("part", op("program_id")(0).to(INT64) * batches + Name("batch"))
    for leaf in mine:
        assert isinstance(leaf.node, e.Table)
        sums = w.argument(a.LeafSums(leaf.number))
        entries = w.argument(a.LeafEntries(leaf.number, leaf.node))
        at = Name("part") * Name("num_heads") + Name("head")
        begin.let(f"{sums.text}_head", sums + at * entries)
    dims(begin)
    w.row(tile)
    w.places(tile, Side.Q, Name("tile_q"))
    tile.let("query", w.read("q", Side.Q, "D"))
    tile.let("d_result", w.read("d_out", Side.Q, "DV"))
    read_rows(w, tile)
    read_shares(w, tile)

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            moving, _ = query_step(w, block, w.whole(partial))
            real = Name("real_q")[(ALL, NEW)]
            asked = w.let_in(block, moving, partial)
            seen = real if asked is None else real & asked
            for leaf in mine:
                _add_by_entry(w, block, leaf, moving, seen)

        return write

    walk = Block()
    w.walk(walk, step)
    for part in (w.standing.block, walk):
        tile.extend(part)
    w.standing.block = Block()
    every = op("num_programs")(0)
    loops.loop("tile_q", Name("range")(op("program_id")(0), Name("tiles"), every), tile)
    names = ["q", "k", "v", "d_out", *rows]
    doc = "The gradients of tables, by entry."
    return kernel(
        w, "table_gradient", doc, names, ("q", "k", "v", "d_out"), begin, loops, Block(), ("tiles",)
    )


def _add_by_entry(w: Writer, block: Block, leaf: Leaf, moving: Lowering, seen: X) -> None:
    assert isinstance(leaf.node, e.Table)
    entry, inside = moving.entry(leaf.node)
    chosen = block.let("chosen", seen & inside)
    which = block.let("which", op("where")(chosen, entry, NO_ENTRY))
    value = block.let("by_pair", by_leaf(w, moving, leaf, chosen))
    entry = block.let("entry", op("min")(which))
    body = Block()
    at = body.let("at", Name(f"d_leaf{leaf.number}_head") + entry)
    body.let("by_entry", op("sum")(op("where")(which.equal(entry), value, 0.0)))
    body.do(op("store")(at, op("load")(at) + Name("by_entry")))
    body.do(op("debug_barrier")())
    body.let("entry", op("min")(op("where")(which > entry, which, Literal(NO_ENTRY))))
    block.repeat(entry < NO_ENTRY, body)

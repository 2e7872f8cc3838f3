"""Few queries against many keys: programs share a walk, and what they found is merged.

One tile of queries keeps one processor busy, however long the cache. So steps of the walk are dealt
out, step ``t`` to program ``t % splits``: each leaves a softmax over its own keys, and outputs
weighed by the lse add up to that over all (Dao et al., Flash-Decoding, 2023). Where scores are
weights, sums are left, and add up as they are. The queries of all
heads that share a key head stand in one tile where nothing else tells them apart, so that keys are
read once for them all.
"""

from __future__ import annotations

from dataclasses import replace

from attnlang.backends.triton.assemble import kernel, tile_of_queries
from attnlang.backends.triton.form import Form, Kernel, Tiles
from attnlang.backends.triton.forward import (
    divide,
    finish,
    join,
    nothing_seen,
    row_pointers,
    store_rows,
    walk,
)
from attnlang.backends.triton.functions import INT64
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Literal, Name, op
from attnlang.backends.triton.weights import is_softmax, kept_of_rows
from attnlang.backends.triton.writer import LOG2_E, Writer, dims
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, PatternIR

MORE = ("splits", "batches")


def split_forward(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """Each split's own out and lse, one program for each tile of queries."""
    packed = form.packs or (Side.Q in form.closed and not form.apart)
    w = Writer(pattern, attend, form, Side.Q, split=True, packed=packed)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(w, begin)
    begin.let("split", op("program_id")(2))
    w.row(begin)
    names = _parts(w, begin)
    begin.let("part_out_stride_token", Name("DV"))
    begin.let("part_out_stride_head", Name("length_q") * Name("DV"))
    walk(w, begin, loops)
    norm = divide(w, end) if is_softmax(attend) else Name("total")
    w.write(end, "part_out", Side.Q, "DV", Name("result"))
    store_rows(end, w, norm, "part_")
    doc = "What one tile of queries has over every so many steps of its walk."
    pointers = ["q", "k", "v", *names]
    return kernel(w, "split_forward", doc, pointers, ("q", "k", "v"), begin, loops, end, MORE)


def merge(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """out and lse from what the splits found."""
    # Its tiles are queries in their order, whatever the walks' are.
    w = Writer(pattern, attend, replace(form, tiles=Tiles()), Side.Q)
    begin, loops, end, body = Block(), Block(), Block(), Block()
    tile_of_queries(w, begin)
    w.pointers(begin, "out")
    names = row_pointers(w, begin)
    dims(begin, "DV")
    begin.let("place_q", Name("tile_q") * Name("ROWS") + op("arange")(0, Name("ROWS")))
    begin.let("real_q", Name("place_q") < Name("length_q"))
    nothing_seen(w, begin)
    parts = _parts(w, body)
    at, real = Name("place_q"), Name("real_q")
    inside = real[(ALL, NEW)] & (Name("dims_DV") < Name("DV"))[(NEW, ALL)]
    entry = (at * Name("DV"))[(ALL, NEW)] + Name("dims_DV")[(NEW, ALL)]
    value = op("load")(Name("part_out_head") + entry, mask=inside, other=0.0)
    if is_softmax(attend):
        nothing = Literal(float("-inf"))
        norm = op("load")(Name("part_lse_head") + at, mask=real, other=nothing)
        join(body, norm * LOG2_E, value)
    else:
        body.let("result", Name("result") + value)
    if kept_of_rows(attend) == "divisor":
        part = op("load")(Name("part_divisor_head") + at, mask=real, other=0.0)
        body.let("total", Name("total") + part)
    if form.marks:
        met = op("load")(Name("part_met_head") + at, mask=real, other=0)
        body.let("keys", Name("keys") | met)
    loops.loop("split", Name("range")(0, Name("splits")), body)
    finish(w, end)
    doc = "One tile of queries from what all splits have."
    pointers = [*parts, "out", *names]
    return kernel(w, "merge", doc, pointers, ("out",), begin, loops, end, MORE)


def _parts(w: Writer, block: Block) -> list[str]:
    """Pointers into the splits' own out ``[splits, B, H, Nq, Dv]``, lse or divisor and, where it is
    asked for, met ``[splits, B, H, Nq]``, all contiguous. Gives their names."""
    batch = Name("batches").to(INT64) * Name("split") + Name("batch")
    row = block.let("row_of_head", (batch * Name("num_heads") + Name("head")) * Name("length_q"))
    block.let("part_out_head", Name("part_out") + row * Name("DV"))
    kept = (kept_of_rows(w.attend), "met" if w.form.marks else None)
    names = [f"part_{name}" for name in kept if name is not None]
    for name in names:
        block.let(f"{name}_head", Name(name) + row)
    return ["part_out", *names]

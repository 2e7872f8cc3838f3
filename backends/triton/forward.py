"""The forward kernel: online softmax over the tiles a query tile visits.

The running maximum starts at a finite number, so that no step asks whether anything was seen.
"""

from __future__ import annotations

from collections.abc import Callable

from attnlang.backends.triton.functions import FLOAT32, INT32
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Listed, Literal, Name, X, op
from attnlang.backends.triton.writer import (
    LOG2_E,
    LOWEST,
    Form,
    Kernel,
    Writer,
    across,
    dims,
    dot,
    element,
    head_pointer,
    kernel,
    row_pointer,
    tile_of_queries,
)
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, PatternIR


def forward(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """out and lse, one program for each query tile of each head."""
    w = Writer(pattern, attend, form, Side.Q)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(begin)
    w.row(begin)
    for tensor, head in (("q", "head"), ("k", "kv_head"), ("v", "kv_head"), ("out", "head")):
        head_pointer(begin, tensor, Name(head))
    row_pointer(begin, "lse")
    if form.sink:
        row_pointer(begin, "sink")
    if form.marks:
        row_pointer(begin, "met")
    dims(begin)
    w.places(begin, Side.Q, Name("tile_q"))
    begin.let("query", w.read("q", Side.Q, "D"))
    rows = Name("ROWS")
    begin.let("highest", op("full")(Listed((rows,)), LOWEST, FLOAT32))
    begin.let("total", op("zeros")(Listed((rows,)), FLOAT32))
    begin.let("result", op("zeros")(Listed((rows, Name("PADDED_DV"))), FLOAT32))
    if form.marks:
        begin.let("keys", op("zeros")(Listed((rows,)), INT32))

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            w.places(block, Side.K, Name("step"))
            whole = w.whole(partial)
            block.let("key", w.read("k", Side.K, "D", whole=whole))
            moving = w.lowering(block)
            block.let("dots", dot(Name("query"), across(Name("key"))))
            w.score(block, Name("dots"), moving)
            if partial:
                seen = w.seen(block, moving)
                block.let("score", op("where")(seen, Name("score"), Literal(float("-inf"))))
                here: X = op("max")(seen.to(INT32), 1)
            else:
                here = Literal(1)
            if form.marks:
                block.let("keys", Name("keys") | here)
            block.let("higher", op("maximum")(Name("highest"), op("max")(Name("score"), 1)))
            block.let("weight", op("exp2")(Name("score") - Name("higher")[(ALL, NEW)]))
            block.let("fade", op("exp2")(Name("highest") - Name("higher")))
            block.let("total", Name("total") * Name("fade") + op("sum")(Name("weight"), 1))
            block.let("value", w.read("v", Side.K, "DV", whole=whole))
            faded = Name("result") * Name("fade")[(ALL, NEW)]
            weight = Name("weight").to(element("v"))
            product = dot(weight, Name("value"), faded)
            block.let("result", product)
            block.let("highest", Name("higher"))

        return write

    w.walk(loops, step)
    if form.sink:
        at = Name("sink_head") + Name("place_q")
        end.let("sink_log2", op("load")(at, mask=Name("real_q"), other=0.0) * LOG2_E)
        end.let("higher", op("maximum")(Name("highest"), Name("sink_log2")))
        end.let("fade", op("exp2")(Name("highest") - Name("higher")))
        own = op("exp2")(Name("sink_log2") - Name("higher"))
        end.let("total", Name("total") * Name("fade") + own)
        end.let("result", Name("result") * Name("fade")[(ALL, NEW)])
        end.let("highest", Name("higher"))
    end.remark("Rows without keys: output 0, lse -inf.")
    end.let("fed", Name("total") > 0.0)
    end.let("divisor", op("where")(Name("fed"), Name("total"), 1.0))
    w.write(end, "out", Side.Q, "DV", Name("result") / Name("divisor")[(ALL, NEW)])
    natural = (Name("highest") + op("log2")(Name("divisor"))) * (1 / LOG2_E)
    end.let("norm", op("where")(Name("fed"), natural, Literal(float("-inf"))))
    end.do(op("store")(Name("lse_head") + Name("place_q"), Name("norm"), mask=Name("real_q")))
    if form.marks:
        end.do(op("store")(Name("met_head") + Name("place_q"), Name("keys"), mask=Name("real_q")))
    names = ["q", "k", "v", "out", "lse"]
    names += [name for name, there in (("sink", form.sink), ("met", form.marks)) if there]
    tensors = ("q", "k", "v", "out")
    return kernel(
        w, "forward", "Output and lse of one tile of queries.", names, tensors, begin, loops, end
    )

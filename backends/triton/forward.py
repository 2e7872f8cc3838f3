"""The forward kernels: online softmax over the tiles a query tile visits, or plain sums.

The running maximum starts at a finite number, so that no step asks whether anything was seen.

Where values are read by descriptors, a step first multiplies the weights of the step before it with
their values: the product has been asked for before the softmax begins, so that matrix units work
on it meanwhile. Read by pointers, a tile of values takes too many registers for that.
"""

from __future__ import annotations

from collections.abc import Callable

from attnlang.backends.triton.assemble import kernel, tile_of_queries
from attnlang.backends.triton.form import Form, Kernel
from attnlang.backends.triton.functions import FLOAT32, INT32
from attnlang.backends.triton.source.tree import ALL, NEW, Block, Listed, Literal, Name, X, op
from attnlang.backends.triton.weights import add_up, gained, is_softmax, kept_of_rows, let_gain
from attnlang.backends.triton.writer import (
    LOG2_E,
    LOWEST,
    Writer,
    across,
    dims,
    dot,
    dtype,
    row_pointer,
)
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, PatternIR


def forward(pattern: PatternIR, attend: Attend, form: Form) -> Kernel:
    """out and lse, one program for each query tile of each head."""
    w = Writer(pattern, attend, form, Side.Q, packed=form.packs)
    begin, loops, end = Block(), Block(), Block()
    tile_of_queries(w, begin)
    w.row(begin)
    w.pointers(begin, "out")
    names = row_pointers(w, begin)
    walk(w, begin, loops)
    finish(w, end)
    doc = "Output of one tile of queries, and what its weights are divided by."
    pointers = ["q", "k", "v", "out", *names]
    return kernel(w, "forward", doc, pointers, ("q", "k", "v", "out"), begin, loops, end)


def row_pointers(w: Writer, begin: Block) -> list[str]:
    """Of what :func:`finish` reads and writes for each row. Gives their names."""
    given = (
        kept_of_rows(w.attend),
        "sink" if w.form.sink else None,
        "met" if w.form.marks else None,
    )
    names = [name for name in given if name is not None]
    for name in names:
        row_pointer(begin, name)
    return names


def finish(w: Writer, end: Block) -> None:
    """Output and lse or divisor stored, a sink beside what the walk has seen."""
    if w.form.sink:
        at = Name("sink_head") + w.at
        join(end, op("load")(at, mask=Name("real_q"), other=0.0) * LOG2_E, None)
    norm = divide(w, end)
    w.write(end, "out", Side.Q, "DV", Name("result"))
    store_rows(end, w, norm)


def walk(w: Writer, begin: Block, loops: Block) -> None:
    """Names ``highest``, ``total`` and ``result``: of the scores seen in the walk the largest, the
    sum of their exponentials by it, and that of the values they weigh. ``keys``: are there any?
    Where scores are weights there is no ``highest``, and ``total`` is of what divides them."""
    softmax = is_softmax(w.attend)
    w.pointers(begin, "q", "k", "v")
    dims(begin)
    w.places(begin, Side.Q, Name("tile_q"))
    begin.let("query", w.read("q", Side.Q, "D"))
    nothing_seen(w, begin)
    delayed = w.overlaps
    before = [Name(f"before_{i}") for i, _ in enumerate(w.first("v", Side.K))]
    if delayed:
        # Before the first step stand tokens that are not there, whose values read as zeros.
        for i, name in enumerate(before):
            begin.let(name.text, Literal(0) if i else -Name("STEP"))
        begin.let("given", op("zeros")(Listed((Name("ROWS"), Name("STEP"))), dtype("query")))

    def step(partial: bool) -> Callable[[Block], None]:
        def write(block: Block) -> None:
            w.places(block, Side.K, Name("step"))
            whole = w.whole(partial)
            block.let("key", w.read("k", Side.K, "D", whole=whole))
            moving = w.lowering(block)
            block.let("dots", dot(Name("query"), across(Name("key"))))
            if delayed:
                give(block)
                for name, at in zip(before, w.first("v", Side.K), strict=True):
                    block.let(name.text, at)
            w.score(block, Name("dots"), moving)
            seen = w.let_in(block, moving, partial)
            if softmax and seen is not None:
                block.let("score", op("where")(seen, Name("score"), Literal(float("-inf"))))
            if w.form.marks:
                here = op("max")(seen.to(INT32), 1) if seen is not None and partial else Literal(1)
                block.let("keys", Name("keys") | here)
            result: X = Name("result")
            if softmax:
                block.let("higher", op("maximum")(Name("highest"), op("max")(Name("score"), 1)))
                block.let("weight", op("exp2")(Name("score") - Name("higher")[(ALL, NEW)]))
                block.let("fade", op("exp2")(Name("highest") - Name("higher")))
                block.let("total", Name("total") * Name("fade") + op("sum")(Name("weight"), 1))
                result = result * Name("fade")[(ALL, NEW)]
            else:
                add_up(block, w.attend.normaliser, seen)
            let_gain(w, block, moving)
            weight = gained(w, block, seen)
            if delayed:
                block.let("given", weight.to(dtype("query")))
                block.let("result", result)
            else:
                block.let("value", w.read("v", Side.K, "DV", whole=whole))
                block.let("result", dot(weight.to(dtype("value")), Name("value"), result))
            if softmax:
                block.let("highest", Name("higher"))

        return write

    def give(block: Block) -> None:
        """What the weights of the step before give."""
        block.let("value", w.read("v", Side.K, "DV", at=before))
        block.let("result", dot(Name("given"), Name("value"), Name("result")))

    w.walk(loops, step)
    if delayed:
        give(loops)


def nothing_seen(w: Writer, block: Block) -> None:
    rows = Name("ROWS")
    if is_softmax(w.attend):
        block.let("highest", op("full")(Listed((rows,)), LOWEST, FLOAT32))
    if kept_of_rows(w.attend) is not None:
        block.let("total", op("zeros")(Listed((rows,)), FLOAT32))
    block.let("result", op("zeros")(Listed((rows, Name("PADDED_DV"))), FLOAT32))
    if w.form.marks:
        block.let("keys", op("zeros")(Listed((rows,)), INT32))


def join(block: Block, logit: X, value: X | None) -> None:
    """One more logit of every row; value: what it weighs, None for nothing."""
    block.let("logit", logit)
    block.let("higher", op("maximum")(Name("highest"), Name("logit")))
    block.let("fade", op("exp2")(Name("highest") - Name("higher")))
    block.let("weight", op("exp2")(Name("logit") - Name("higher")))
    block.let("total", Name("total") * Name("fade") + Name("weight"))
    result = Name("result") * Name("fade")[(ALL, NEW)]
    if value is not None:
        result = result + value * Name("weight")[(ALL, NEW)]
    block.let("result", result)
    block.let("highest", Name("higher"))


def divide(w: Writer, block: Block) -> X | None:
    """``result`` becomes the mean. Gives the lse or divisor of each row, if there is one."""
    if kept_of_rows(w.attend) is None:
        return None
    if not is_softmax(w.attend):
        block.remark("Where the divisor is 0, so is the output.")
        some = block.let("fed", Name("total").differs(0.0))
        divisor = op("where")(some, Name("total"), float("inf"))
        block.let("result", Name("result") / divisor[(ALL, NEW)])
        return Name("total")
    block.remark("Rows without keys: output 0, lse -inf.")
    block.let("fed", Name("total") > 0.0)
    block.let("divisor", op("where")(Name("fed"), Name("total"), 1.0))
    block.let("result", Name("result") / Name("divisor")[(ALL, NEW)])
    natural = (Name("highest") + op("log2")(Name("divisor"))) * (1 / LOG2_E)
    return block.let("norm", op("where")(Name("fed"), natural, Literal(float("-inf"))))


def store_rows(block: Block, w: Writer, norm: X | None, prefix: str = "") -> None:
    """The lse or divisor of every row and, where it is asked for, whether it has a key."""
    kept = {kept_of_rows(w.attend): norm, "met" if w.form.marks else None: Name("keys")}
    for name, value in ((f"{prefix}{n}", x) for n, x in kept.items() if n is not None):
        block.do(op("store")(Name(f"{name}_head") + w.at, value, mask=Name("real_q")))

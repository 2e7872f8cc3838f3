"""Kernels put together: which tile a program has, and the parameters that its text reads."""

from __future__ import annotations

from attnlang.backends.triton.form import POINTERS, Kernel
from attnlang.backends.triton.source.tree import Block, Function, Name, Parameter, X, names, op
from attnlang.backends.triton.writer import Writer
from attnlang.compiler.ir.expr import Side


def own_tile(w: Writer, block: Block) -> None:
    """Which tile a program stands on. Programs start in the order of their numbers: what takes
    longest is begun with, so that no other waits for it at the end."""
    tile: X = op("program_id")(0)
    if w.rising:
        tile = op("num_programs")(0) - 1 - tile
    block.let(f"tile_{w.fixed}", tile)


def tile_of_queries(w: Writer, block: Block) -> None:
    """Which tile, head and batch element a program of the query walk has."""
    own_tile(w, block)
    if w.packed:
        key_head(block)
        block.let("head", Name("kv_head") * Name("group"))
        return
    block.let("head", Name("first_head") + op("program_id")(1) % Name("launched_heads"))
    block.let("batch", op("program_id")(1) // Name("launched_heads"))
    block.let("kv_head", Name("head") // Name("group"))


def key_head(block: Block) -> None:
    """Which key head and batch element a program has."""
    launched = Name("launched_kv_heads")
    first = Name("first_head") // Name("group")
    block.let("kv_head", first + op("program_id")(1) % launched)
    block.let("batch", op("program_id")(1) // launched)


def kernel(
    w: Writer, name: str, doc: str, pointers: list[str], strided: tuple[str, ...],
    begin: Block, loops: Block, end: Block, more: tuple[str, ...] = (),
) -> Kernel:  # fmt: skip
    """A kernel with those parameters that it reads. more: numbers that it alone is given."""
    for part in (w.scalars.block, w.standing.block, loops, end):
        begin.extend(part)
    numbered = ("offsets", "starts", "stops", "steps", "boxes", "list")
    runs = [f"{kind}_{x}" for kind in ("partial", "full") for x in numbered]
    tables = ["classes", *runs, *(f"{x}_{side}" for x in ("tokens", "strips") for side in Side)]
    tables += ["grain_tokens"]
    strides = [f"{t}_stride_{d}" for t in strided for d in ("batch", "head", "token")]
    extra = tuple(w.used)
    numbers = [
        "scale", "scale_log2", "length_q", "length_k", "rows", "group", "first_head",
        "launched_heads", "launched_kv_heads", "num_heads", *more,
    ]  # fmt: skip
    constants = [
        "D",
        "DV",
        "PADDED_D",
        "PADDED_DV",
        "ROWS",
        "STEP",
        "PARTS",
        "STEPS",
        "WHOLE",
        "GRAIN",
        *(f"{word}_{i}" for word in ("TILE", "EXTENT") for i in range(w.axes)),
        "TILE",
    ]
    numbers = [x for x in numbers if x not in {y.name for y in extra}]
    read = frozenset(names(begin.done()))
    parameters = [*pointers, *tables, *strides, *(x.name for x in extra), *numbers]
    fixed = (*(x.name for x in extra if not isinstance(x, POINTERS)), *numbers)
    function = Function(
        name,
        doc,
        (
            *(Parameter(p) for p in parameters if p in read),
            *(Parameter(c, constant=True) for c in constants if c in read),
        ),
        tuple(x for x in fixed if x in read),
        begin.done(),
    )
    closed = not read & set(tables)
    described = tuple(p for p in pointers if p in read and w.described(p))
    boxed = w.boxed and not closed
    carved = tuple(p for p in described if w.carved(p))
    return Kernel(function, extra, w.fixed is Side.K, closed, w.packed, boxed, described, carved)

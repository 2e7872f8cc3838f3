"""How edited scores become the weights of values, in the forward walk and behind it.

    softmax             exp(score - lse), the lse known after the walk
    sum, count, none    the score itself, over a divisor that is known after the walk

A gain multiplies the weight when all is done: neither lse nor divisor knows of it.
"""

from __future__ import annotations

from attnlang.backends.triton.functions import FLOAT32, masked
from attnlang.backends.triton.learned import Leaf
from attnlang.backends.triton.lowering import Lowering
from attnlang.backends.triton.shares import through_tops
from attnlang.backends.triton.slope import ZERO
from attnlang.backends.triton.source.tree import Block, Literal, Name, X, op
from attnlang.backends.triton.writer import LOG2_E, Writer
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.pattern import Attend, Normaliser
from attnlang.compiler.problem.problem import BoundAttend


def is_softmax(attend: Attend | BoundAttend) -> bool:
    return attend.normaliser is Normaliser.SOFTMAX


def kept_of_rows(attend: Attend) -> str | None:
    """The tensor of what divides the weights of each row, which the backward pass reads."""
    match attend.normaliser:
        case Normaliser.SOFTMAX:
            return "lse"
        case Normaliser.NONE:
            return None
        case _:
            return "divisor"


def add_up(block: Block, how: Normaliser, seen: X | None) -> None:
    """Names ``weight``, the scores of those that attend, and adds to ``total`` what divides."""
    block.let("weight", masked(Name("score"), None, seen))
    if how is Normaliser.SUM:
        block.let("total", Name("total") + op("sum")(Name("weight"), 1))
    if how is Normaliser.COUNT:
        count = Name("STEP") if seen is None else op("sum")(seen.to(FLOAT32), 1)
        block.let("total", Name("total") + count)


def let_gain(w: Writer, block: Block, moving: Lowering) -> None:
    """Names ``gain``, if there is one."""
    if w.attend.gain is not None:
        block.let("gain", moving.matrix(w.attend.gain))


def gained(w: Writer, block: Block, seen: X | None) -> X:
    """What multiplies a value: ``weight`` and its gain."""
    if w.attend.gain is None:
        return Name("weight")
    return block.let("gained", masked(Name("weight"), Name("gain"), seen))


def read_rows(w: Writer, block: Block, *, whole: bool = False) -> None:
    """What is read of each query in the backward pass: ``norm``, its lse in base 2, or ``inverse``,
    one over its divisor, and ``shift``, what its weights' slopes have in common."""

    def read(rows: str, nothing: float) -> X:
        at = Name(rows) + w.at
        if whole:
            return op("load")(at)
        return op("load")(at, mask=Name("real_q"), other=Literal(nothing))

    how = w.attend.normaliser
    if how is Normaliser.SOFTMAX:
        # Where padding stands for a query its vectors are zeros, and so is what any weight gives;
        # but an edited score may be infinite there.
        plain = w.attend.score is None and w.attend.gain is None
        block.let("norm", read("lse_head", 0.0 if plain else float("inf")) * LOG2_E)
    elif how is not Normaliser.NONE:
        divisor = block.let("divided", read("divisor_head", 0.0))
        inverse = 1.0 / op("where")(divisor.differs(0.0), divisor, float("inf"))
        block.let("inverse", inverse)
    if how in (Normaliser.SOFTMAX, Normaliser.SUM):
        block.let("shift", read("delta_head", 0.0))


def weigh(w: Writer, block: Block) -> None:
    """Names ``weight``: the softmax's weights, or the scores over their divisor."""
    match w.attend.normaliser:
        case Normaliser.SOFTMAX:
            weight = op("exp2")(Name("score") - w.along(Side.Q, Name("norm")))
        case Normaliser.NONE:
            weight = Name("score")
        case _:
            weight = Name("score") * w.along(Side.Q, Name("inverse"))
    block.let("weight", weight)


def flow(w: Writer, block: Block) -> None:
    """Names ``flow``, the slope of the loss by the edited score, from ``slope_p``, that by what
    multiplies a value."""
    slope: X = Name("slope_p")
    if w.attend.gain is not None:
        slope = slope * Name("gain")
    match w.attend.normaliser:
        case Normaliser.SOFTMAX:
            slope = Name("weight") * (slope - w.along(Side.Q, Name("shift")))
        case Normaliser.SUM:
            slope = (slope - w.along(Side.Q, Name("shift"))) * w.along(Side.Q, Name("inverse"))
        case Normaliser.COUNT:
            slope = slope * w.along(Side.Q, Name("inverse"))
        case Normaliser.NONE:
            pass
    block.let("flow", slope)


def by_score(w: Writer, moving: Lowering, steep: X | None, seen: X | None) -> X:
    """The slope of the loss by the score before its edit. steep: of the edit by the score."""
    return through_tops(w, moving, masked(Name("flow"), steep, seen), seen)


def by_leaf(w: Writer, moving: Lowering, leaf: Leaf, seen: X | None) -> X:
    """The slope of the loss by what a pair reads of a learned tensor."""
    made = masked(Name("flow"), moving.matrix(leaf.slope), seen)
    if leaf.gain != ZERO:
        alone = Name("weight") * Name("slope_p")
        made = made + masked(alone, moving.matrix(leaf.gain), seen)
    return through_tops(w, moving, made, seen, leaf.node)

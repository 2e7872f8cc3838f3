"""Operations of tensor expressions."""

from __future__ import annotations

from collections.abc import Mapping

from attnlang.compiler.ir.vector import (
    ELEMENTWISE,
    Choose,
    Combine,
    Map,
    Project,
    Vector,
    parts,
)
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.report.steps.cost import Term, term
from attnlang.compiler.report.steps.widths import width_of

EACH = {
    **dict.fromkeys(ELEMENTWISE, 1),
    "softmax": 4,  # largest, exp, sum, division
    "normalize": 3,  # square, sum, division
    "rms_norm": 3,
    "layer_norm": 5,  # sum, difference, and those of rms_norm
    "total": 1,
    "group_mean": 1,
    "rotate": 4,  # two products and a sum, and the cos or the sin of an angle
}
"""Operations for each feature that is read."""
PINV_PRODUCTS = 24
"""Of square matrices: four in each of six steps."""


def operations(
    root: Vector, heads: int, tokens: int, widths: Mapping[str, int], made: BoundProgram
) -> tuple[Term, ...]:
    """Those of every part, for each token and head; numbers beside tensors are left out."""
    rows = (heads, "heads"), (tokens, "tokens")
    each: dict[int, int] = {}  # operations on every feature, by the number of features
    found: list[Term] = []

    def width(x: Vector) -> int:
        return width_of(x, widths, made)

    def every(features: int, operations: int) -> None:
        each[features] = each.get(features, 0) + operations

    for x in parts(root):
        match x:
            case Combine() | Choose():
                every(width(x), 1)
            case Map(function=name, arguments=(first, *_)) if name in EACH:
                every(width(first), EACH[name])
            case Map(function="merge", arguments=arguments):
                every(width(x), 2 * len(arguments))
            case Map(function="pinv"):
                cube = (heads, "heads"), *[(tokens, "tokens")] * 3
                found.append(term("pinv", 2, (PINV_PRODUCTS, "products"), *cube))
            case Project(operand=operand, table=table):
                wide = (width(operand), "features"), (width(x), "rows")
                found.append(term(f"products with {table}", 2, *rows, *wide))
            case _:
                pass
    alike = (term("arithmetic", n, *rows, (w, "features")) for w, n in each.items())
    return (*alike, *found)

"""Slopes of score edits against finite differences."""

from __future__ import annotations

import pytest

import attnlang
from attnlang.backends.triton.slope import slope
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, SymbolName
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import rewrite

EDITS = [
    "s", "-s", "2.0 * s + 1.0", "s * s", "s / 3.0", "1.5 / s", "tanh(s)", "sigmoid(0.5 * s)",
    "erf(s)", "exp(s)", "exp2(s)", "log(s)", "log2(s * s)", "sqrt(s)", "abs(s - 1.0)", "min(s, 0.3)",
    "max(s, 0.3, 2.0 * s)", "clamp(s, 0.0, 0.5)", "s if s > 0.2 else 3.0 * s", "3.0",
    "20.0 * tanh(s / 20.0)", "float(floor(s)) + s",
]  # fmt: skip


def at(x: Expr, score: float) -> float:
    put = rewrite(x, lambda n: e.Float(score) if n == e.Symbol(SymbolName.SCORE) else None)
    found = value_of(put)
    assert found is not None
    return float(found)


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("score", [0.25, 0.7, 1.9])
def test_slope(edit: str, score: float) -> None:
    text = f"pattern p:\n    over n\n    attend where true\n        score {edit}\n"
    written = attnlang.parse(text).ir.groups[0].attend.score or e.Symbol(SymbolName.SCORE)
    step = 1e-6
    expected = (at(written, score + step) - at(written, score - step)) / (2 * step)
    assert at(slope(written), score) == pytest.approx(expected, rel=1e-5, abs=1e-5)

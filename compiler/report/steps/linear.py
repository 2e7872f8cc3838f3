"""Linear attention: what kind of decay, how large a state, how far back it sees."""

from __future__ import annotations

from collections.abc import Iterator

from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import Expr, Side, SymbolName
from attnlang.compiler.ir.horizon import horizon
from attnlang.compiler.ir.pattern import Normaliser
from attnlang.compiler.ir.program import Recurrence
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import rewrite, walk
from attnlang.compiler.ir.vector import CHANNEL
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.problem.steps import BoundStep
from attnlang.compiler.report.steps.costs import Costs
from attnlang.compiler.report.steps.model import DecayKind, Horizon, LinearStep

STATE_BYTES = 4
"""Of an entry of a state: float32."""


def linear(step: BoundStep, owner: Recurrence, made: BoundProgram, costs: Costs) -> LinearStep:
    """A state is ``[features of the key, features of the value]``."""
    wide = costs.widths
    features = _features(owner, made, wide[owner.key])
    by_sum = owner.pattern.groups[0].attend.normaliser is Normaliser.SUM
    by_sum = by_sum or owner.logit is not None
    entries = features * (wide[owner.value] + by_sum)
    # A token is written and read, 2 operations an entry each; the delta rule reads once more.
    each = 2 * entries * (3 if owner.delta is not None else 2)
    cost = costs.linear(owner, step, each, STATE_BYTES * entries)
    return LinearStep(
        name=step.name,
        query=owner.query,
        key=owner.key,
        heads=(step.start, step.stop),
        decay=kind_of_decay(owner),
        delta=owner.delta is not None,
        causal=owner.causal,
        reads=tuple(sorted(_inputs(owner))),
        state=STATE_BYTES * entries,
        forward=sum(x.amount for x in cost.operations or ()),
        horizons=tuple(_horizons(step, owner, made)) if owner.causal else (),
        cost=cost,
    )


def kind_of_decay(owner: Recurrence) -> DecayKind:
    """What the decay varies with."""
    if owner.decay is None:
        return "none" if owner.logit is None else "softmax"
    leaves = list(walk(owner.decay))
    if e.Coord(Side.K, CHANNEL) in leaves:
        return "channel"
    places = (e.Coord, e.Index, e.TokenInput)
    return "token" if any(isinstance(x, places) for x in leaves) else "constant"


def _inputs(owner: Recurrence) -> Iterator[str]:
    """Run-time tensors that it depends on, besides queries, keys and values."""
    attend = owner.pattern.groups[0].attend
    found = {d.name for d in owner.pattern.inputs}
    for x in (owner.decay, owner.delta, owner.logit, attend.where, attend.scale):
        for node in () if x is None else walk(x):
            if isinstance(node, e.TokenInput) or (
                isinstance(node, e.Table) and node.name not in dict(owner.pattern.values)
            ):
                found.add(node.name)
    return iter(found)


def _features(owner: Recurrence, made: BoundProgram, width: int) -> int:
    """Of a key: its own, or those of a polynomial of the score (1, x, products of two)."""
    if owner.logit is not None:
        return 1
    score = owner.pattern.groups[0].attend.score
    if score is None or _is_multiple(made.close(score)):
        return width
    return 1 + width + width * (width + 1) // 2


def _is_multiple(score: Expr) -> bool:
    """Is a polynomial of degree 2 at most only a multiple of s? By its values at -1, 0 and 1."""

    def at(s: float) -> float:
        def put(x: Expr) -> Expr | None:
            return e.Float(s) if x == e.Symbol(SymbolName.SCORE) else None

        return float(value_of(rewrite(score, put)) or 0.0)

    return at(0.0) == 0.0 and at(-1.0) == -at(1.0)


def _horizons(step: BoundStep, owner: Recurrence, made: BoundProgram) -> Iterator[Horizon]:
    """Heads with a constant decay, by how far back they see."""
    if owner.decay is None or kind_of_decay(owner) != "constant":
        return
    found: dict[int, list[int]] = {}
    for head, decay in enumerate(made.by_head(owner.decay, step.heads)):
        if decay is not None and decay < 0:
            found.setdefault(horizon(decay), []).append(step.start + head)
    for tokens, heads in sorted(found.items()):
        yield Horizon(tuple(heads), tokens)

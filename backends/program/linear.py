"""Linear attentions of a program: their numbers, and the engine or the oracle that runs them."""

from __future__ import annotations

from typing import Literal

import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.linear import State, chunkwise
from attnlang.backends.reference.evaluate import Pairs
from attnlang.backends.reference.linear import linear as by_definition
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.expr import GRID, Expr, Side, SymbolName
from attnlang.compiler.ir.pattern import Normaliser, Segment
from attnlang.compiler.ir.program import Recurrence
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import Extent, Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.compiler.sema.linears import CHANNEL

Tensor = torch.Tensor


class Linear:
    """One linear attention of one call, on some heads."""

    def __init__(
        self, bound: BoundProgram, step: Recurrence, space: Space, inputs: Inputs, heads: slice
    ) -> None:
        self.bound, self.step, self.space = bound, step, space
        self.inputs, self.heads = inputs, heads
        self.attend = step.pattern.groups[0].attend

    def run(
        self, q: Tensor, k: Tensor, v: Tensor, scale: float | None, state: State | None,
        backend: str,
    ) -> tuple[Tensor, State]:  # fmt: skip
        """Output ``[B, H, N, V]`` and the state after the last token.

        `reference` goes by the definition, the others by the engine, `triton` with its kernels.
        """
        if q.shape[2] != k.shape[2]:
            raise ArgumentError(
                f"linear attention has a query for each key, not {q.shape[2]} for {k.shape[2]}: "
                "to go on after a prefix, give the state it left"
            )
        decay, delta = self._per_token(self.step.decay, q), self._per_token(self.step.delta, q)
        delta = delta[..., 0] if delta is not None else None
        segments = None
        if self.step.segments is not None:
            segments = self.inputs.tokens[self.step.segments, self.space.side][:, 0]
            segments = segments.expand(q.shape[0], -1)
        factor = self._scale(scale, q)
        by_sum = self.attend.normaliser is Normaliser.SUM
        weights = self._weights()
        if backend == "reference":
            return self._exact(q, k, v, decay, delta, segments, state, factor, weights, by_sum)
        how: Literal["sum", "none"] = "sum" if by_sum else "none"
        plain = weights == (0.0, 1.0, 0.0)
        return chunkwise(
            q,
            k,
            v,
            decay=_narrow(decay, q),
            beta=None if delta is None else delta.expand(q.shape[0], -1, q.shape[2]),
            scale=factor,
            segments=segments,
            initial=state,
            normalise=how,
            causal=self.step.causal,
            weights=None if plain else weights,
            engine="triton" if backend == "triton" else "torch",
        )

    def _exact(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        decay: Tensor | None,
        delta: Tensor | None,
        segments: Tensor | None,
        state: State | None,
        factor: float,
        weights: tuple[float, float, float],
        by_sum: bool,
    ) -> tuple[Tensor, State]:
        dtype = accumulation_dtype(q.dtype)
        heads = q.shape[1]
        wide = [x.to(dtype).repeat_interleave(heads // x.shape[1], 1) for x in (q, k, v)]
        shape = (q.shape[0], heads, q.shape[2])
        a = torch.zeros((*shape, 1), dtype=dtype, device=q.device)
        a = a if decay is None else decay.to(dtype).expand(*shape, -1)
        b = None if delta is None else delta.to(dtype).expand(shape)[..., None]
        first = torch.zeros((q.shape[0], heads, k.shape[3], v.shape[3]), dtype=dtype)
        first = first.to(q.device) if state is None else state.s
        out, last = by_definition(
            wide[0], wide[1], wide[2], a, b, segments, first,
            scale=factor, weights=weights, by_sum=by_sum, causal=self.step.causal,
        )  # fmt: skip
        return out.to(q.dtype), State(last)

    def _per_token(self, x: Expr | None, q: Tensor) -> Tensor | None:
        """``[B or 1, H or 1, N or 1, K or 1]``."""
        if x is None:
            return None
        frame, tokens = self.bound.frame, self.bound.extents(self.space)
        channels = (Extent(Segment(GRID, "grid"), (CHANNEL,), (q.shape[3],), 0, (0,)),)
        problem = Problem(
            frame.pattern, frame.heads, frame.kv_heads, frame.head_dim, tokens, channels, ()
        )
        here = {
            (n, Side.Q): t[:, self.heads] if t.shape[1] > 1 else t
            for (n, s), t in self.inputs.tokens.items()
            if s is self.space.side
        }
        pairs = Pairs(problem, Inputs(here, self.inputs.tables), q.device)
        pairs.head = pairs.head[:, : q.shape[1]]
        found = pairs.value(self.bound.close(x))
        return found.reshape((1,) * (4 - found.dim()) + tuple(found.shape))

    def _scale(self, scale: float | None, q: Tensor) -> float:
        if self.attend.scale is not None:
            return float(self.bound.number(self.attend.scale))
        return scale if scale is not None else float(q.shape[-1]) ** -0.5

    def _weights(self) -> tuple[float, float, float]:
        """Coefficients of the score's polynomial, from its values at three points."""
        if self.attend.score is None:
            return 0.0, 1.0, 0.0
        score = self.bound.close(self.attend.score)

        def at(s: float) -> float:
            def rule(x: Expr) -> Expr | None:
                return e.Float(s) if x == e.Symbol(SymbolName.SCORE) else None

            value = value_of(rewrite(score, rule))
            assert value is not None
            return float(value)

        low, middle, high = at(-1.0), at(0.0), at(1.0)
        return middle, (high - low) / 2, (high + low) / 2 - middle


def _narrow(decay: Tensor | None, q: Tensor) -> Tensor | None:
    """In the engine's shapes: ``[H]`` for constants, ``[B, H, N]``, ``[B, H, N, K]``."""
    if decay is None:
        return None
    if decay.shape[0] == decay.shape[2] == decay.shape[3] == 1:
        return decay[0, :, 0, 0].expand(q.shape[1])
    decay = decay.expand(q.shape[0], q.shape[1], q.shape[2], -1)
    return decay[..., 0] if decay.shape[3] == 1 else decay

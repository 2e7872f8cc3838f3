"""Linear attentions of a program: their numbers, and the engine or the oracle that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.call import Inputs, accumulation_dtype
from attnlang.backends.linear import PrefixState, State, chunkwise, prefix_softmax
from attnlang.backends.program.numbers import per_token
from attnlang.backends.reference.linear import linear as by_definition
from attnlang.backends.reference.linear import prefixes
from attnlang.compiler.ir.expr import Expr, Symbol, SymbolName
from attnlang.compiler.ir.expr import Float as Literally
from attnlang.compiler.ir.pattern import Attend, Normaliser
from attnlang.compiler.ir.program import Recurrence
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.ir.vector import Space
from attnlang.compiler.problem.problem import grid_of
from attnlang.compiler.problem.program import BoundProgram

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class _Numbers:
    """What the clauses say in one call.

    decay, delta, logit: ``[B or 1, H or 1, N or 1, K or 1]``. segments ``[B, N]``. scale, weights:
    of the score and of its polynomial.
    """

    decay: Tensor | None
    delta: Tensor | None
    logit: Tensor | None
    segments: Tensor | None
    scale: float
    weights: tuple[float, float, float]
    by_sum: bool


class Linear:
    """One linear attention of one call, on some heads.

    `reference` goes by the definition, other backends by the engine, `triton` by its kernels.
    """

    def __init__(
        self, bound: BoundProgram, step: Recurrence, space: Space, inputs: Inputs, heads: slice,
        backend: str,
    ) -> None:  # fmt: skip
        self.bound, self.step, self.space = bound, step, space
        self.inputs, self.heads = inputs, heads
        self.attend = step.pattern.groups[0].attend
        self.exact = backend == "reference"
        self.engine: Literal["torch", "triton"] = "triton" if backend == "triton" else "torch"

    def run(
        self, q: Tensor, k: Tensor, v: Tensor, scale: float | None, state: State | None
    ) -> tuple[Tensor, State | None]:
        """Output ``[B, H, N, V]`` and the state after the last token, if there is an order.

        Keys may be more than queries where a state stands for the first of them, and any number
        where nothing depends on the order. Raises ArgumentError.
        """
        n, given = q.shape[2], k.shape[2]
        if n != given and self._unordered():
            return self._across(q, k, v, scale), None
        if n != given and (state is None or n != given - self._first()):
            raise ArgumentError(
                f"linear attention has a query for each key, not {n} for {given}: "
                "to go on after a prefix, give the state it left"
            )
        if state is not None and not self.step.causal:
            raise ArgumentError("linear attention of all pairs has no order to go on in: no state")
        numbers = self._numbers(q, k, scale)
        k, v = k[:, :, given - n :], v[:, :, given - n :]
        if numbers.logit is not None:
            return self._softmax(q, v, numbers.logit, numbers.segments, state)
        run = self._by_definition if self.exact else self._by_engine
        out, left = run(self._scaled(q), k, v, numbers, state)
        return out, left if self.step.causal else None

    def _unordered(self) -> bool:
        """Does every query see one sum of all keys, wherever both stand?"""
        documents = (self.step.segments, self.space.side) in self.inputs.tokens
        return not (self.step.causal or self.step.decay is not None or documents)

    def _across(self, q: Tensor, k: Tensor, v: Tensor, scale: float | None) -> Tensor:
        """Queries of another sequence: as many at a time as there are keys, piece by piece."""
        batch, _, n, _ = q.shape
        pieces = -(-n // k.shape[2])
        q = F.pad(q, (0, 0, 0, pieces * k.shape[2] - n)).unflatten(2, (pieces, -1))
        q = q.transpose(1, 2).flatten(0, 1)
        k, v = (x.repeat_interleave(pieces, 0) for x in (k, v))
        out, _ = self.run(q, k, v, scale, None)
        found: Tensor = out.unflatten(0, (batch, pieces)).transpose(1, 2).flatten(2, 3)[:, :, :n]
        return found

    def _by_engine(
        self, q: Tensor, k: Tensor, v: Tensor, numbers: _Numbers, state: State | None
    ) -> tuple[Tensor, State]:
        how: Literal["sum", "none"] = "sum" if numbers.by_sum else "none"
        plain = numbers.weights == (0.0, 1.0, 0.0)
        delta = numbers.delta
        if state is not None:
            self._check(state, q, k, v, numbers)
        return chunkwise(
            q,
            k,
            v,
            decay=_narrow(numbers.decay, q),
            beta=None if delta is None else delta[..., 0].expand(q.shape[0], -1, q.shape[2]),
            scale=numbers.scale,
            segments=numbers.segments,
            initial=state,
            normalise=how,
            causal=self.step.causal,
            weights=None if plain else numbers.weights,
            engine=self.engine,
            decays=self._known(numbers.decay),
        )

    def _known(self, decay: Tensor | None) -> tuple[float, ...] | None:
        """Constant decays of the pattern itself, one for each of the tensor's heads."""
        if decay is None or self.step.decay is None or decay[0, 0].numel() != 1:
            return None
        given = self.bound.by_head(self.step.decay, self.heads.stop - self.heads.start)
        found = tuple(x for x in given if x is not None)
        return found if len(found) == len(given) else None

    def _by_definition(
        self, q: Tensor, k: Tensor, v: Tensor, numbers: _Numbers, state: State | None
    ) -> tuple[Tensor, State]:
        dtype = accumulation_dtype(q.dtype)
        shape = (q.shape[0], q.shape[1], q.shape[2])
        wide = [x.to(dtype).repeat_interleave(shape[1] // x.shape[1], 1) for x in (q, k, v)]
        a = torch.zeros((*shape, 1), dtype=dtype, device=q.device)
        a = a if numbers.decay is None else numbers.decay.to(dtype).expand(*shape, -1)
        b = None if numbers.delta is None else numbers.delta.to(dtype).expand(*shape, 1)
        first = None
        if state is not None:
            self._check(state, q, k, v, numbers)
            first = state.s if state.z is None else torch.cat([state.s, state.z[..., None]], -1)
        out, last = by_definition(
            wide[0], wide[1], wide[2], a, b, numbers.segments, first, scale=numbers.scale,
            weights=numbers.weights, by_sum=numbers.by_sum, causal=self.step.causal,
        )  # fmt: skip
        left = State(last[..., :-1], last[..., -1]) if numbers.by_sum else State(last)
        return out.to(q.dtype), left

    def _softmax(
        self,
        q: Tensor,
        v: Tensor,
        logit: Tensor,
        segments: Tensor | None,
        state: State | None,
    ) -> tuple[Tensor, State]:
        """Weights that no query changes: a softmax over each prefix."""
        s = logit[..., 0].expand(q.shape[:3]).to(accumulation_dtype(v.dtype))
        first = None
        if state is not None:
            wanted = [*q.shape[:2], 1, v.shape[3]]
            if list(state.s.shape) != wanted or state.z is None or state.top is None:
                name = self.step.pattern.name
                raise ArgumentError(f"the state of `{name}` must be {wanted}, with z and top")
            first = PrefixState(state.top, state.z[..., 0], state.s[..., 0, :])
        if self.exact:
            wide = v.to(accumulation_dtype(v.dtype))
            wide = wide.repeat_interleave(s.shape[1] // v.shape[1], 1)
            before = None if first is None else (first.m, first.u, first.w)
            out, top, u, w = prefixes(s, wide, segments, before)
        else:
            out, left = prefix_softmax(s, v, first, segments=segments, engine=self.engine)
            top, u, w = left.m, left.u, left.w
        return out.to(v.dtype), State(w[..., None, :], u[..., None], top)

    def _check(self, state: State, q: Tensor, k: Tensor, v: Tensor, numbers: _Numbers) -> None:
        """Raises ArgumentError for the state of another attention or another batch."""
        width = k.shape[3]
        if numbers.weights != (0.0, 1.0, 0.0):
            width = 1 + width + width * (width + 1) // 2
        wanted = [q.shape[0], q.shape[1], width, v.shape[3]]
        if list(state.s.shape) != wanted or (state.z is None) == numbers.by_sum:
            raise ArgumentError(
                f"the state of `{self.step.pattern.name}` must be {wanted}"
                f"{' with a sum z' if numbers.by_sum else ''}, not {list(state.s.shape)}"
            )

    def _first(self) -> int:
        """Where the call's first query stands."""
        grid = grid_of(self.bound.frame.q)
        return grid.origin[0]

    def _numbers(self, q: Tensor, k: Tensor, scale: float | None) -> _Numbers:
        n = q.shape[2]
        segments = None
        side = self.space.side
        if self.step.segments is not None:
            found = self.inputs.tokens.get((self.step.segments, side))
            if found is not None:
                _check_order(found, self.step.segments)
                segments = found[:, 0, found.shape[2] - n :].expand(q.shape[0], -1)
        by_sum = self.attend.normaliser is Normaliser.SUM
        own = (self.step.decay, self.step.delta, self.step.logit)
        decay, delta, logit = (self._per_token(x, k, n) for x in own)
        factor, weights = self._scale(scale, q), polynomial_of(self.bound, self.attend)
        return _Numbers(decay, delta, logit, segments, factor, weights, by_sum)

    def _per_token(self, x: Expr | None, k: Tensor, n: int) -> Tensor | None:
        if x is None:
            return None
        found = self._number(x, k.shape[3], k.device)
        return found[:, :, -n:] if found.shape[2] > 1 else found

    def _number(self, x: Expr, width: int, device: torch.device) -> Tensor:
        every = self.bound.frame.heads
        return per_token(x, self.bound, self.space, self.inputs, self.heads, every, width, device)

    def _scale(self, scale: float | None, q: Tensor) -> float:
        """The factor of scores; one that varies with the head is put on the queries."""
        if self.attend.scale is not None:
            known = value_of(self.bound.close(self.attend.scale))
            return 1.0 if known is None else float(known)
        return scale if scale is not None else float(q.shape[-1]) ** -0.5

    def _scaled(self, q: Tensor) -> Tensor:
        x = self.attend.scale
        if x is None or value_of(self.bound.close(x)) is not None:
            return q
        return q * self._number(x, 1, q.device).to(q.dtype)


def polynomial_of(bound: BoundProgram, attend: Attend) -> tuple[float, float, float]:
    """Coefficients of the score's polynomial, from its values at three points."""
    if attend.score is None:
        return 0.0, 1.0, 0.0
    score = bound.close(attend.score)

    def at(s: float) -> float:
        def rule(x: Expr) -> Expr | None:
            return Literally(s) if x == Symbol(SymbolName.SCORE) else None

        value = value_of(rewrite(score, rule))
        assert value is not None
        return float(value)

    low, middle, high = at(-1.0), at(0.0), at(1.0)
    return middle, (high - low) / 2, (high + low) / 2 - middle


def _check_order(doc: Tensor, name: str) -> None:
    """A running sum forgets a document where the next begins. Raises ArgumentError."""
    steps = (doc[..., 1:] >= doc[..., :-1]).all()
    if doc.is_cuda:
        torch._assert_async(steps)
    elif not bool(steps):
        raise ArgumentError(f"input `{name}` is declared `sorted`, but decreases along the tokens")


def _narrow(decay: Tensor | None, q: Tensor) -> Tensor | None:
    """In the engine's shapes: ``[H]`` for constants, ``[B, H, N]``, ``[B, H, N, K]``."""
    if decay is None:
        return None
    if decay.shape[0] == decay.shape[2] == decay.shape[3] == 1:
        return decay[0, :, 0, 0].expand(q.shape[1])
    decay = decay.expand(q.shape[0], q.shape[1], q.shape[2], -1)
    return decay[..., 0] if decay.shape[3] == 1 else decay

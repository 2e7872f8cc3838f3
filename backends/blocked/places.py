"""Score edits and sinks on a batch of tiles: expressions over torch tensors."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch

from attnlang.backends.call import Inputs
from attnlang.compiler.ir import expr as e
from attnlang.compiler.ir.evaluate import ArrayOps, evaluate
from attnlang.compiler.ir.expr import Expr, Kind, Side, SymbolName
from attnlang.compiler.ir.traverse import kind_of, walk
from attnlang.compiler.problem.problem import Problem, grid_of

_NOTHING = {Kind.BOOL: False, Kind.INT: 0, Kind.FLOAT: 0.0}
"""What an absent optional input reads as."""


def _tensor(x: Any, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """A number as a tensor: floats of ``dtype``, for torch's default would round them."""
    if isinstance(x, torch.Tensor):
        return x
    return torch.tensor(x, dtype=dtype if isinstance(x, float) else None, device=device)


def _pair(op: Any, dtype: torch.dtype) -> Any:
    def call(a: Any, b: Any) -> Any:
        device = next(
            (x.device for x in (a, b) if isinstance(x, torch.Tensor)), torch.device("cpu")
        )
        return op(_tensor(a, dtype, device), _tensor(b, dtype, device))

    return call


def _where(dtype: torch.dtype) -> Any:
    def call(c: Any, a: Any, b: Any) -> Any:
        if isinstance(c, bool):
            return a if c else b
        return torch.where(c, _tensor(a, dtype, c.device), _tensor(b, dtype, c.device))

    return call


def _ilog2(x: torch.Tensor) -> torch.Tensor:
    x = x.clamp(min=1)
    found = torch.frexp(x.to(torch.float64)).exponent.to(torch.int64) - 1
    # Beyond 2**53 the float may have been rounded up to the next power.
    return found - (torch.bitwise_left_shift(torch.ones_like(x), found) > x).to(torch.int64)


def _safe_log(f: Any) -> Any:
    return lambda x: torch.where(x > 0, f(torch.where(x > 0, x, 1.0)), -math.inf)


def _safe_sqrt(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, 1.0)), 0.0)


def _pow2(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x < 0, 0, torch.bitwise_left_shift(torch.ones_like(x), x.clamp(0, 62)))


def _lifted(f: Any) -> Any:
    """A function of tensors that takes numbers too."""
    return lambda x: f(_tensor(x, torch.float64, torch.device("cpu")))


def _rounding(f: Any) -> Any:
    return lambda x: f(x).to(torch.int64)


def torch_ops(dtype: torch.dtype) -> ArrayOps:
    """Torch's names for the language's operations; floats are of ``dtype``."""
    functions = {
        name: getattr(torch, name) for name in ("exp", "exp2", "tanh", "sigmoid", "abs", "erf")
    }
    functions |= {"log": _safe_log(torch.log), "log2": _safe_log(torch.log2), "sqrt": _safe_sqrt}
    functions |= {name: _rounding(getattr(torch, name)) for name in ("floor", "ceil", "round")}
    functions |= {"ilog2": _ilog2, "pow2": _pow2}
    functions = {name: _lifted(f) for name, f in functions.items()}
    return ArrayOps(
        minimum=_pair(lambda a, b: torch.where(a < b, a, b), dtype),
        maximum=_pair(lambda a, b: torch.where(a > b, a, b), dtype),
        where=_where(dtype),
        functions=functions,
        to_int=_lifted(lambda x: x.to(torch.int64)),
        to_float=lambda x: x.to(dtype) if isinstance(x, torch.Tensor) else float(x),
    )


def _steps(x: Expr) -> bool:
    """Does ``x`` make an integer or a truth of floats? A rounding error there is a whole step: the
    next bucket of a table, the other branch of a choice."""
    match x:
        case e.Apply(function="floor" | "ceil" | "round" | "int", arguments=(a,)):
            return kind_of(a) is Kind.FLOAT
        case e.Compare(left=a):
            return kind_of(a) is Kind.FLOAT
        case _:
            return False


def may_be_infinite(score: Expr) -> bool:
    """Could a slope of the score be infinite or NaN somewhere, for what gradients are asked of?"""
    for x in walk(score):
        match x:
            case e.Apply(function="exp" | "exp2"):
                if _has_slope(x):
                    return True
            case e.Arith(op="/", right=divisor) if not isinstance(divisor, e.Float):
                if _has_slope(x):
                    return True
            case e.Arith(op="*", left=a, right=b):
                if (_unbounded(a) and _has_slope(b)) or (_unbounded(b) and _has_slope(a)):
                    return True
            case _:
                pass
    return False


def _has_slope(x: Expr) -> bool:
    return any(
        (isinstance(n, e.TokenInput | e.Table) and n.kind is Kind.FLOAT)
        or (isinstance(n, e.Symbol) and n.name is SymbolName.SCORE)
        for n in walk(x)
    )


def _unbounded(x: Expr) -> bool:
    """Does it hold an operation that can overflow, or divide by 0?"""
    return any(
        (isinstance(n, e.Apply) and n.function in ("exp", "exp2", "log", "log2"))
        or (isinstance(n, e.Arith) and n.op == "/" and not isinstance(n.right, e.Float))
        or (isinstance(n, e.Float) and not math.isfinite(n.value))
        for n in walk(x)
    )


def hidden(x: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
    """Zero where nothing attends: an infinite slope there times no gradient would be NaN."""
    return x if seen is None or not x.requires_grad else torch.where(seen, x, 0.0)


class Places:
    """The (batch, head, row, query slot, key slot) grid of one batch of tiles.

    q_tokens ``[rows, q slots]`` and k_tokens ``[rows, key slots]`` are places in the sequences
    (padding: any valid place). Values broadcast to ``[B, H, rows, q slots, key slots]``.
    seen: which slots attend, where gradients must not come from the others. attended: which do
    (None: all), for what is read of a whole row.
    """

    def __init__(
        self,
        problem: Problem,
        inputs: Inputs,
        heads: tuple[int, ...],
        q_tokens: torch.Tensor,
        k_tokens: torch.Tensor,
        dtype: torch.dtype,
        seen: torch.Tensor | None = None,
        attended: torch.Tensor | None = None,
    ) -> None:
        self.attended = attended
        self.problem, self.inputs, self.dtype, self.seen = problem, inputs, dtype, seen
        self.q_tokens, self.k_tokens = q_tokens, k_tokens
        self.device = q_tokens.device
        self.head = torch.tensor(heads, device=self.device).view(1, -1, 1, 1, 1)
        self._ops = torch_ops(dtype)

    def value(self, root: Expr, score: torch.Tensor | None = None) -> Any:
        """The value of an expression; ``s`` is ``score``."""

        def leaf(x: Expr) -> Any:
            match x:
                case e.Symbol(name=SymbolName.SCORE):
                    return score if score is None else hidden(score, self.seen)
                case e.Symbol(name=SymbolName.HEAD):
                    return self.head
                case e.Symbol(name=SymbolName.KV_HEAD):
                    return self.head // (self.problem.heads // self.problem.kv_heads)
                case e.Coord(side=side, axis=axis):
                    return self._lay(side, self._coordinate(side, axis))
                case e.Index(side=side):
                    return self._lay(side, self._tokens(side))
                case e.InSegment(side=side, segment=name):
                    extent = next(t for t in self.problem.extents(side) if t.segment.name == name)
                    tokens = self._tokens(side)
                    return self._lay(side, (tokens >= extent.start) & (tokens < extent.stop))
                case e.TokenInput():
                    return self._token_input(x)
                case e.Table(indices=indices):
                    return self._table(x, [self.value(i, score) for i in indices])
                case _:
                    raise AssertionError(f"{x} has no value here")

        def special(x: Expr) -> Any:
            if isinstance(x, e.Apply) and x.function == "row_max":
                return self._row_max(x.arguments[0], score)
            if self.dtype is not torch.float64 and _steps(x):
                return self._in_double().value(x, score)
            if self.seen is None or not isinstance(x, e.Select):
                return None
            chosen = self.value(x.condition, score)
            if isinstance(chosen, bool):
                return self.value(x.then if chosen else x.otherwise, score)
            branches = ((chosen, x.then), (~chosen, x.otherwise))
            values = [self._where_seen(here).value(branch, score) for here, branch in branches]
            return self._ops.where(chosen, *values)

        return evaluate(root, leaf, self._ops, special)

    def _row_max(self, x: Expr, score: torch.Tensor | None) -> Any:
        """Over the slots of a row that attend: a batch of tiles has every key of its queries."""
        values = torch.as_tensor(self.value(x, score), device=self.device)
        if self.attended is not None:
            values = torch.where(self.attended, values, -torch.inf)
        top = values.amax(-1, keepdim=True)
        return torch.where(top.isinf(), 0.0, top)

    def _in_double(self) -> Places:
        """The same places, with floats of the precision that the language gives them."""
        made = copy.copy(self)
        made.dtype, made._ops = torch.float64, torch_ops(torch.float64)
        return made

    def _where_seen(self, here: torch.Tensor) -> Places:
        """The same places, of which those in ``here`` count."""
        assert self.seen is not None
        made = copy.copy(self)
        made.seen = self.seen & here
        return made

    def _tokens(self, side: Side) -> torch.Tensor:
        return self.q_tokens if side is Side.Q else self.k_tokens

    def _lay(self, side: Side, values: torch.Tensor) -> torch.Tensor:
        """``[..., rows, slots]`` as ``[..., rows, M, 1]`` or ``[..., rows, 1, N]``."""
        return values.unsqueeze(-1) if side is Side.Q else values.unsqueeze(-2)

    def _coordinate(self, side: Side, axis: str) -> torch.Tensor:
        extent = next(t for t in self.problem.extents(side) if axis in t.axes)
        i = extent.axes.index(axis)
        inner = max(math.prod(extent.lengths[i + 1 :]), 1)
        flat = self._tokens(side) - extent.start
        # Tokens of other segments get some coordinate: the checker proved that none looks at it.
        return flat // inner % max(extent.lengths[i], 1) + extent.origin[i]

    def _token_input(self, x: e.TokenInput) -> Any:
        given = self.inputs.tokens.get((x.name, x.side))
        if given is None:
            return _NOTHING[x.kind]
        grid = grid_of(self.problem.extents(x.side))
        places = (self._tokens(x.side) - grid.start).clamp(0, max(grid.size - 1, 0))
        values = given[:, :, places]
        if values.shape[1] > 1:
            values = values[:, self.head.view(-1)]
        values = values.to(self.dtype) if x.kind is Kind.FLOAT else values
        return hidden(self._lay(x.side, values), self.seen)

    def _table(self, x: e.Table, indices: list[Any]) -> Any:
        constant = dict(self.problem.pattern.values).get(x.name)
        if isinstance(constant, tuple):
            entries = constant * self.problem.heads if len(constant) == 1 else constant
            dtype = self.dtype if x.kind is Kind.FLOAT else None
            table = torch.tensor(entries, dtype=dtype, device=self.device)[None]
        elif x.name in self.inputs.tables:
            table = self.inputs.tables[x.name]
        else:
            return _NOTHING[x.kind]
        if 0 in table.shape:
            return _NOTHING[x.kind]
        inside: Any = torch.ones((), dtype=torch.bool, device=self.device)
        clipped = []
        for index, size in zip(indices, table.shape[1:], strict=True):
            index = torch.as_tensor(index, device=self.device)
            inside = inside & (index >= 0) & (index < size)
            clipped.append(index.clamp(0, max(size - 1, 0)))
        batch = torch.arange(table.shape[0], device=self.device).view(-1, 1, 1, 1, 1)
        read = table[(batch, *clipped)]
        read = read.to(self.dtype) if x.kind is Kind.FLOAT else read
        read = torch.where(inside, read, torch.zeros((), dtype=read.dtype, device=self.device))
        return hidden(read, self.seen)

"""Checking a call's tensors before anything is launched: every mistake names its argument."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping

import torch

from attnlang.backends.call import Inputs
from attnlang.compiler.diagnostics.model import AttnlangError
from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import Expr, Kind, Length, Side
from attnlang.compiler.ir.pattern import EmptyRule, InputDecl, PatternIR
from attnlang.compiler.ir.scalar import value_of
from attnlang.compiler.ir.text import input_type
from attnlang.compiler.ir.values import substitute_values
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Extent, Problem, grid_of

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class ArgumentError(AttnlangError, ValueError):
    """An argument of a call does not fit: the message names it and says what was expected."""


def check_tensors(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> None:
    """Shapes, dtypes and devices of q, k and v. Raises ArgumentError."""
    for name, x in (("q", q), ("k", k), ("v", v)):
        if not isinstance(x, torch.Tensor):
            raise ArgumentError(f"{name} must be a tensor, not {type(x).__name__}")
        if x.dim() != 4:
            raise ArgumentError(
                f"{name} must have 4 dimensions [batch, heads, tokens, head_dim], "
                f"not {x.dim()}: {_shape(x)}"
            )
        if x.dtype not in FLOATS:
            raise ArgumentError(
                f"{name} must be float16, bfloat16, float32 or float64, not {x.dtype}"
            )
        if x.device != q.device:
            raise ArgumentError(f"{name} is on {x.device}, but q is on {q.device}")
        if x.dtype != q.dtype:
            raise ArgumentError(f"{name} is {x.dtype}, but q is {q.dtype}")
    if k.shape[:3] != v.shape[:3]:
        raise ArgumentError(
            f"k and v must agree in batch, heads and tokens: k is {_shape(k)}, v is {_shape(v)}"
        )
    if q.shape[0] != k.shape[0]:
        raise ArgumentError(f"q has batch {q.shape[0]}, k and v have batch {k.shape[0]}")
    if q.shape[3] != k.shape[3]:
        raise ArgumentError(f"q has head_dim {q.shape[3]}, k has {k.shape[3]}")
    if k.shape[1] == 0 or q.shape[1] % k.shape[1]:
        raise ArgumentError(
            f"the heads of q ({q.shape[1]}) must be a multiple of those of k and v ({k.shape[1]})"
        )


def whole_sizes(sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Given lengths as plain integers. Raises ArgumentError for anything else."""
    found: dict[str, int] = {}
    if sizes is None:
        return found
    if not isinstance(sizes, Mapping):
        raise ArgumentError(f"sizes must map names to lengths, not be {type(sizes).__name__}")
    for name, size in sizes.items():
        try:
            found[name] = operator.index(size)
        except TypeError:
            raise ArgumentError(f"sizes: {name!r} must be a whole number, not {size!r}") from None
    return found


def infer_sizes(
    pattern: PatternIR, sizes: Mapping[str, int] | None, n_q: int, n_k: int
) -> dict[str, int]:
    """Axis lengths from the tensors where one axis is all there is; ``sizes`` otherwise."""
    given = dict(sizes or {})
    for side, tokens in ((Side.Q, n_q), (Side.K, n_k)):
        segments = pattern.segments_of(side)
        unknown: list[str] = []
        rest = tokens
        for segment in segments:
            names = pattern.axes(side) if segment.is_grid else (segment.name,)
            lengths = [given.get(f"{side}.{n}", given.get(n)) for n in names]
            if not segment.is_grid and lengths == [None] and segment.size is not None:
                fixed = value_of(substitute_values(segment.size, pattern), _known(pattern, given))
                lengths = [None if fixed is None else int(fixed)]
            missing = [n for n, size in zip(names, lengths, strict=True) if size is None]
            if missing:
                unknown.extend(missing)
                if len(names) > 1:
                    unknown.append("")  # part of a grid: one number cannot tell its shape
            else:
                size = 1
                for length in lengths:
                    size *= length or 0
                rest -= size
        if len(unknown) == 1:
            if rest < 0:
                raise ArgumentError(f"{side} has {tokens} tokens, fewer than the sizes given need")
            given[f"{side}.{unknown[0]}"] = rest
        elif unknown:
            names_text = ", ".join(f'"{n}": ...' for n in unknown if n)
            raise ArgumentError(
                f"{side} has {tokens} tokens in an unknown arrangement: give sizes={{{names_text}}}"
            )
    return given


def _known(pattern: PatternIR, given: Mapping[str, int]) -> dict[Expr, int]:
    """The lengths of axes so far, as segments' sizes read them."""
    return {
        Length(side, axis): given[key]
        for side in (Side.Q, Side.K)
        for axis in pattern.axes(side)
        for key in (axis, f"{side}.{axis}")
        if key in given
    }


def check_sizes(problem: Problem, n_q: int, n_k: int) -> None:
    """The sizes of the problem account for every token. Raises ArgumentError."""
    for name, tokens, needed in (("q", n_q, problem.q_len), ("k and v", n_k, problem.k_len)):
        if tokens != needed:
            side = problem.q if name == "q" else problem.k
            parts = " + ".join(_extent(x) for x in side)
            raise ArgumentError(f"{name} must have {needed} tokens ({parts}), not {tokens}")


def check_empty_rule(problem: Problem, q: torch.Tensor, v: torch.Tensor) -> None:
    """Passing queries through needs values as wide as queries. Raises ArgumentError."""
    if q.shape[3] != v.shape[3] and any(
        g.attend.empty is EmptyRule.PASSTHROUGH for g in problem.groups
    ):
        raise ArgumentError(
            f"`empty passthrough` gives queries (head_dim {q.shape[3]}) for outputs: "
            f"v must have as many, not {v.shape[3]}"
        )


def check_inputs(
    problem: Problem,
    given: Mapping[str, object],
    batch: int,
    device: torch.device,
    needed: Collection[str] | None = None,
) -> Inputs:
    """Run-time tensors as backends read them. Raises ArgumentError, PatternError (AL407, AL412).

    needed: the inputs that may not be missing; None: all that are not optional.
    """
    pattern = problem.pattern
    declared = {i.name: i for i in pattern.inputs}
    for name in given:
        if name not in declared:
            raise failure(
                "AL412", None, pattern=pattern.name, name=name, help=did_you_mean(name, declared)
            )
    tokens: dict[tuple[str, Side], torch.Tensor] = {}
    tables: dict[str, torch.Tensor] = {}
    for name, decl in declared.items():
        value = given.get(name)
        if value is None:
            if not decl.optional and (needed is None or name in needed):
                raise failure(
                    "AL407",
                    decl.span,
                    "declared here",
                    pattern=pattern.name,
                    name=name,
                    type=input_type(decl),
                )
            continue
        if not decl.sides:
            tables[name] = _fit(decl, value, None, problem, batch, device)
            continue
        pair = value if isinstance(value, tuple) else (value,) * 2
        if len(pair) != 2:
            raise ArgumentError(
                f"input `{name}` of pattern `{pattern.name}` must be one tensor or a pair "
                f"(for_q, for_k), not {len(pair)} values"
            )
        for side, one in zip((Side.Q, Side.K), pair, strict=True):
            if side in decl.sides:
                tokens[name, side] = _tokens(decl, one, side, problem, batch, device)
    return Inputs(tokens, tables)


def _tokens(
    decl: InputDecl, value: object, side: Side, problem: Problem, batch: int, device: torch.device
) -> torch.Tensor:
    fitted = _fit(decl, value, side, problem, batch, device)
    grid = grid_of(problem.extents(side))
    if "head" in decl.dims:
        fitted = fitted.movedim([d for d in decl.dims if d != "batch"].index("head") + 1, 1)
    else:
        fitted = fitted.unsqueeze(1)
    return fitted.reshape(fitted.shape[0], fitted.shape[1], grid.size)


def _fit(
    decl: InputDecl,
    value: object,
    side: Side | None,
    problem: Problem,
    batch: int,
    device: torch.device,
) -> torch.Tensor:
    """The tensor with a leading batch dimension, its kind and every dimension checked."""
    what = f"`{decl.name}` of pattern `{problem.pattern.name}`"
    try:
        x = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise ArgumentError(f"input {what} must be a tensor, not {type(value).__name__}") from None
    if x.device != device:
        if isinstance(value, torch.Tensor):
            raise ArgumentError(f"input {what} is on {x.device}, but q is on {device}")
        x = x.to(device)
    kinds = {
        Kind.BOOL: x.dtype is torch.bool,
        Kind.FLOAT: x.is_floating_point(),
        Kind.INT: not x.is_floating_point() and not x.is_complex() and x.dtype is not torch.bool,
    }
    if not kinds[decl.kind]:
        raise ArgumentError(
            f"input {what} must hold {decl.kind} values ({input_type(decl)}), not {x.dtype}"
        )
    expected = input_shape(decl, side, problem, batch)
    shape = tuple(x.shape)
    by_batch = decl.dims[:1] == ("batch",)
    fits = len(shape) == len(expected) and all(
        n == m or (i == 0 and by_batch and n == 1)
        for i, (n, m) in enumerate(zip(shape, expected, strict=True))
    )
    if not fits:
        hint = ""
        if side is not None and problem.q_len != problem.k_len:
            hint = "; queries and keys differ in length: give a pair (for_q, for_k)"
        raise ArgumentError(
            f"input {what} must have shape {expected} ({input_type(decl)}), not {list(shape)}{hint}"
        )
    if decl.nonpositive and x.numel():
        if x.is_cuda:
            torch._assert_async((x <= 0).all())
        elif not bool((x <= 0).all()):
            raise ArgumentError(f"input {what} must hold no value above 0: it has {float(x.max())}")
    if decl.kind is Kind.INT:
        x = x.to(torch.int64)
    return x if by_batch else x.unsqueeze(0)


def _shape(x: torch.Tensor) -> str:
    return "[" + ", ".join(map(str, x.shape)) + "]"


def _extent(x: Extent) -> str:
    text = "×".join(f"{a} {n}" for a, n in zip(x.axes, x.lengths, strict=True))
    return text

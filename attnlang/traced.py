"""The op as one node of a traced graph: for torch.compile and torch.export.

A tracer cannot look into planning, so it sees a single custom operator. The operator carries the
whole program as text; whoever runs the graph needs attnlang and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch

from attnlang.backends.recording import recording

if TYPE_CHECKING:
    from attnlang.op import AttentionOp
    from attnlang.pattern import Pattern


def program_of(pattern: Pattern, backend: str) -> str:
    """A pattern with its parameters and backend as text."""
    return json.dumps([pattern.text, pattern.name, pattern.params, backend])


@lru_cache(maxsize=64)
def _op(program: str) -> AttentionOp:
    from attnlang.compiler.check import check_pattern, open_module
    from attnlang.compiler.source import Source
    from attnlang.pattern import Pattern

    text, name, params, backend = json.loads(program)
    module = open_module(Source("<traced>", text))
    values: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in params.items()}
    return Pattern(module, check_pattern(module, name, values)).compile(backend)


@torch.library.custom_op("attnlang::attend", mutates_args=())
def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    inputs: list[torch.Tensor],
    names: str,
    program: str,
    sizes: list[int],
    scale: float | None,
    q_offset: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output and lse. names: ``inputs;sizes``, each joined by commas."""
    with torch.no_grad():
        out, lse = _run(q, k, v, inputs, names, program, sizes, scale, q_offset)
    return out.clone() if any(out is x for x in (q, k, v)) else out, lse


def _run(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    inputs: list[torch.Tensor],
    names: str,
    program: str,
    sizes: list[int],
    scale: float | None,
    q_offset: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    input_names, size_names = ([n for n in part.split(",") if n] for part in names.split(";"))
    lengths = dict(zip(size_names, sizes, strict=True)) or None
    given = dict(zip(input_names, inputs, strict=True))
    out, lse = _op(program).pair(q, k, v, lengths, scale, q_offset, True, given)
    return out, out.new_zeros(out.shape[:3], dtype=_wide(q)) if lse is None else lse


def _wide(q: torch.Tensor) -> torch.dtype:
    return q.dtype if q.dtype is torch.float64 else torch.float32


@attend.register_fake
def _(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *rest: Any) -> tuple[Any, Any]:
    out = q.new_empty((q.shape[0], q.shape[1], q.shape[2], v.shape[3]))
    return out, q.new_empty((q.shape[0], q.shape[1], q.shape[2]), dtype=_wide(q))


@torch.library.custom_op("attnlang::attend_backward", mutates_args=())
def attend_backward(
    d_out: torch.Tensor,
    d_lse: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    inputs: list[torch.Tensor],
    learned: list[int],
    names: str,
    program: str,
    sizes: list[int],
    scale: float | None,
    q_offset: int,
) -> list[torch.Tensor]:
    """Gradients of q, k, v and of the inputs counted in ``learned``. The forward pass runs again:
    a node of a graph has no place to keep what only its backend knows."""
    one, two, three = (x.detach().requires_grad_() for x in (q, k, v))
    given = [x.detach() for x in inputs]
    for i in learned:
        given[i] = given[i].requires_grad_()
    wanted = [one, two, three, *(given[i] for i in learned)]
    with recording():
        out, lse = _run(one, two, three, given, names, program, sizes, scale, q_offset)
        # A row without keys has an lse of -inf, which has no slope.
        d_lse = torch.where(lse.isinf(), 0.0, d_lse)
        ends = [(x, d) for x, d in ((out, d_out), (lse, d_lse)) if x.requires_grad]
        outputs, slopes = zip(*ends, strict=True)
        grads = torch.autograd.grad(outputs, wanted, slopes, allow_unused=True)
    pairs = zip(grads, wanted, strict=True)
    return [torch.zeros_like(x) if g is None else g.contiguous() for g, x in pairs]


@attend_backward.register_fake
def _(
    d_out: torch.Tensor,
    d_lse: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    inputs: list[torch.Tensor],
    learned: list[int],
    *rest: Any,
) -> list[torch.Tensor]:
    return [x.new_empty(x.shape) for x in (q, k, v, *(inputs[i] for i in learned))]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    q, k, v, given, *rest = inputs
    ctx.save_for_backward(q, k, v, *given)
    ctx.learned = [i for i, x in enumerate(given) if x.requires_grad]
    ctx.rest = rest


def _backward(ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor) -> tuple[Any, ...]:
    q, k, v, *given = ctx.saved_tensors
    grads = attend_backward(d_out, d_lse, q, k, v, given, ctx.learned, *ctx.rest)
    by_input: list[torch.Tensor | None] = [None] * len(given)
    for i, grad in zip(ctx.learned, grads[3:], strict=True):
        by_input[i] = grad
    rest = ([None] * len(x) if isinstance(x, list) else None for x in ctx.rest)
    return (*grads[:3], by_input, *rest)


attend.register_autograd(_backward, setup_context=_keep)


def traced(
    program: str,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    sizes: Mapping[str, int] | None,
    scale: float | None,
    q_offset: int,
    inputs: Mapping[str, Any],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The call as one node."""
    sizes = dict(sizes or {})
    names = ",".join(inputs) + ";" + ",".join(sizes)
    out, lse = attend(
        q, k, v, list(inputs.values()), names, program, list(sizes.values()), scale, q_offset
    )
    return out, lse

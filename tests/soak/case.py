"""One call that can be drawn again from what a file says, and what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

import attnlang
from attnlang.compiler.ir.expr import Kind, Side
from attnlang.compiler.ir.pattern import InputDecl, Normaliser
from attnlang.compiler.problem.inputs import input_shape
from attnlang.compiler.problem.problem import Problem
from tests.backends.calls import AttentionCall

Tensor = torch.Tensor
TOLERANCE = {"float64": 1e-9, "float32": 5e-4, "float16": 5e-2, "bfloat16": 3e-1}
"""Of outputs, lse and gradients, relative to the largest value where that is above 1."""
LARGEST = 100.0
"""Beyond it, half precision is not asked for: edits of scores may grow as they like."""
MARK = "# soak: "


@dataclass(frozen=True)
class Case:
    """seed: of every tensor. Sizes and the rest as an op takes them."""

    text: str
    sizes: Mapping[str, int]
    heads: int
    kv_heads: int
    batch: int
    width: int
    value_width: int
    dtype: str
    backend: str
    seed: int
    q_offset: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)

    def file(self, failure: Failure) -> str:
        """A `.attn` file that says how it failed, and that :func:`read` reads."""
        call = {name: value for name, value in asdict(self).items() if name != "text"}
        return f"# {failure}\n# Again: python -m tests.soak FILE\n{MARK}{json.dumps(call)}\n\n{self.text}"


@dataclass(frozen=True)
class Failure:
    """what: the exception's name, or the tensor that differs; more: the rest, for people."""

    kind: str
    what: str
    more: str = ""

    def same(self, other: Failure | None) -> bool:
        return other is not None and (self.kind, self.what) == (other.kind, other.what)

    def __str__(self) -> str:
        return f"{self.kind} {self.what}: {self.more}"


def read(text: str) -> Case:
    """The case of a file that the soak wrote."""
    call = re.search(rf"^{MARK}(.*)$", text, re.MULTILINE)
    assert call, f"no line `{MARK}...`"
    return Case(text=re.sub(r"^#.*\n+", "", text, flags=re.MULTILINE), **json.loads(call[1]))


def drawn(call: AttentionCall, dtype: str, backend: str, seed: int) -> Case:
    """A random call of the other tests; its tensors are drawn anew."""
    batch, heads, _, width = call.q.shape
    return Case(
        call.text, dict(call.sizes), heads, call.k.shape[1], batch, width, call.v.shape[3],
        dtype, backend, seed, call.q_offset, dict(call.params),
    )  # fmt: skip


def wrong(case: Case) -> Failure | None:
    """What is wrong: an error that nobody promised, or a difference to the reference in float64.

    What the language refuses is refused by all; what a backend refuses is not asked of it.
    """
    try:
        pattern = attnlang.parse(case.text, **case.params)
        op = pattern.compile(case.backend)
        problem = pattern.problem(
            case.sizes, case.heads, kv_heads=case.kv_heads, head_dim=case.width,
            q_offset=case.q_offset,
        )  # fmt: skip
    except (attnlang.PatternError, attnlang.Unsupported):
        return None
    try:
        dtype: torch.dtype = getattr(torch, case.dtype)
        leaves, inputs = tensors(case, pattern, problem, dtype)
        expected = results(case, pattern.compile("reference"), *doubled(leaves, inputs))
        if dtype.itemsize == 2 and largest(expected) > LARGEST:
            return None
        found = results(case, op, leaves, inputs)
    except (attnlang.PatternError, attnlang.Unsupported):
        return None
    except Exception as error:
        return Failure("raises", type(error).__name__, str(error).strip().partition("\n")[0][:120])
    for name, value in found.items():
        off = distance(value, expected[name])
        if off > TOLERANCE[case.dtype]:
            return Failure("differs in", name, f"by {off:.2g}")
    return None


def tensors(
    case: Case, pattern: attnlang.Pattern, problem: Problem, dtype: torch.dtype
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """q, k, v, and the run-time tensors by name."""
    generator = torch.Generator().manual_seed(case.seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(dtype).requires_grad_()

    def given(decl: InputDecl) -> Tensor:
        shape = input_shape(decl, Side.Q if decl.sides else None, problem, case.batch)
        match decl.kind:
            case Kind.FLOAT:
                return normal(*shape)
            case Kind.INT:
                made = torch.randint(0, 4, shape, generator=generator)
                return made.flatten(1).sort().values.view(shape) if decl.sorted else made
            case Kind.BOOL:
                return torch.randint(0, 2, shape, generator=generator) > 0

    q = normal(case.batch, case.heads, problem.q_len, case.width)
    k = normal(case.batch, case.kv_heads, problem.k_len, case.width)
    v = normal(case.batch, case.kv_heads, problem.k_len, case.value_width)
    return (q, k, v), {decl.name: given(decl) for decl in pattern.ir.inputs}


def doubled(
    leaves: tuple[Tensor, ...], inputs: Mapping[str, Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """The same numbers in float64."""

    def double(x: Tensor) -> Tensor:
        return x.detach().double().requires_grad_() if x.is_floating_point() else x

    return tuple(map(double, leaves)), {name: double(x) for name, x in inputs.items()}


def results(
    case: Case, op: Any, leaves: tuple[Tensor, ...], inputs: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Output, lse if there is one, and the gradients of a loss that weighs every entry
    differently."""
    softmax = all(g.attend.normaliser is Normaliser.SOFTMAX for g in op.pattern.ir.groups)
    found = op(*leaves, case.sizes, return_lse=softmax, q_offset=case.q_offset, **inputs)
    out, lse = found if softmax else (found, None)
    weights = torch.linspace(-1, 1, max(out.numel(), 1))[: out.numel()].view_as(out).to(out.dtype)
    floats = {n: x for n, x in inputs.items() if x.is_floating_point()}
    wanted = dict(zip("qkv", leaves, strict=True)) | floats
    grads = torch.autograd.grad((out * weights).sum(), list(wanted.values()), allow_unused=True)
    slopes = {
        f"d{name}": torch.zeros_like(x) if g is None else g
        for (name, x), g in zip(wanted.items(), grads, strict=True)
    }
    return {"out": out, **({} if lse is None else {"lse": lse}), **slopes}


def largest(found: Mapping[str, Tensor]) -> float:
    values = [x.detach().nan_to_num(0, 0, 0).abs() for x in found.values() if x.numel()]
    return max((float(x.max()) for x in values), default=0.0)


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value from 1; infinite where only one is."""
    x, y = found.detach().double(), expected.detach().double()
    finite = y.isfinite()
    if not torch.equal(x.isfinite(), finite) or not torch.equal(x[~finite], y[~finite]):
        return math.inf
    if not finite.any():
        return 0.0
    return float((x - y)[finite].abs().max() / y[finite].abs().max().clamp_min(1.0))

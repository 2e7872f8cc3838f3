"""Random calls: a pattern with score edits, sinks and rules for empty rows, and tensors for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from hypothesis import strategies as st

import attnlang
from tests.strategies import Program, programs

RULES = ("zero", "self", "full", "passthrough")
FEATURES = 17
"""Entries of the bias table that random programs read."""


@dataclass(frozen=True)
class AttentionCall:
    """A pattern with everything it is called with."""

    text: str
    sizes: Mapping[str, int]
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    inputs: Mapping[str, Any]
    q_offset: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def leaves(self) -> tuple[torch.Tensor, ...]:
        """Every tensor that gradients are asked of."""
        given = (x for x in self.inputs.values() if isinstance(x, torch.Tensor))
        return (self.q, self.k, self.v, *(x for x in given if x.is_floating_point()))

    @property
    def has_lse(self) -> bool:
        return "normalise" not in self.text

    def run(self, backend: str, *, lse: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
        op = attnlang.parse(self.text, **self.params).compile(backend)
        found = op(
            self.q,
            self.k,
            self.v,
            self.sizes,
            return_lse=lse,
            q_offset=self.q_offset,
            **self.inputs,
        )
        return found if lse else (found, None)

    def gradients(self, backend: str, *, lse: bool) -> list[torch.Tensor]:
        """Output, lse, and the gradients of a loss that weighs every entry differently."""
        out, norm = self.run(backend, lse=lse)
        loss = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
        made = [out]
        if norm is not None:
            made.append(norm)
            # Rows without any key have an lse of -inf, which has no slope.
            finite = torch.where(norm.isinf(), 0.0, norm)
            loss = loss + (finite * torch.linspace(-1, 1, norm.numel()).view_as(norm)).sum()
        leaves = [x for x in self.leaves if x.requires_grad]
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        zeros = (
            torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)
        )
        return [*made, *zeros]

    def __repr__(self) -> str:
        shapes = {n: tuple(x.shape) for n, x in zip("qkv", (self.q, self.k, self.v), strict=True)}
        return f"{shapes} {self.sizes} offset {self.q_offset} {self.inputs}\n{self.text}"


def check(call: AttentionCall) -> None:
    """`blocked` computes what `reference` does, with and without the lse, forward and backward."""
    for lse in (True, False) if call.has_lse else (False,):
        expected, found = (call.gradients(b, lse=lse) for b in ("reference", "blocked"))
        for a, b in zip(expected, found, strict=True):
            assert not b.isnan().any()
            assert b.dtype == a.dtype
            scale = max(1.0, float(a.detach().nan_to_num(0, 0, 0).abs().amax()))
            torch.testing.assert_close(b, a, atol=1e-10 * scale, rtol=0)
    with torch.no_grad():
        runs = (call.run(x, lse=call.has_lse) for x in ("reference", "blocked"))
        for a, b in zip(*runs, strict=True):
            torch.testing.assert_close(b, a, atol=1e-9, rtol=0)


def options(draw: st.DrawFn, grid_only: bool) -> tuple[list[str], list[str]]:
    """Clauses of an `attend`, and the inputs they read."""
    distance = "clamp(q.index - k.index + 8, 0, 16)"
    scores = {
        "score s + bias[head, " + distance + "]": "bias: float[head, 17]",
        "score s + bias[head, " + distance + "] * bias[0, q.index % 5]": "bias: float[head, 17]",
        "score s * (0.1 if k.index < 3 else 1.5)": "",
        "score min(s, 0.7) - 0.3 * abs(q.index - k.index)": "",
        "score s / float(1 + q.index - k.index) if k.index <= q.index else s": "",
        "score exp(0.03 * slope[head] * (k.index - q.index)) * s if k.index < q.index else s": (
            "slope: float[head]"
        ),
        "score s * exp(0.2 * (q.index - k.index)) if k.index > q.index else s": "",
        "score s - slope[head] * sqrt(float(abs(q.index - k.index)))": "slope: float[head]",
        "score s / slope[head] if q.index < k.index else s": "slope: float[head]",
        "score s + 0.3 * row_max(s) * tanh(s)": "",
        "score s - row_max(min(s, 0.4)) * slope[head]": "slope: float[head]",
        "score s * sigmoid(row_max(s + bias[head, " + distance + "]))": "bias: float[head, 17]",
        "score 0.5 * s * (1.0 + erf(s))": "",
        "gain 1.0 + 0.1 * float(q.index - k.index)": "",
        "gain slope[head] / float(q.index - k.index) if k.index < q.index else 0.5": (
            "slope: float[head]"
        ),
        "gain bias[0, " + distance + "]": "bias: float[head, 17]",
        "softcap 1.5": "",
        "softcap 2.0 + sigmoid(slope[head])": "slope: float[head]",
        "scale 0.3": "",
        "scale 0.2 + 0.1 * head": "",
        "scale slope[head]": "slope: float[head]",
        "scale 0.5 + 0.1 * heat": "heat: float[batch]",
        "score s * heat if k.index <= q.index else s - heat": "heat: float[batch]",
        "sink 0.5": "",
        "sink sinks[head]": "sinks: float[head]",
        "sink sinks[head] * q.index": "sinks: float[batch, head]",
    }
    if grid_only:
        scores |= {
            "score s + k.weight": "weight: float[batch, {axes}]",
            "score s + q.gain * k.gain": "gain: float[batch, head, {axes}]",
            "gain q.weight - k.weight": "weight: float[batch, {axes}]",
            "sink q.weight": "weight: float[batch, {axes}]",
        }
    chosen = draw(
        st.lists(st.sampled_from(sorted(scores)), max_size=3, unique_by=lambda x: x.split()[0])
    )
    inputs = sorted({scores[x] for x in chosen if scores[x]})
    names = [x.split(":")[0] for x in inputs]
    if len(set(names)) < len(names):
        chosen = chosen[:1]
        inputs = [scores[x] for x in chosen if scores[x]]
    if not any(x.startswith("sink") for x in chosen):
        # Weights that are added up are positive: their sum then is not near 0.
        rules = ([], [], ["normalise none"], ["normalise count"],
                 ["score exp(tanh(s))", "normalise sum"])  # fmt: skip
        chosen += draw(st.sampled_from(rules))
    return chosen, inputs


@st.composite
def calls(draw: st.DrawFn, rules: Sequence[str] = RULES, **how: Any) -> AttentionCall:
    """A random program with random clauses, heads, widths and tensors in float64."""
    program: Program = draw(programs(**how))
    grid_only = set(program.sizes) == set(program.pattern.axes) and "cls" not in program.text
    chosen, declared = options(draw, grid_only)
    kv_heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    heads = kv_heads * group
    rule = draw(st.sampled_from(rules))
    axes = ", ".join(program.pattern.axes)
    header = (f"input {x.format(axes=axes)}" for x in declared)
    program = replace(
        program,
        heads=heads,
        table=program.table[:1],
        rule=rule,
        lines=(*program.lines, *header),
        options=tuple(chosen),
    )
    pattern = program.pattern
    problem = pattern.problem(program.sizes, heads, kv_heads=kv_heads, q_offset=program.q_offset)
    batch, width = draw(st.integers(1, 2)), draw(st.integers(1, 4))
    value_width = width if rule == "passthrough" else draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))

    def normal(*shape: int) -> torch.Tensor:
        made = torch.randn(shape, generator=generator, dtype=torch.float64)
        return made.requires_grad_()

    inputs: dict[str, torch.Tensor] = {}
    for name, decl in pattern.inputs.items():
        if name in program.inputs:
            one = torch.as_tensor(program.inputs[name])
            inputs[name] = torch.cat([one, one.flip(1)][:batch]) if draw(st.booleans()) else one
        else:
            named = {"batch": batch, "head": heads, **program.sizes}
            shape = [named[d] if isinstance(d, str) else FEATURES for d in decl.dims]
            inputs[name] = normal(*shape)
    q = normal(batch, heads, problem.q_len, width)
    k = normal(batch, kv_heads, problem.k_len, width)
    v = normal(batch, kv_heads, problem.k_len, value_width)
    return AttentionCall(program.text, program.sizes, q, k, v, inputs, program.q_offset)

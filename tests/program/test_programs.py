"""Programs against the same thing put together by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attnlang
from attnlang.backends.arguments import ArgumentError
from attnlang.compiler.diagnostics.model import PatternError

BACKENDS = ("reference", "blocked")
Tensor = torch.Tensor


def qkv(n_q: int, n_k: int, heads: int = 4, kv_heads: int = 2, width: int = 8) -> list[Tensor]:
    torch.manual_seed(0)
    shapes = ((heads, n_q, width), (kv_heads, n_k, width), (kv_heads, n_k, width))
    return [torch.randn(2, *s, dtype=torch.float64, requires_grad=True) for s in shapes]


def parse(body: str, header: str = "p") -> attnlang.Pattern:
    return attnlang.parse(f"pattern {header}:\n" + body)


def same(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backend", BACKENDS)
def test_branches_are_summed_with_gates(backend: str) -> None:
    p = parse(
        "    over n\n    input gate: float[batch, head, n]\n"
        "    near = attend where band(n, 3)\n    far = attend where causal(n)\n"
        "    return q.gate * near - (1.0 - q.gate) * far / 2.0\n"
    )
    q, k, v = qkv(19, 19)
    gate = torch.rand(2, 4, 19, dtype=torch.float64, requires_grad=True)
    near = parse("    over n\n    attend where band(n, 3)\n").compile("reference")(q, k, v)
    far = parse("    over n\n    attend where causal(n)\n").compile("reference")(q, k, v)
    expected = gate[..., None] * near - (1 - gate[..., None]) * far / 2
    found = p.compile(backend)(q, k, v, gate=gate)
    same(found, expected)
    grads = [torch.autograd.grad(x.square().sum(), (q, k, v, gate)) for x in (found, expected)]
    for a, b in zip(*grads, strict=True):
        same(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_merge_is_one_softmax(backend: str) -> None:
    p = parse(
        "    over n\n    a = attend where causal(n) and q.n - k.n < 4\n"
        "    b = attend where causal(n) and q.n - k.n >= 4 empty zero\n    return merge(a, b)\n"
    )
    q, k, v = qkv(23, 23)
    out, lse = p.compile(backend)(q, k, v, return_lse=True)
    whole = attnlang.compile("stdlib:causal", backend="reference")
    for a, b in zip((out, lse), whole(q, k, v, return_lse=True), strict=True):
        same(a, b)
    grads = [torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, whole(q, k, v))]
    for a, b in zip(*grads, strict=True):
        same(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_keys_one_behind_the_other(backend: str) -> None:
    """Pooled keys and the keys themselves in one softmax."""
    p = parse(
        "    over n\n    part b = blocks(n, 4)\n    pool kb[b] = mean(k)\n    pool vb[b] = mean(v)\n"
        "    attend q, (kb, k), (vb, v) where"
        " (k in kb and (k.kb + 1) * 4 <= q.n) or (k in grid and 0 <= q.n - k.n and q.n - k.n < 4)\n"
    )
    q, k, v = qkv(22, 22)
    out, lse = p.compile(backend)(q, k, v, return_lse=True)
    for b, h, i in np.ndindex(2, 4, 22):
        keys, values = [], []
        for block in range(6):
            if (block + 1) * 4 <= i:
                rows = slice(4 * block, 4 * block + 4)
                keys.append(k[b, h // 2, rows].mean(0))
                values.append(v[b, h // 2, rows].mean(0))
        for j in range(max(0, i - 3), i + 1):
            keys.append(k[b, h // 2, j])
            values.append(v[b, h // 2, j])
        s = torch.stack(keys) @ q[b, h, i] / math.sqrt(8)
        same(out[b, h, i], s.softmax(0) @ torch.stack(values))
        same(lse[b, h, i], s.logsumexp(0))


@pytest.mark.parametrize("backend", BACKENDS)
def test_chained_attention_over_pooled_queries(backend: str) -> None:
    """Agents: pooled queries gather from all keys, and queries read the agents."""
    p = parse(
        "    over y, x\n    part ay = blocks(y, 3)\n    part ax = blocks(x, 2)\n"
        "    pool agents[ay, ax] = mean(q)\n    gathered = attend agents, k, v where true\n"
        "    attend q, agents, gathered where true\n"
    )
    q, k, v = qkv(30, 30)
    out = p.compile(backend)(q, k, v, {"y": 5, "x": 6})
    image = q.detach().unflatten(2, (5, 6))
    agents = torch.stack(
        [image[:, :, 3 * a : 3 * a + 3, 2 * c : 2 * c + 2].mean((2, 3)) for a in range(2) for c in range(3)],
        2,
    )  # fmt: skip
    wide = [x.repeat_interleave(2, 1) for x in (k, v)]
    scale = 8**-0.5
    gathered = (scale * agents @ wide[0].mT).softmax(-1) @ wide[1]
    same(out, (scale * q @ agents.mT).softmax(-1) @ gathered)


@pytest.mark.parametrize("backend", BACKENDS)
def test_groups_of_heads_with_keys_of_their_own(backend: str) -> None:
    p = parse(
        "    over n\n    part b = blocks(n, 4)\n    pool kb[b] = mean(k)\n    pool vb[b] = mean(v)\n"
        "    heads[: heads // 2]:\n        attend where band(n, 5)\n"
        "            score s - slope[head] * float(q.n - k.n)\n"
        "    heads[heads // 2 :]:\n        attend q, kb, vb where true\n"
        "            score s * slope[head]\n",
        "p(slope: float[head] = 0.5)",
    ).with_params(slope=(0.1, 0.2, 0.3, 0.4))
    q, k, v = qkv(14, 14)
    out = p.compile(backend)(q, k, v)
    scale = 8**-0.5
    i, j = torch.arange(14.0).double()[:, None], torch.arange(14.0).double()
    for h, slope in enumerate((0.1, 0.2)):
        s = scale * q[:, h] @ k[:, 0].mT - slope * (i - j)
        s = torch.where((i - j >= 0) & (i - j < 5), s, -torch.inf)
        same(out[:, h], s.softmax(-1) @ v[:, 0])
    kb, vb = (torch.stack([x[:, 1, a : a + 4].mean(1) for a in (0, 4, 8, 12)], 1) for x in (k, v))
    for h, slope in ((2, 0.3), (3, 0.4)):
        same(out[:, h], (slope * scale * q[:, h] @ kb.mT).softmax(-1) @ vb)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("side", ["q", "k"])
def test_products_with_a_table(backend: str, side: str) -> None:
    p = parse(
        f"    over n\n    input E: float[head, 9, head_dim]\n    attend where causal(n)\n"
        f"        score s + dot({side}, E[head, k.n - q.n + 8])\n"
    )
    q, k, v = qkv(13, 13)
    E = torch.randn(4, 9, 8, dtype=torch.float64, requires_grad=True)
    out = p.compile(backend)(q, k, v, E=E)
    for b, h, i in np.ndindex(2, 4, 13):
        s = k[b, h // 2, : i + 1] @ q[b, h, i] / math.sqrt(8)
        more = []
        for j in range(i + 1):
            x = q[b, h, i] if side == "q" else k[b, h // 2, j]
            more.append(x @ E[h, j - i + 8] if j - i + 8 >= 0 else torch.zeros((), dtype=x.dtype))
        same(out[b, h, i], (s + torch.stack(more)).softmax(0) @ v[b, h // 2, : i + 1])
    (grad,) = torch.autograd.grad(out.square().sum(), E)
    assert float(grad.abs().max()) > 0


@pytest.mark.parametrize("how", ["mean", "sum", "max", "min", "first", "last"])
@pytest.mark.parametrize("part", ["blocks(x, 3)", "windows(x, 3, stride=2)"])
def test_pools(how: str, part: str) -> None:
    """Over one axis whole, cut the second, keep the third."""
    p = parse(
        f"    over t, y, x\n    part b = {part}\n    pool kb[y, b] = {how}(k)\n"
        f"    pool vb[y, b] = {how}(v)\n    attend q, kb, vb where q.y == k.y\n"
    )
    q, k, v = qkv(2 * 3 * 8, 2 * 3 * 8)
    out = p.compile("reference")(q, k, v, {"t": 2, "y": 3, "x": 8})
    runs = [(0, 3), (3, 6), (6, 8)] if part.startswith("blocks") else [(0, 3), (2, 5), (4, 7)]
    reduce = {
        "mean": lambda x: x.mean((2, 3)),
        "sum": lambda x: x.sum((2, 3)),
        "max": lambda x: x.amax((2, 3)),
        "min": lambda x: x.amin((2, 3)),
        "first": lambda x: x[:, :, 0, 0],
        "last": lambda x: x[:, :, -1, -1],
    }[how]
    for y in range(3):
        pooled = [
            torch.stack(
                [reduce(z.unflatten(2, (2, 3, 8))[:, :, :, y, a:b]) for a, b in runs], 2
            ).repeat_interleave(2, 1)
            for z in (k, v)
        ]
        rows = q.unflatten(2, (2, 3, 8))[:, :, :, y].flatten(2, 3)
        expected = (8**-0.5 * rows @ pooled[0].mT).softmax(-1) @ pooled[1]
        same(out.unflatten(2, (2, 3, 8))[:, :, :, y].flatten(2, 3), expected)


def test_a_mean_over_the_size_of_a_full_block() -> None:
    p = parse(
        "    over n\n    part b = blocks(n, 4)\n    pool kb[b] = mean(k, over=size)\n"
        "    pool vb[b] = mean(v)\n    attend q, kb, vb where true\n"
    )
    q, k, v = qkv(6, 6)
    kb = torch.stack([k[:, :, :4].mean(2), k[:, :, 4:].sum(2) / 4], 2).repeat_interleave(2, 1)
    vb = torch.stack([v[:, :, :4].mean(2), v[:, :, 4:].mean(2)], 2).repeat_interleave(2, 1)
    same(p.compile("reference")(q, k, v), (8**-0.5 * q @ kb.mT).softmax(-1) @ vb)


def test_windows_longer_than_the_sequence_leave_nothing_to_attend() -> None:
    p = parse(
        "    over n\n    part c = windows(n, 32, stride=16)\n    pool kc[c] = mean(k)\n"
        "    pool vc[c] = mean(v)\n    attend q, kc, vc where true\n"
    )
    q, k, v = qkv(9, 9)
    out, lse = p.compile("reference")(q, k, v, return_lse=True)
    assert not out.any()
    assert bool((lse == -torch.inf).all())


def test_decoding_is_the_end_of_prefill() -> None:
    p = parse(
        "    over n\n    part b = blocks(n, 4)\n    pool kb[b] = mean(k)\n"
        "    select chosen[head, n, b] from q, kb where (k.b + 1) * 4 <= q.n\n        top 2\n"
        "        force k.b == q.n // 4\n    attend where chosen[head, q.n, k.n // 4] and causal(n) empty zero\n"
    )
    q, k, v = qkv(21, 21)
    for backend in BACKENDS:
        op = p.compile(backend)
        same(op(q[:, :, 17:], k, v, q_offset=17), op(q, k, v)[:, :, 17:])


def test_what_programs_cannot_do_is_said() -> None:
    p = parse(
        "    over n\n    part b = blocks(n, 4)\n    pool qb[b] = mean(q)\n"
        "    seen = attend qb, k, v where true\n    attend q, qb, seen where true\n"
    )
    q, k, v = qkv(8, 8)
    with pytest.raises(ArgumentError, match="needs all of them, not q_offset"):
        p.compile()(q[:, :, 4:], k, v, q_offset=4)
    with pytest.raises(PatternError, match="AL413"):
        p.mask({"n": 8})
    two = parse("    over n\n    a = attend where causal(n)\n    return a + a\n")
    with pytest.raises(ArgumentError, match="no lse"):
        two.compile()(q, k, v, return_lse=True)
    with pytest.raises(ArgumentError, match="keeps no state"):
        two.compile()(q, k, v, return_state=True)


def test_steps_are_patterns() -> None:
    p = parse(
        "    over n\n    part b = blocks(n, size)\n    pool kb[b] = mean(k)\n    pool vb[b] = mean(v)\n"
        "    far = attend q, kb, vb where (k.b + 1) * size <= q.n empty zero\n"
        "    near = attend where band(n, size)\n    return far + near\n",
        "p(size: int = 4)",
    )
    assert list(p.steps) == ["far", "near"]
    assert p.steps["near"].mask({"n": 6}).sum() == 18
    assert p.steps["far"].mask({"q.n": 9, "k.b": 3}).sum() == 1 * 4 + 2 * 1
    assert p.steps["near"].with_params(size=1).mask({"n": 6}).sum() == 6
    assert p.hash != p.with_params(size=5).hash
    assert p.steps["near"].plan({"n": 64}).pairs == 64 * 4 - 6


def test_linear_attention_of_some_heads() -> None:
    p = parse(
        "    over n\n    input a: float[batch, n, head] nonpositive\n"
        "    heads[:1]:\n        attend where causal(n)\n"
        "    heads[1:]:\n        attend linear where causal(n)\n            decay k.a\n"
    )
    q, k, v = qkv(11, 11, heads=4, kv_heads=4)
    a = -torch.rand(2, 11, 4, dtype=torch.float64)
    for backend in BACKENDS:
        out = p.compile(backend)(q, k, v, a=a)
        total = a.cumsum(1)
        for h in range(1, 4):
            between = total[:, :, None, h] - total[:, None, :, h]
            past = torch.tril(torch.ones(11, 11, dtype=torch.bool))
            weights = torch.where(past, between, -torch.inf).exp() * (q[:, h] @ k[:, h].mT)
            same(out[:, h], weights @ v[:, h] / math.sqrt(8))
        whole = attnlang.compile("stdlib:causal", backend="reference")(q, k, v)
        same(out[:, 0], whole[:, 0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_readouts_are_numbers_of_tokens(backend: str) -> None:
    p = parse(
        "    over n\n    first = attend where causal(n)\n    mass = column_sum(first)\n"
        "    z = lse(first)\n    second = attend where causal(n)\n"
        "        score s * k.mass + q.z\n        gain 1.0 / float(k.n + 1)\n    return second * q.z\n"
    )
    q, k, v = qkv(17, 17)
    out = p.compile(backend)(q, k, v)
    wide = [x.repeat_interleave(2, 1) for x in (k, v)]
    past = torch.tril(torch.ones(17, 17, dtype=torch.bool))
    s = torch.where(past, 8**-0.5 * q @ wide[0].mT, -torch.inf)
    mass, z = s.softmax(-1).sum(2), s.logsumexp(-1)
    mass = mass.detach()
    edited = torch.where(
        past, 8**-0.5 * q @ wide[0].mT * mass[:, :, None] + z[..., None], -torch.inf
    )
    weights = edited.softmax(-1) / torch.arange(1.0, 18).double()
    expected = weights @ wide[1] * z[..., None]
    same(out, expected)
    for a, b in zip(
        *(torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (out, expected)), strict=True
    ):
        same(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rule", ["softmax", "sum", "count", "none"])
def test_weights_and_gains(backend: str, rule: str) -> None:
    p = attnlang.parse(
        "pattern p:\n    over n\n    input g: float[batch, n]\n    attend where causal(n)\n"
        f"        score s * s + 0.1\n        normalise {rule}\n        gain q.g - k.g\n"
    )
    q, k, v = qkv(17, 17)
    g = torch.randn(2, 17, dtype=torch.float64, requires_grad=True)
    out = p.compile(backend)(q, k, v, g=g)
    past = torch.tril(torch.ones(17, 17, dtype=torch.bool))
    s = (8**-0.5 * q @ k.repeat_interleave(2, 1).mT) ** 2 + 0.1
    plain = torch.where(past, s, 0.0)
    weights = {
        "softmax": torch.where(past, s, -torch.inf).softmax(-1),
        "sum": plain / plain.sum(-1, keepdim=True),
        "count": plain / past.sum(-1, keepdim=True),
        "none": plain,
    }[rule]
    gain = g[:, None, :, None] - g[:, None, None]
    expected = (weights * gain) @ v.repeat_interleave(2, 1)
    same(out, expected)
    for a, b in zip(
        *(torch.autograd.grad(x.square().sum(), (q, k, v, g)) for x in (out, expected)), strict=True
    ):
        same(a, b)

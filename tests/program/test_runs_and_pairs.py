"""Pools of any runs, scores of pairs, features of all heads, keys as queries."""

from __future__ import annotations

import pytest
import torch

from attnlang.backends.arguments import ArgumentError
from tests.program.test_programs import BACKENDS, parse, qkv, same


@pytest.mark.parametrize("how", ["mean", "sum", "max", "min", "first", "last"])
def test_pools_of_tokens_that_a_condition_names(how: str) -> None:
    """Every token gets the tokens before it that are of its document; the first of one has none."""
    p = parse(
        "    over n\n    input doc: int[batch, n]\n"
        f"    pool kb[n] = {how}(k) where k.n < q.n and k.doc == q.doc\n"
        f"    pool vb[n] = {how}(v) where k.n < q.n and k.doc == q.doc\n"
        "    attend q, kb, vb where true\n"
    )
    q, k, v = qkv(9, 9)
    doc = torch.tensor([[0, 0, 0, 1, 1, 0, 2, 1, 0], [0] * 9])
    reduce = {
        "mean": lambda x: x.mean(1),
        "sum": lambda x: x.sum(1),
        "max": lambda x: x.amax(1),
        "min": lambda x: x.amin(1),
        "first": lambda x: x[:, 0],
        "last": lambda x: x[:, -1],
    }[how]
    pooled = []
    for x in (k, v):
        rows = [
            [j for j in range(i) if int(doc[b, j]) == int(doc[b, i])]
            for b in (0, 1)
            for i in range(9)
        ]
        runs = [
            reduce(x[b, :, rows[9 * b + i]]) if rows[9 * b + i] else torch.zeros_like(x[b, :, 0])
            for b in (0, 1)
            for i in range(9)
        ]
        pooled.append(
            torch.stack(runs).unflatten(0, (2, 9)).transpose(1, 2).repeat_interleave(2, 1)
        )
    expected = (8**-0.5 * q @ pooled[0].mT).softmax(-1) @ pooled[1]
    for backend in BACKENDS:
        found = p.compile(backend)(q, k, v, doc=doc)
        same(found, expected)
        grads = [
            torch.autograd.grad(x.square().sum(), (q, k, v), retain_graph=True)
            for x in (found, expected)
        ]
        for a, b in zip(*grads, strict=True):
            same(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("made", ["tanh(q + k)", "abs(q - k)", "q * k"])
@pytest.mark.parametrize("by_head", [True, False])
def test_functions_of_pairs(backend: str, made: str, by_head: bool) -> None:
    dims, read = ("head, head_dim", "w[head]") if by_head else ("head_dim", "w")
    p = parse(
        f"    over n\n    input w: float[{dims}]\n    attend where causal(n)\n"
        f"        score s - dot({made}, {read})\n"
    )
    q, k, v = qkv(11, 11)
    w = torch.randn((4, 8) if by_head else 8, dtype=torch.float64, requires_grad=True)
    found = p.compile(backend)(q, k, v, w=w)
    a, b = q[:, :, :, None], k.repeat_interleave(2, 1)[:, :, None]
    features = {"tanh(q + k)": (a + b).tanh(), "abs(q - k)": (a - b).abs(), "q * k": a * b}[made]
    more = (features * (w[:, None, None] if by_head else w)).sum(-1)
    s = 8**-0.5 * q @ k.repeat_interleave(2, 1).mT - more
    past = torch.tril(torch.ones(11, 11, dtype=torch.bool))
    expected = torch.where(past, s, -torch.inf).softmax(-1) @ v.repeat_interleave(2, 1)
    same(found, expected)
    leaves = (q, k, v, w)
    grads = [torch.autograd.grad(x.square().sum(), leaves) for x in (found, expected)]
    for x, y in zip(*grads, strict=True):
        same(x, y)
    step = slice(7, None)
    same(p.compile(backend)(q[:, :, step], k, v, q_offset=7, w=w), found[:, :, step])


@pytest.mark.parametrize("backend", BACKENDS)
def test_features_of_all_heads(backend: str) -> None:
    """Every head sees all features, and keeps its share."""
    p = parse(
        "    over n\n    keys = split_heads(softmax(join_heads(k)))\n"
        "    attend q, keys, v where causal(n)\n"
    )
    q, k, v = qkv(7, 7, heads=4, kv_heads=2)
    every = torch.cat([k[:, 0], k[:, 1]], -1).softmax(-1)
    keys = torch.stack([every[..., :8], every[..., 8:]], 1).repeat_interleave(2, 1)
    past = torch.tril(torch.ones(7, 7, dtype=torch.bool))
    s = torch.where(past, 8**-0.5 * q @ keys.mT, -torch.inf)
    expected = s.softmax(-1) @ v.repeat_interleave(2, 1)
    found = p.compile(backend)(q, k, v)
    same(found, expected)
    grads = [torch.autograd.grad(x.square().sum(), (q, k, v)) for x in (found, expected)]
    for a, b in zip(*grads, strict=True):
        same(a, b)


def test_queries_and_keys_stand_for_one_another_where_there_are_as_many() -> None:
    p = parse("    over n\n    attend k, q, v where true\n")
    q, k, v = qkv(7, 7)
    wide = k.repeat_interleave(2, 1)
    expected = (8**-0.5 * wide @ q.mT).softmax(-1) @ v.repeat_interleave(2, 1)
    for backend in BACKENDS:
        same(p.compile(backend)(q, k, v), expected)
    q, k, v = qkv(5, 7)
    with pytest.raises(ArgumentError, match="as many queries as keys"):
        p.compile()(q, k, v)
    both = parse("    over n\n    a = attend where true\n    return a + v\n")
    with pytest.raises(ArgumentError, match="`v` has 7 tokens where 5 are needed"):
        both.compile()(q, k, v)

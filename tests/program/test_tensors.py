"""Tensors between attentions: pieces, tables, numbers of features, tokens of their own."""

from __future__ import annotations

import pytest
import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.compiler.diagnostics.model import PatternError
from tests.program.test_programs import BACKENDS, parse, qkv, same

Tensor = torch.Tensor
each_backend = pytest.mark.parametrize("backend", BACKENDS)


def causal(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None) -> Tensor:
    """Softmax over the past; k and v have the heads of q or fewer."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    past = torch.tril(torch.ones(q.shape[2], k.shape[2], dtype=torch.bool))
    s = (q.shape[3] ** -0.5 if scale is None else scale) * q @ k.mT
    return torch.where(past, s, -torch.inf).softmax(-1) @ v


def grads_agree(found: Tensor, expected: Tensor, *leaves: Tensor) -> None:
    same(found, expected)
    for a, b in zip(
        *(torch.autograd.grad(x.square().sum(), leaves) for x in (found, expected)), strict=True
    ):
        same(a, b)


@each_backend
def test_rotary_positions(backend: str) -> None:
    """Pieces of features, and numbers that vary with the feature."""
    turned = (
        "concat(slice({0}, 0, head_dim // 2) * cos({1}) - slice({0}, head_dim // 2, head_dim) *"
        " sin({1}), slice({0}, 0, head_dim // 2) * sin({1}) + slice({0}, head_dim // 2, head_dim) *"
        " cos({1}))"
    )
    rate = "float({}.n) * exp(-0.5 * float(channel))"
    p = parse(
        "    over n\n"
        f"    q_turned = {turned.format('q', rate.format('q'))}\n"
        f"    k_turned = {turned.format('k', rate.format('k'))}\n"
        "    attend q_turned, k_turned, v where causal(n)\n"
    )
    q, k, v = qkv(13, 13)

    def rotated(x: Tensor) -> Tensor:
        angle = torch.arange(13.0).double()[:, None] * torch.exp(-0.5 * torch.arange(4.0).double())
        a, b = x[..., :4], x[..., 4:]
        parts = (a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos())
        return torch.cat(parts, -1)

    expected = causal(rotated(q), rotated(k), v)
    grads_agree(p.compile(backend)(q, k, v), expected, q, k, v)
    short = parse(
        "    over n\n    let rate = exp(-0.5 * channel)\n    qr = rotate(q, q.n * rate)\n"
        "    kr = rotate(k, k.n * rate)\n    attend qr, kr, v where causal(n)\n"
    )
    same(short.compile(backend)(q, k, v), expected)


@each_backend
@pytest.mark.parametrize(("dims", "own"), [("", ()), ("head, ", (4,)), ("kv_heads, ", (2,))])
def test_projections(backend: str, dims: str, own: tuple[int, ...]) -> None:
    p = parse(
        f"    over n\n    input w: float[{dims}3, head_dim]\n"
        "    a = project(q, w)\n    b = project(k, w)\n"
        "    attend a, b, v where causal(n)\n        scale 0.5\n"
    )
    q, k, v = qkv(11, 11)
    w = torch.randn((*own, 3, 8), dtype=torch.float64, requires_grad=True)
    every = w.repeat_interleave(4 // own[0], 0) if own else w
    wide = k.repeat_interleave(2, 1)
    expected = causal(q @ every.mT, wide @ every.mT, v, 0.5)
    grads_agree(p.compile(backend)(q, k, v, w=w), expected, q, k, v, w)


@each_backend
def test_means_over_the_heads_of_a_key_head(backend: str) -> None:
    """Queries of one group ask alike; keys have one head for each group as they are."""
    p = parse(
        "    over n\n    a = group_mean(q)\n    b = group_mean(k)\n"
        "    attend a, b, v where causal(n)\n"
    )
    q, k, v = qkv(11, 11)
    means = (q[:, ::2] + q[:, 1::2]) / 2
    found = p.compile(backend)(q, k, v)
    grads_agree(found, causal(means.repeat_interleave(2, 1), k, v), q, k, v)


@each_backend
def test_projections_of_some_heads(backend: str) -> None:
    """Tensors with a vector for every query head, beside heads that share keys."""
    p = parse(
        "    over n\n    input w: float[head, head_dim, head_dim]\n    b = project(k, w)\n"
        "    heads[:1]:\n        attend q, b, v where causal(n)\n"
        "    heads[1:]:\n        attend q, b, v where causal(n)\n"
    )
    q, k, v = qkv(11, 11)
    w = torch.randn(4, 8, 8, dtype=torch.float64)
    keys = k.repeat_interleave(2, 1) @ w.mT
    same(p.compile(backend)(q, k, v, w=w), causal(q, keys, v))


@each_backend
@pytest.mark.parametrize("heads", ["head", "kv_heads", None])
def test_keys_that_come_with_the_call(backend: str, heads: str | None) -> None:
    """Learned tokens before the others, as tensors of their own."""
    dims = f"{heads}, slot, head_dim" if heads else "slot, head_dim"
    p = parse(
        "    over n\n    part slot = range(count)\n"
        f"    input mk: float[{dims}]\n    input mv: float[{dims}]\n"
        "    attend q, (mk, k), (mv, v) where k in mk or k in grid and causal(n)\n",
        "p(count: int = 3)",
    )
    q, k, v = qkv(11, 11)
    count = {"head": (4,), "kv_heads": (2,), None: ()}[heads]
    mk, mv = (torch.randn(*count, 3, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))
    before = [x[None] if heads else x[None, None] for x in (mk, mv)]
    wide = []
    for own, x in zip(before, (k, v), strict=True):
        own = own.expand(2, -1, -1, -1)
        parts = (own.repeat_interleave(4 // own.shape[1], 1), x.repeat_interleave(2, 1))
        wide.append(torch.cat(parts, 2))
    seen = torch.cat([torch.ones(11, 3), torch.tril(torch.ones(11, 11))], 1).bool()
    s = torch.where(seen, 8**-0.5 * q @ wide[0].mT, -torch.inf)
    grads_agree(p.compile(backend)(q, k, v, mk=mk, mv=mv), s.softmax(-1) @ wide[1], q, k, v, mk, mv)


def test_queries_that_come_with_the_call() -> None:
    """One query for all tokens reads everything, and every token reads what it found."""
    p = parse(
        "    over n\n    part slot = range(2)\n    input ask: float[head, slot, head_dim]\n"
        "    found = attend ask, k, v where true\n    attend q, ask, found where true\n"
    )
    q, k, v = qkv(9, 9)
    ask = torch.randn(4, 2, 8, dtype=torch.float64, requires_grad=True)
    k2, v2 = (x.repeat_interleave(2, 1) for x in (k, v))
    found = (8**-0.5 * ask @ k2.mT).softmax(-1) @ v2
    expected = (8**-0.5 * q @ ask.mT).softmax(-1) @ found
    grads_agree(p.compile("blocked")(q, k, v, ask=ask), expected, q, k, v, ask)


@each_backend
def test_features_as_tokens(backend: str) -> None:
    """Channel attention: every feature is a token, and has the tokens for its features."""
    p = parse(
        "    over n\n    a = channels(q)\n    b = channels(k)\n    c = channels(v)\n"
        "    found = attend a, b, c where k.channel <= q.channel\n        scale 0.3\n"
        "    back = tokens(found)\n    return back + q\n"
    )
    q, k, v = qkv(7, 7, kv_heads=4)
    past = torch.tril(torch.ones(8, 8, dtype=torch.bool))
    weights = torch.where(past, 0.3 * q.mT @ k, -torch.inf).softmax(-1)
    grads_agree(p.compile(backend)(q, k, v), (weights @ v.mT).mT + q, q, k, v)
    with pytest.raises(ArgumentError, match="queries of 5 features, keys of 7"):
        p.compile(backend)(q[:, :, :5], k, v)


def test_features_of_one_token() -> None:
    p = parse(
        "    over n\n    a = layer_norm(q) * total(q)\n    b = rms_norm(k)\n"
        "    c = v * total(v * v)\n    attend a, b, c where causal(n)\n"
    )
    q, k, v = qkv(9, 9)
    one = torch.nn.functional.layer_norm(q, (8,)) * q.sum(-1, keepdim=True)
    two = k / (k.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    three = v * v.square().sum(-1, keepdim=True)
    grads_agree(p.compile("blocked")(q, k, v), causal(one, two, three), q, k, v)


def test_numbers_of_every_query_head_beside_keys() -> None:
    """Keys that heads share are taken apart where a number differs between these."""
    p = parse(
        "    over n\n    input t: float[batch, head, n]\n"
        "    b = k * k.t / float(head + 1)\n    attend q, b, v where causal(n)\n"
    )
    q, k, v = qkv(9, 9)
    t = torch.randn(2, 4, 9, dtype=torch.float64, requires_grad=True)
    divisor = torch.arange(1.0, 5.0).double()[:, None, None]
    keys = k.repeat_interleave(2, 1) * t[..., None] / divisor
    grads_agree(p.compile("blocked")(q, k, v, t=t), causal(q, keys, v), q, k, v, t)


def test_what_a_choice_leaves_out_is_not_run() -> None:
    text = (
        "    over n\n    part b = blocks(n, 4)\n    pool kb[b] = mean(k)\n"
        "    select chosen[head, n, b] from q, kb where (k.b + 1) * 4 <= q.n\n        top 2\n"
        "    far = attend where chosen[head, q.n, k.n // 4] empty zero\n"
        "    mass = lse(far)\n    near = attend where causal(n)\n"
        "    return far * q.mass if kind == routed else near\n"
    )
    p = parse(text, "p(kind: routed | plain = routed)")
    assert list(p.steps) == ["chosen", "far", "near"][:2]
    assert list(p.with_params(kind="plain").steps) == ["near"]
    q, k, v = qkv(9, 9)
    same(p.with_params(kind="plain").compile("blocked")(q, k, v), causal(q, k, v))


def test_what_tensors_cannot_do_is_said() -> None:
    q, k, v = qkv(8, 8)
    wide = parse("    over n\n    a = slice(q, 0, 9)\n    attend a, k, v where true\n")
    with pytest.raises(ArgumentError, match="features 0 to 9 of a tensor that has 8"):
        wide.compile()(q, k, v)
    odd = parse("    over n\n    return rotate(q, 1.0)\n")
    with pytest.raises(ArgumentError, match="pairs of features, and there are 7"):
        odd.compile()(q[..., 1:], k[..., 1:], v)
    with pytest.raises(PatternError, match="AL104"):
        parse("    over n\n    return rotate(q)\n")
    with pytest.raises(PatternError, match="AL104"):
        parse("    over n\n    a = slice(q, 0)\n    attend a, k, v where true\n")
    with pytest.raises(PatternError, match="AL104"):
        parse("    over n\n    a = project(q, 3)\n    attend a, k, v where true\n")
    for dims in ("3", "head, 3", "3, head", "3, 3, 3"):
        with pytest.raises(PatternError, match="AL205"):
            parse(f"    over n\n    input w: float[{dims}]\n    a = project(q, w)\n    return a\n")
    with pytest.raises(PatternError, match="AL310"):
        parse("    over n\n    a = tokens(q)\n    return a\n")
    with pytest.raises(PatternError, match="AL312"):
        parse("    over n\n    part slot = range()\n    attend where true\n")
    none = parse(
        "    over n\n    part slot = range(0)\n    input a: float[slot, head_dim]\n"
        "    attend q, (a, k), (a, v) where true\n"
    )
    with pytest.raises(PatternError, match="AL406"):
        none.compile()(q, k, v, a=torch.zeros(0, 8))


@each_backend
def test_channels_of_keys_read_those_of_queries(backend: str) -> None:
    """The roles of channel attention, and queries that are fewer than keys."""
    p = parse(
        "    over n\n    a = channels(k)\n    b = channels(v)\n    c = channels(q)\n"
        "    mixed = attend a, b, c where true\n        scale 0.3\n    back = tokens(mixed)\n"
        "    return back\n"
    )
    q, k, v = qkv(5, 7, kv_heads=4)
    weights = (0.3 * k.mT @ v).softmax(-1)
    grads_agree(p.compile(backend)(q, k, v), (weights @ q.mT).mT, q, k, v)

"""What a set gives its scores: nothing, or weights that are scores or go straight through.

The formulas are written out in dense torch operations; which pairs are chosen is read from the op.
"""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.diagnostics.model import PatternError
from tests.program.test_programs import parse, qkv

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")
BLOCK = 4

ROUTED = """    over n
    part b = blocks(n, 4)
    pool kb[b] = mean(k)
    select chosen[kv_head, n, b] from q, kb where (k.b + 1) * 4 <= q.n
        normalise {normalise}
        force k.b == q.n // 4
        {rule}
        weigh {weigh}
        gradient {gradient}
    let w = weight(chosen[kv_head, q.n, k.n // 4])
    attend where chosen[kv_head, q.n, k.n // 4] and causal(n) empty zero
        {use}
"""


def softmaxed(scores: Tensor, seen: Tensor) -> Tensor:
    """Over the last dimension; 0 for a row that sees nothing."""
    some = seen.any(-1, keepdim=True)
    shown = torch.where(seen | ~some, scores, -torch.inf)
    return torch.where(seen, shown.softmax(-1), 0.0)


def weights(q: Tensor, k: Tensor, chosen: Tensor, how: dict[str, str]) -> Tensor:
    """``[B, kv heads, N, blocks]`` by the rules as they are told."""
    n, u = chosen.shape[2:]
    group = q.shape[1] // k.shape[1]
    means = torch.stack([k[:, :, i * BLOCK : (i + 1) * BLOCK].mean(2) for i in range(u)], 2)
    scores = q @ means.repeat_interleave(group, 1).mT * q.shape[3] ** -0.5
    past = (torch.arange(u) + 1) * BLOCK <= torch.arange(n)[:, None]
    if how["normalise"] == "softmax":
        scores = softmaxed(scores, past)
    scores = scores.unflatten(1, (-1, group)).sum(2)
    if how["normalise"] == "minmax":
        counted = past | (torch.arange(u) == torch.arange(n)[:, None] // BLOCK)
        low = torch.where(counted, scores, torch.inf).amin(-1, keepdim=True)
        high = torch.where(counted, scores, -torch.inf).amax(-1, keepdim=True)
        scores = (scores - low) / torch.where(high - low <= 1e-6, 1.0, high - low)
    scores = torch.where(past, scores, 1.0)  # forced without being a candidate
    found = scores
    if how["weigh"] == "sum":
        found = scores / torch.where(chosen, scores, 0.0).sum(-1, keepdim=True)
    elif how["weigh"] == "softmax":
        found = softmaxed(scores, chosen)
    if how["gradient"] == "scores":
        return torch.where(chosen, found, 0.0)
    slopes = torch.where(past if how["weigh"] == "none" else chosen, found, 0.0)
    return chosen.double() + slopes - slopes.detach()


def attended(q: Tensor, k: Tensor, v: Tensor, chosen: Tensor, w: Tensor, use: str) -> Tensor:
    n, group = q.shape[2], q.shape[1] // k.shape[1]
    wide, allowed = (x.repeat_interleave(group, 1) for x in (w, chosen))
    wide, allowed = (x.repeat_interleave(BLOCK, 3)[..., :n] for x in (wide, allowed))
    allowed = allowed & torch.ones(n, n).tril().bool()
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    s = q @ k.mT * q.shape[3] ** -0.5
    if use == "gain w":
        return (softmaxed(s, allowed) * wide) @ v
    return softmaxed(s + wide, allowed) @ v


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("use", ["gain w", "score s + w"])
@pytest.mark.parametrize("gradient", ["scores", "straight_through"])
@pytest.mark.parametrize(
    ("normalise", "weigh", "rule"),
    [
        ("softmax", "none", "top 2"),
        ("none", "softmax", "top 3"),
        ("softmax", "sum", "top 2"),
        ("minmax", "none", "above 0.4"),
        ("softmax", "sum", "mass 0.6"),
    ],
)
def test_weights_of_blocks(
    normalise: str, weigh: str, rule: str, gradient: str, use: str, backend: str
) -> None:
    how = {"normalise": normalise, "weigh": weigh, "gradient": gradient, "rule": rule}
    op = parse(ROUTED.format(**how, use=use)).compile(backend)
    q, k, v = qkv(18, 18)
    out, chosen = op(q, k, v), op.select(q, k, v)["chosen"]
    w = weights(q, k, chosen, how)
    expected = attended(q, k, v, chosen, w, use)
    torch.testing.assert_close(out, expected, atol=1e-11, rtol=0)
    if gradient == "straight_through":
        torch.testing.assert_close(w, chosen.double())
    slopes = [torch.autograd.grad((x * x.cos()).sum(), (q, k, v)) for x in (out, expected)]
    for a, b in zip(*slopes, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


GATED = """    over n
    input g: float[batch, head, n]
    select asking[head, n] from q where true
        score q.g
        top 3
        gradient {gradient}
    a = attend where causal(n)
    return weight(asking[head, q.n]) * a
"""


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gate_goes_straight_through(backend: str) -> None:
    """Every candidate has its slope, chosen or not; `scores` gives one to the chosen alone."""
    q, k, v = (x.detach() for x in qkv(9, 9))
    g = torch.rand(2, 4, 9, dtype=torch.float64, requires_grad=True)
    causal = torch.ones(9, 9).tril().bool()
    k_wide, v_wide = (x.repeat_interleave(2, 1) for x in (k, v))
    whole = softmaxed(q @ k_wide.mT * q.shape[3] ** -0.5, causal) @ v_wide
    best = torch.zeros(2, 4, 9).bool().scatter(-1, g.topk(3, -1).indices, True)
    for gradient in ("straight_through", "scores"):
        op = parse(GATED.format(gradient=gradient)).compile(backend)
        out = op(q, k, v, g=g)
        straight = gradient == "straight_through"
        gate = best.double() if straight else torch.where(best, g, 0.0)
        torch.testing.assert_close(out, gate[..., None] * whole)
        (slope,) = torch.autograd.grad(out.sum(), g)
        every = whole.sum(-1)
        torch.testing.assert_close(slope, every if straight else torch.where(best, every, 0.0))


def test_gradcheck() -> None:
    """The weights of reused scores are the derivative's own: no estimate."""
    how = {"normalise": "softmax", "weigh": "sum", "gradient": "scores", "rule": "top 2"}
    op = parse(ROUTED.format(**how, use="gain w")).compile("blocked")
    torch.manual_seed(0)
    leaves = [torch.randn(1, 1, 7, 2, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(op, leaves, fast_mode=True)


def test_slices_of_queries_have_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnlang.backends.program import fill

    how = {"normalise": "minmax", "weigh": "sum", "gradient": "scores", "rule": "top 2"}
    op = parse(ROUTED.format(**how, use="gain w")).compile("blocked")
    q, k, v = qkv(18, 18)
    found = []
    for size in (fill.SLICE_BYTES, 1):
        monkeypatch.setattr(fill, "SLICE_BYTES", size)
        out = op(q, k, v)
        found.append((out, *torch.autograd.grad(out.square().sum(), (q, k, v))))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_without_a_gradient_a_set_has_none() -> None:
    text = ROUTED.replace("        weigh {weigh}\n        gradient {gradient}\n", "")
    text = text.replace("    let w = weight(chosen[kv_head, q.n, k.n // 4])\n", "")
    made = parse(text.format(normalise="softmax", rule="top 2", use="gain 1.0"))
    q, k, v = qkv(12, 12)
    out = made.compile("blocked")(q, k, v)
    chosen = made.compile("blocked").select(q, k, v)["chosen"]
    expected = attended(q, k, v, chosen, torch.ones(chosen.shape).double(), "gain w")
    for a, b in zip(
        *(torch.autograd.grad(x.sum(), (q, k, v)) for x in (out, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=0)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (("        gradient scores\n", ""), "AL104"),
        (("weight(r[q.n, k.n])", "weight(k.g)"), "AL104"),
        (("weight(r[q.n, k.n])", "weight(r[q.n])"), "AL205"),
        (("gradient scores", "weigh sum"), "AL314"),
        (("gradient scores", "gradient through"), "AL206"),
    ],
)
def test_mistakes(change: tuple[str, str], code: str) -> None:
    text = (
        "pattern p:\n    over n\n    input g: float[batch, n]\n"
        "    select r[n, n] from q, k where true\n        top 2\n        gradient scores\n"
        "    attend where r[q.n, k.n] empty zero\n        gain weight(r[q.n, k.n])\n"
    )
    attnlang.parse(text)
    with pytest.raises(PatternError) as found:
        attnlang.parse(text.replace(*change))
    assert code in str(found.value)


def test_the_kind_of_gradient_is_of_the_hash() -> None:
    hashes = {
        parse(ROUTED.format(normalise="none", weigh=w, gradient=g, rule="top 2", use="gain w")).hash
        for w in ("none", "sum")
        for g in ("scores", "straight_through")
    }
    assert len(hashes) == 4

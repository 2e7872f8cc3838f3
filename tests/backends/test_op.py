"""The op as people hold it: gradients, layouts of memory, copies, pickles, many lengths."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import attnlang
from tests.backends.calls import AttentionCall, check
from tests.backends.test_shapes import tensors

BACKENDS = ("reference", "blocked")
BIASED = (
    "pattern p:\n    over n\n    input bias: float[head, 9]\n    input sinks: float[head]\n"
    "    input heat: float[head]\n    attend where k.n <= q.n\n"
    "        score s + bias[head, clamp(q.n - k.n, 0, 8)]\n        softcap 3.0\n"
    "        scale heat[head]\n        sink sinks[head]\n"
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck(backend: str) -> None:
    op = attnlang.parse(BIASED).compile(backend)
    q, k, v = tensors(7, heads=2, kv_heads=1, width=2, value_width=3)
    bias = torch.randn(2, 9, dtype=torch.float64, requires_grad=True)
    sinks = torch.randn(2, dtype=torch.float64, requires_grad=True)
    heat = torch.rand(2, dtype=torch.float64, requires_grad=True)

    def run(*leaves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, k, v, bias, sinks, heat = leaves
        found = op(q, k, v, return_lse=True, bias=bias, sinks=sinks, heat=heat)
        assert isinstance(found, tuple)
        return found

    assert torch.autograd.gradcheck(run, (q, k, v, bias, sinks, heat))
    check(AttentionCall(BIASED, {}, q, k, v, {"bias": bias, "sinks": sinks, "heat": heat}))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradcheck_of_plain_attention(backend: str) -> None:
    op = attnlang.parse("pattern p:\n    over n\n    attend where k.n < q.n\n").compile(backend)
    q, k, v = tensors(6, width=2)
    assert torch.autograd.gradcheck(lambda *x: op(*x), (q, k, v))


def test_gradients_of_some_tensors_alone() -> None:
    op = attnlang.load("stdlib:sliding_window", window=20).compile("blocked")
    q, k, v = tensors(70)
    everything = torch.autograd.grad(op(q, k, v).sum(), (q, k, v))
    for i, name in enumerate("qkv"):
        one = [x.detach().requires_grad_(i == j) for j, x in enumerate((q, k, v))]
        (alone,) = torch.autograd.grad(op(*one).sum(), one[i])
        torch.testing.assert_close(alone, everything[i], msg=name)


def test_heads_last_tensors_need_no_copy_by_the_caller() -> None:
    """[B, N, H, D].transpose(1, 2), as models hold them, with gradients back in their layout."""
    generator = torch.Generator().manual_seed(0)
    for name, params in (("sliding_window", {"window": 30}), ("causal", {}), ("alibi", {})):
        packed = torch.randn(2, 70, 3, 4, 8, generator=generator, dtype=torch.float64)
        packed.requires_grad_()
        q, k, v = packed.transpose(1, 3).unbind(2)
        op = attnlang.load(f"stdlib:{name}", **params).compile("blocked")
        found = op(q, k, v)
        expected = op(*(x.contiguous() for x in (q, k, v)))
        torch.testing.assert_close(found, expected)
        weights = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        (a,) = torch.autograd.grad((found * weights).sum(), packed, retain_graph=True)
        (b,) = torch.autograd.grad((expected * weights).sum(), packed)
        torch.testing.assert_close(a, b)


def test_an_expanded_gradient_is_taken() -> None:
    q, k, v = tensors(70)
    for backend in BACKENDS:
        attnlang.load("stdlib:causal").compile(backend)(q, k, v).sum().backward()
    assert q.grad is not None
    assert q.grad.isfinite().all()


def test_sliced_and_reversed_memory() -> None:
    q, k, v = (x.detach() for x in tensors(140, width=8))
    op = attnlang.load("stdlib:causal").compile("blocked")
    strided = op(q[:, :, ::2, ::2], k[:, :, ::2, ::2], v[:, :, ::2])
    plain = op(*(x.contiguous() for x in (q[:, :, ::2, ::2], k[:, :, ::2, ::2], v[:, :, ::2])))
    torch.testing.assert_close(strided, plain)


@pytest.mark.parametrize("backend", BACKENDS)
def test_copies_and_pickles(backend: str) -> None:
    op = attnlang.compile("stdlib:sliding_window", window=9, backend=backend, scale=0.5)
    q, k, v = (x.detach() for x in tensors(30))
    expected = op(q, k, v)
    for again in (copy.deepcopy(op), pickle.loads(pickle.dumps(op)), copy.copy(op)):
        assert again is not op
        assert (again.backend, again.scale) == (backend, 0.5)
        assert again.pattern.params == {"window": 9, "sinks": 0}
        assert again.pattern.hash == op.pattern.hash
        assert torch.equal(again(q, k, v), expected)


def test_patterns_pickle_too() -> None:
    pattern = attnlang.load("stdlib:neighborhood_2d", window=(3, 5))
    again = pickle.loads(pickle.dumps(pattern))
    assert again.hash == pattern.hash
    assert (again.params, again.meta) == (pattern.params, pattern.meta)


def test_an_op_is_a_module() -> None:
    layer = torch.nn.Sequential()
    layer.add_module("attention", attnlang.compile("stdlib:causal", backend="blocked"))
    assert list(layer.parameters()) == []
    assert layer.state_dict() == {}
    assert repr(layer.attention) == "AttentionOp(causal(), backend='blocked')"


def test_one_op_at_many_lengths() -> None:
    """Nothing is cut from a larger mask: every length is planned for itself (attention-gym#34)."""
    op = attnlang.compile("stdlib:sliding_window", window=9, sinks=2, backend="blocked")
    for n in (70, 8, 129, 70, 1, 30):
        q, k, v = (x.detach() for x in tensors(n))
        fresh = attnlang.compile("stdlib:sliding_window", window=9, sinks=2, backend="reference")
        torch.testing.assert_close(op(q, k, v), fresh(q, k, v))


def test_more_lengths_than_are_remembered() -> None:
    op = attnlang.compile("stdlib:causal", backend="blocked")
    for n in range(1, 140):
        q, k, v = (x.detach() for x in tensors(n, heads=1, width=1))
        assert op(q, k, v).shape == (1, 1, n, 1)
    assert len(op._problems) <= 64


def test_a_mask_of_the_call_before_is_not_used_again() -> None:
    """Same shapes, other documents (flashinfer#1028 kept a stale mask)."""
    op = attnlang.compile("stdlib:lca_causal_document", backend="blocked")
    dense = attnlang.compile("stdlib:lca_causal_document", backend="reference")
    q, k, v = (x.detach() for x in tensors(66))
    doc = torch.zeros(1, 66, dtype=torch.int64)
    for at in (66, 10, 50):
        doc[:, at:] += 1  # in place: the same tensor with other values
        torch.testing.assert_close(op(q, k, v, doc=doc), dense(q, k, v, doc=doc))


def test_scales() -> None:
    q, k, v = (x.detach() for x in tensors(20))
    for backend in BACKENDS:
        given = attnlang.compile("stdlib:causal", backend=backend)(q, k, v, scale=0.3)
        own = attnlang.compile("stdlib:causal", backend=backend, scale=0.3)(q, k, v)
        torch.testing.assert_close(given, own)
        said = "pattern p:\n    over n\n    attend where k.n <= q.n\n        scale 0.3\n"
        pattern = attnlang.parse(said).compile(backend, scale=7.0)
        torch.testing.assert_close(
            pattern(q, k, v, scale=9.0), own
        )  # the pattern's own scale rules


def test_the_sequence_of_the_lse_and_without_it() -> None:
    q, k, v = tensors(66)
    for backend in BACKENDS:
        op = attnlang.compile("stdlib:causal", backend=backend)
        out = op(q, k, v)
        assert isinstance(out, torch.Tensor)
        both = op(q, k, v, return_lse=True)
        assert isinstance(both, tuple)
        torch.testing.assert_close(both[0], out)
        assert both[1].shape == (1, 2, 66)


def test_attention_in_two_parts_merges_by_the_lse() -> None:
    """Near and far keys apart, joined by their normalisers, are all keys; in gradients too."""
    near = attnlang.parse(
        "pattern p:\n    over n\n    attend where 0 <= q.n - k.n < 20\n"
    ).compile()
    far = attnlang.parse("pattern p:\n    over n\n    attend where q.n - k.n >= 20\n").compile()
    q, k, v = tensors(70)
    (a, x), (b, y) = near(q, k, v, return_lse=True), far(q, k, v, return_lse=True)
    total = torch.logaddexp(x, y)
    joined = a * (x - total).exp()[..., None] + b * (y - total).exp()[..., None]
    whole = attnlang.compile("stdlib:causal")(q, k, v)
    torch.testing.assert_close(joined, whole)
    grads = (torch.autograd.grad(out.square().sum(), (q, k, v)) for out in (joined, whole))
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_decides_the_dtype_of_the_inputs_alone(backend: str) -> None:
    op = attnlang.compile("stdlib:causal", backend=backend)
    q, k, v = (x.detach().float() for x in tensors(20))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = op(*(x.bfloat16() for x in (q, k, v)))
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), op(q, k, v), atol=0.03, rtol=0.03)


@pytest.mark.parametrize("option", ["", "        score 0.5 * s\n", "        sink 0.1\n"])
@pytest.mark.parametrize(
    "where",
    ["0 <= q.n - k.n < 9", "(q.n - k.n) % 70 < 3", "q.n > 66 and k.n < q.n - 66", "k.n < q.n"],
)
def test_training_after_inference(where: str, option: str) -> None:
    """What was planned in inference mode serves a call that learns."""
    op = attnlang.parse(f"pattern p:\n    over n\n    attend where {where}\n{option}").compile()
    q, k, v = (x.detach() for x in tensors(130))
    with torch.inference_mode():
        inside = op(q, k, v)
    q.requires_grad_()
    out = op(q, k, v)
    torch.testing.assert_close(inside.clone(), out)
    out.sum().backward()
    assert q.grad is not None


def test_explicit_backends_never_become_another() -> None:
    """Per-head token inputs in `where` are refused, not run elsewhere."""
    text = (
        "pattern p:\n    over n\n    input open: bool[batch, head, n]\n"
        "    attend where k.open and k.n <= q.n empty zero\n"
    )
    pattern = attnlang.parse(text)
    with pytest.raises(attnlang.Unsupported) as raised:
        pattern.compile("blocked")
    assert str(raised.value) == (
        "backend 'blocked' does not support an input per head (`open`) in `where`; "
        "use backend='reference'"
    )
    assert raised.value.feature == "an input per head (`open`) in `where`"
    assert raised.value.backend == "blocked"
    q, k, v = (x.detach() for x in tensors(9))
    given = torch.rand(1, 2, 9) < 0.5
    out = pattern.compile("reference")(q, k, v, open=given)
    assert torch.equal(pattern.compile("auto")(q, k, v, open=given), out)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("blokced", "did you mean `blocked`?"),
        ("Blocked", "did you mean `blocked`?"),
        ("refrence", "did you mean `reference`?"),
        ("cuda", "known here: "),
    ],
)
def test_unknown_backends(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match="there is no backend") as raised:
        attnlang.compile("stdlib:causal", backend=name)
    assert str(raised.value).startswith(f"there is no backend {name!r}; {hint}")

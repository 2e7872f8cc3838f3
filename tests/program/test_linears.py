"""Linear attention in programs: what goes together, states, packed documents."""

from __future__ import annotations

import pytest
import torch

from attnlang.backends.arguments import ArgumentError
from attnlang.backends.linear import State
from attnlang.compiler.diagnostics.model import PatternError
from tests.program.test_programs import BACKENDS, parse, qkv, same

Tensor = torch.Tensor
each_backend = pytest.mark.parametrize("backend", BACKENDS)
LINEAR = "    attend linear where causal(n)\n        decay -0.1 * float(head + 1)\n"


@each_backend
def test_scales_of_single_heads(backend: str) -> None:
    p = parse("    over n\n" + LINEAR + "        scale 0.5 * float(head + 1)\n")
    one = parse("    over n\n" + LINEAR + "        scale 0.5\n")
    q, k, v = qkv(11, 11)
    factors = torch.arange(1.0, 5.0).double()[:, None, None]
    same(p.compile(backend)(q, k, v), factors * one.compile(backend)(q, k, v))


@each_backend
def test_all_pairs_decay_with_the_distance(backend: str) -> None:
    p = parse("    over n\n    attend linear where true\n        decay -0.3\n        scale 1.0\n")
    q, k, v = qkv(11, 11, kv_heads=4)
    away = (torch.arange(11)[:, None] - torch.arange(11)).abs().double()
    same(p.compile(backend)(q, k, v), (q @ k.mT * torch.exp(-0.3 * away)) @ v)
    with pytest.raises(ArgumentError, match="no state"):
        p.compile(backend)(q, k, v, state={"attended": State(torch.zeros(2, 4, 8, 8))})


@each_backend
def test_softmax_over_the_past(backend: str) -> None:
    """Of numbers that a tensor makes, some heads and packed documents, in pieces."""
    p = parse(
        "    over n\n    input doc: int[batch, n] sorted\n    x = total(k * k)\n"
        "    heads[:2]:\n        attend linear where causal(n) and q.doc == k.doc\n"
        "            score k.x * float(head - 1)\n            normalise softmax\n"
        "    heads[2:]:\n        attend linear where causal(n) and q.doc == k.doc\n"
        "            score k.x * float(head - 1)\n            normalise softmax\n"
    )
    q, k, v = qkv(12, 12)
    doc = torch.tensor([[0] * 5 + [1] * 7, [3] * 12])
    op = p.compile(backend)
    out, last = op(q, k, v, doc=doc, return_state=True)
    seen = torch.tril(torch.ones(12, 12, dtype=torch.bool)) & (doc[:, :, None] == doc[:, None])
    s = k.square().sum(-1).repeat_interleave(2, 1) * torch.arange(-1.0, 3.0).double()[:, None]
    logits = torch.where(seen[:, None], s[:, :, None], -torch.inf)
    expected = logits.softmax(-1) @ v.repeat_interleave(2, 1)
    same(out, expected)
    for a, b in zip(
        *(
            torch.autograd.grad(x.square().sum(), (k, v), retain_graph=True)
            for x in (out, expected)
        ),
        strict=True,
    ):
        same(a, b)
    _, state = op(q[:, :, :7], k[:, :, :7], v[:, :, :7], doc=doc[:, :7], return_state=True)
    rest = [x[:, :, 7:] for x in (q, k, v)]
    same(op(*rest, doc=doc[:, 7:], state=state), out[:, :, 7:])
    assert list(last) == ["attended.0", "attended.1"]


@each_backend
def test_linear_beside_keys_that_are_kept(backend: str) -> None:
    """The sum goes on from its state, the window reads the keys that are all given."""
    p = parse(
        "    over n\n    far = attend linear where causal(n)\n        decay -0.1\n"
        "    near = attend where band(n, 4)\n    return far + near\n"
    )
    op = p.compile(backend)
    q, k, v = qkv(13, 13)
    whole, last = op(q, k, v, return_state=True)
    _, state = op(q[:, :, :9], k[:, :, :9], v[:, :, :9], return_state=True)
    outs = []
    for n in range(9, 13):
        at = [x[:, :, : n + 1] for x in (k, v)]
        out, state = op(q[:, :, n : n + 1], *at, q_offset=n, state=state, return_state=True)
        outs.append(out)
    same(torch.cat(outs, 2), whole[:, :, 9:])
    for name in last:
        same(state[name].s, last[name].s)


def test_documents_come_one_behind_the_other() -> None:
    p = parse(
        "    over n\n    input doc: int[batch, n] sorted\n"
        "    attend linear where causal(n) and q.doc == k.doc\n"
    )
    q, k, v = qkv(4, 4)
    for backend in BACKENDS:
        with pytest.raises(ArgumentError, match="sorted"):
            p.compile(backend)(q, k, v, doc=torch.tensor([[0, 1, 1, 0]] * 2))


def test_states_of_others_are_refused() -> None:
    p = parse("    over n\n" + LINEAR)
    q, k, v = qkv(4, 4)
    for backend in BACKENDS:
        op = p.compile(backend)
        with pytest.raises(ArgumentError, match=r"must be \[2, 4, 8, 8\]"):
            op(q, k, v, state={"attended": State(torch.zeros(2, 4, 8, 7))})
        with pytest.raises(ArgumentError, match="there is attended"):
            op(q, k, v, state={"other": State(torch.zeros(2, 4, 8, 8))})
    plain = parse("    over n\n    attend where causal(n)\n").compile()
    with pytest.raises(ArgumentError, match="keeps no state"):
        plain(q, k, v, state={"attended": State(torch.zeros(2, 4, 8, 8))})


@pytest.mark.parametrize(
    ("where", "options", "words"),
    [
        ("true", "decay k.a", "the same for all tokens"),
        ("true", "delta 0.5", "no delta rule"),
        ("causal(n)", "delta 0.5\n        score s * s", "plain scores"),
        ("causal(n)", "score k.a\n        normalise softmax\n        decay -0.1", "without decay"),
        ("causal(n)", "normalise softmax", "a number of each key"),
        ("causal(n)", "score q.a\n        normalise softmax", "a number of each key"),
        ("causal(n)", "score s\n        normalise softmax", "a number of each key"),
        ("true", "score k.a\n        normalise softmax", "over the past"),
        ("causal(n)", "delta 0.5\n        normalise sum", "plain scores"),
        ("causal(n)", "decay -float(channel)\n        score s * s", "plain scores"),
        ("causal(n) and q.doc == k.doc", "scale 1.0", "`doc` is `sorted`"),
    ],
)
def test_what_has_no_meaning_together(where: str, options: str, words: str) -> None:
    with pytest.raises(PatternError, match="AL315") as caught:
        parse(
            "    over n\n    input a: float[batch, n] nonpositive\n    input doc: int[batch, n]\n"
            f"    attend linear where {where}\n        {options}\n"
        )
    assert words in str(caught.value)

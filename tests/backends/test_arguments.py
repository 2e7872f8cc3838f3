"""Arguments that do not fit: every mistake is named before anything runs, in these very words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.arguments import ArgumentError

CAUSAL = attnlang.load("stdlib:causal")
PACKED = attnlang.load("stdlib:lca_causal_document")
IMAGE = attnlang.parse("pattern p:\n    over y, x\n    attend where q.y == k.y\n")


def ones(*shape: int, **kwargs: Any) -> torch.Tensor:
    return torch.ones(shape, **kwargs)


def refused(pattern: attnlang.Pattern, *args: Any, **kwargs: Any) -> str:
    messages = []
    for backend in ("reference", "blocked"):
        with pytest.raises(ArgumentError) as raised:
            pattern.compile(backend)(*args, **kwargs)
        messages.append(str(raised.value))
    assert messages[0] == messages[1]
    return messages[0]


X = ones(1, 2, 8, 4)


@pytest.mark.parametrize(
    ("q", "k", "v", "message"),
    [
        (ones(2, 8, 4), X, X, "q must have 4 dimensions [batch, heads, tokens, head_dim], not 3: [2, 8, 4]"),
        (X, ones(8), X, "k must have 4 dimensions [batch, heads, tokens, head_dim], not 1: [8]"),
        (X.int(), X, X, "q must be float16, bfloat16, float32 or float64, not torch.int32"),
        (X, X.bool(), X, "k must be float16, bfloat16, float32 or float64, not torch.bool"),
        (X, X, X.double(), "v is torch.float64, but q is torch.float32"),
        (X, X.half(), X.half(), "k is torch.float16, but q is torch.float32"),
        (X, X.to("meta"), X, "k is on meta, but q is on cpu"),
        ([1.0], X, X, "q must be a tensor, not list"),
        (X, None, X, "k must be a tensor, not NoneType"),
        (X, X, ones(1, 2, 7, 4), "k and v must agree in batch, heads and tokens: k is [1, 2, 8, 4], v is [1, 2, 7, 4]"),
        (X, ones(3, 2, 8, 4), ones(3, 2, 8, 4), "q has batch 1, k and v have batch 3"),
        (X, ones(1, 2, 8, 5), X, "q has head_dim 4, k has 5"),
        (X, ones(1, 3, 8, 4), ones(1, 3, 8, 4), "the heads of q (2) must be a multiple of those of k and v (3)"),
        (X, ones(1, 0, 8, 4), ones(1, 0, 8, 4), "the heads of q (2) must be a multiple of those of k and v (0)"),
    ],
)  # fmt: skip
def test_tensors(q: Any, k: Any, v: Any, message: str) -> None:
    assert refused(CAUSAL, q, k, v) == message


def test_sizes_that_are_not_known() -> None:
    message = 'q has 8 tokens in an unknown arrangement: give sizes={"y": ..., "x": ...}'
    assert refused(IMAGE, X, X, X) == message
    half = 'q has 8 tokens in an unknown arrangement: give sizes={"x": ...}'
    assert refused(IMAGE, X, X, X, {"y": 2}) == half


def test_sizes_that_contradict_the_tensors() -> None:
    message = "q must have 6 tokens (y 2×x 3), not 8"
    assert refused(IMAGE, X, X, X, {"y": 2, "x": 3}) == message
    other = "k and v must have 6 tokens (y 2×x 3), not 8"
    assert refused(IMAGE, X, X, X, {"q.y": 2, "q.x": 4, "y": 2, "x": 3}) == other
    assert refused(CAUSAL, X, X, X, {"n": 9}) == "q must have 9 tokens (n 9), not 8"
    prefixed = attnlang.parse("pattern p:\n    over n\n    prefix cls: 3\n    attend where true\n")
    assert refused(prefixed, X, X, X, {"n": 6}) == "q must have 9 tokens (cls 3 + n 6), not 8"
    long = attnlang.parse("pattern p:\n    over n\n    prefix cls: 9\n    attend where true\n")
    assert refused(long, X, X, X) == "q has 8 tokens, fewer than the sizes given need"


@pytest.mark.parametrize("size", [2.0, "2", None, [2]])
def test_sizes_that_are_no_sizes(size: object) -> None:
    message = f"sizes: 'y' must be a whole number, not {size!r}"
    assert refused(IMAGE, X, X, X, {"y": size, "x": 4}) == message
    assert refused(IMAGE, X, X, X, (2, 4)) == "sizes must map names to lengths, not be tuple"


def test_sizes_of_nothing() -> None:
    with pytest.raises(attnlang.PatternError) as raised:
        CAUSAL.compile()(X, X, X, {"n": 8, "m": 8})
    assert [d.code for d in raised.value.diagnostics] == ["AL412"]


def test_lengths_follow_the_tensors() -> None:
    assert CAUSAL.compile()(X[:, :, :1], X, X, q_offset=7).shape == (1, 2, 1, 4)
    assert IMAGE.compile()(X, X, X, {"y": 2, "x": 4}).shape == X.shape
    sized = attnlang.parse("pattern p:\n    over n\n    suffix reg: 3\n    attend where true\n")
    assert sized.compile()(X, X, X).shape == X.shape


# -- run-time tensors -----------------------------------------------------------------------------

DOC = torch.zeros(1, 8, dtype=torch.int64)


def codes(pattern: attnlang.Pattern, **inputs: Any) -> list[str]:
    with pytest.raises(attnlang.PatternError) as raised:
        pattern.compile()(X, X, X, **inputs)
    return [d.code for d in raised.value.diagnostics]


def test_missing_and_unknown_inputs() -> None:
    assert codes(PACKED) == ["AL407"]
    assert codes(PACKED, doc=None) == ["AL407"]
    assert codes(PACKED, docs=DOC) == ["AL412"]
    assert codes(CAUSAL, doc=DOC) == ["AL412"]
    with pytest.raises(attnlang.PatternError) as raised:
        PACKED.compile()(X, X, X, doc=DOC, dox=DOC)
    (found,) = raised.value.diagnostics
    assert found.message == "pattern `lca_causal_document` takes no `dox`"
    assert found.help == "did you mean `doc`?"


@pytest.mark.parametrize(
    ("doc", "message"),
    [
        (
            torch.zeros(1, 7, dtype=torch.int64),
            "must have shape [1, 8] (int[batch, n]), not [1, 7]",
        ),
        (
            torch.zeros(2, 8, dtype=torch.int64),
            "must have shape [1, 8] (int[batch, n]), not [2, 8]",
        ),
        (torch.zeros(8, dtype=torch.int64), "must have shape [1, 8] (int[batch, n]), not [8]"),
        (torch.zeros(1, 8), "must hold int values (int[batch, n]), not torch.float32"),
        (
            torch.zeros(1, 8, dtype=torch.bool),
            "must hold int values (int[batch, n]), not torch.bool",
        ),
        ("doc", "must be a tensor, not str"),
        (object(), "must be a tensor, not object"),
        ((DOC, DOC, DOC), "must be one tensor or a pair (for_q, for_k), not 3 values"),
        ((DOC,), "must be one tensor or a pair (for_q, for_k), not 1 values"),
    ],
)
def test_inputs_that_do_not_fit(doc: object, message: str) -> None:
    assert (
        refused(PACKED, X, X, X, doc=doc)
        == f"input `doc` of pattern `lca_causal_document` {message}"
    )


def test_an_input_on_another_device() -> None:
    message = "input `doc` of pattern `lca_causal_document` is on meta, but q is on cpu"
    assert refused(PACKED, X, X, X, doc=DOC.to("meta")) == message


def test_integers_beyond_32_bits() -> None:
    with pytest.raises(ArgumentError) as raised:
        PACKED.compile("blocked")(X, X, X, doc=torch.full((1, 8), 2**31))
    assert str(raised.value) == "input `doc` must hold values of at most 2147483647"


def test_unlike_lengths_ask_for_a_pair() -> None:
    message = refused(PACKED, X[:, :, :3], X, X, doc=DOC)
    assert message == (
        "input `doc` of pattern `lca_causal_document` must have shape [1, 3] (int[batch, n]), "
        "not [1, 8]; queries and keys differ in length: give a pair (for_q, for_k)"
    )
    assert PACKED.compile()(X[:, :, :3], X, X, doc=(DOC[:, :3], DOC)).shape == (1, 2, 3, 4)


def test_inputs_need_not_be_tensors() -> None:
    lists = PACKED.compile()(X, X, X, doc=[[0] * 8])
    assert torch.equal(lists, PACKED.compile()(X, X, X, doc=DOC.to(torch.int16)))


@pytest.mark.parametrize(
    ("declaration", "shape", "expected"),
    [
        ("float[head, 5]", (2, 4), "[2, 5] (float[head, 5])"),
        ("float[heads // 2, len(n) + 1]", (1, 8), "[1, 9] (float[heads // 2, len(n) + 1])"),
        ("float[kv_heads, head_dim]", (1, 3), "[1, 4] (float[kv_heads, head_dim])"),
        ("float[batch, head]", (1, 3), "[1, 2] (float[batch, head])"),
    ],
)
def test_shapes_of_tables(declaration: str, shape: tuple[int, ...], expected: str) -> None:
    rank = declaration.count(",") + declaration.count("[") - declaration.count("batch")
    index = f"[{', '.join(['0'] * rank)}]"
    pattern = attnlang.parse(
        f"pattern p:\n    over n\n    input t: {declaration}\n    attend where k.n <= q.n\n"
        f"        score s + t{index}\n"
    )
    found = refused(pattern, X, X[:, :1], X[:, :1], t=torch.zeros(shape))
    assert found == f"input `t` of pattern `p` must have shape {expected}, not {list(shape)}"


def test_passing_queries_through_needs_values_as_wide() -> None:
    pattern = attnlang.parse(
        "pattern p:\n    over n\n    attend where k.n <= q.n empty passthrough\n"
    )
    assert refused(pattern, X, X, X[..., :3]) == (
        "`empty passthrough` gives queries (head_dim 4) for outputs: v must have as many, not 3"
    )


def test_nothing_runs_on_a_mistake() -> None:
    """Errors come before any work: a wrong call leaves the op as it was."""
    op = CAUSAL.compile("blocked")
    with pytest.raises(ArgumentError):
        op(X, X, X, {"n": 9})
    assert op._problems == {}
    assert isinstance(ArgumentError("x"), ValueError)
    assert isinstance(ArgumentError("x"), attnlang.AttnlangError)

"""The blocked backend at awkward shapes: tile edges, odd heads, unlike lengths, cross-attention."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

import attnlang
from tests.backends.calls import AttentionCall, check

PATTERNS = {
    "causal": ("n", "k.n <= q.n"),
    "window": ("n", "0 <= q.n - k.n < 40"),
    "two_sided": ("n", "abs(q.n - k.n) <= 17"),
    "sinks": ("n", "k.n <= q.n and (q.n - k.n < 30 or k.n < 5)"),
    "blocks": ("n", "q.n // 24 == k.n // 24 and k.n <= q.n"),
    "dilated": ("n", "abs(q.n - k.n) <= 60 and q.n % 3 == k.n % 3"),
    "holes": ("n", "(q.n - k.n) % 70 < 3"),
    "late": ("n", "q.n > 66 and k.n < q.n - 66"),
}


def tensors(
    n_q: int,
    n_k: int | None = None,
    *,
    batch: int = 1,
    heads: int = 2,
    kv_heads: int | None = None,
    width: int = 4,
    value_width: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n_q)
    n_k, kv_heads, value_width = n_k or n_q, kv_heads or heads, value_width or width
    shapes = ((heads, n_q, width), (kv_heads, n_k, width), (kv_heads, n_k, value_width))
    q, k, v = (torch.randn(batch, *s, generator=generator, dtype=dtype) for s in shapes)
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def text(axes: str, where: str, *options: str) -> str:
    more = "".join(f"        {option}\n" for option in options)
    return f"pattern p:\n    over {axes}\n    attend where {where}\n{more}"


def call(
    source: str,
    qkv: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    sizes: Mapping[str, int] | None = None,
    q_offset: int = 0,
    **inputs: Any,
) -> AttentionCall:
    return AttentionCall(source, sizes or {}, *qkv, inputs, q_offset)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 127, 128, 129, 193])
@pytest.mark.parametrize("name", PATTERNS)
def test_lengths_around_tiles(name: str, n: int) -> None:
    check(call(text(*PATTERNS[name]), tensors(n)))


@pytest.mark.parametrize("name", PATTERNS)
def test_lengths_around_tiles_with_written_scores(name: str) -> None:
    for n in (64, 65, 129):
        check(call(text(*PATTERNS[name], "score s * 1.5 - 0.1 * abs(q.n - k.n)"), tensors(n)))


@pytest.mark.parametrize(
    ("heads", "kv_heads"), [(1, 1), (3, 3), (2, 1), (4, 2), (3, 1), (6, 2), (7, 7)]
)
@pytest.mark.parametrize("name", ["window", "sinks", "blocks"])
def test_odd_heads_and_shared_key_heads(name: str, heads: int, kv_heads: int) -> None:
    check(
        call(text(*PATTERNS[name]), tensors(70, batch=2, heads=heads, kv_heads=kv_heads, width=3))
    )


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_heads_of_unlike_patterns_share_key_heads(kv_heads: int) -> None:
    """Groups of heads that cut across the query heads of one key head."""
    source = (
        "pattern p:\n    over n\n"
        "    heads[:1]:\n        attend where k.n <= q.n\n"
        "    heads[1:3]:\n        attend where abs(q.n - k.n) < 5 and head % 2 == 0\n"
        "    heads[3:]:\n        attend where k.n <= q.n\n            score 0.5 * s\n"
    )
    check(call(source, tensors(70, heads=4, kv_heads=kv_heads)))


@pytest.mark.parametrize("widths", [(1, 1), (8, 3), (3, 8), (5, 16), (65, 2)])
@pytest.mark.parametrize("name", ["causal", "holes"])
def test_values_of_another_width(name: str, widths: tuple[int, int]) -> None:
    check(call(text(*PATTERNS[name]), tensors(66, width=widths[0], value_width=widths[1])))


@pytest.mark.parametrize(
    ("n_q", "n_k"), [(1, 65), (65, 1), (70, 200), (200, 70), (64, 63), (3, 128)]
)
@pytest.mark.parametrize("name", PATTERNS)
def test_unlike_lengths(name: str, n_q: int, n_k: int) -> None:
    check(call(text(*PATTERNS[name]), tensors(n_q, n_k)))


@pytest.mark.parametrize(
    ("n_q", "n_k", "offset"), [(1, 65, 64), (5, 130, 125), (64, 200, 100), (1, 1, 0), (4, 70, 500)]
)
@pytest.mark.parametrize("name", PATTERNS)
def test_queries_of_a_decode_step(name: str, n_q: int, n_k: int, offset: int) -> None:
    check(call(text(*PATTERNS[name]), tensors(n_q, n_k), q_offset=offset))


@pytest.mark.parametrize("name", PATTERNS)
def test_a_decode_step_is_the_row_of_the_whole(name: str) -> None:
    q, k, v = (x.detach() for x in tensors(90))
    op = attnlang.parse(text(*PATTERNS[name])).compile()
    whole = op(q, k, v)
    for at in (0, 63, 64, 89):
        torch.testing.assert_close(
            op(q[:, :, at : at + 1], k, v, q_offset=at)[:, :, 0], whole[:, :, at]
        )


# -- grids ----------------------------------------------------------------------------------------

GRIDS = {
    "neighborhood": "near(y, 3) and near(x, 3)",
    "dilated": "near(y, 2, dilation=2) and near(x, 3)",
    "windows": "block(y, 4) and block(x, 4)",
    "shifted": "block(y, 4, 2) and block(x, 4, 2)",
    "lattice": "grid(y, 3) and grid(x, 2)",
    "halo": "halo(y, 3, 1) and halo(x, 4, 2)",
    "rows": "q.y == k.y",
    "columns": "q.x == k.x and k.y <= q.y",
    "disc": "(q.y - k.y) * (q.y - k.y) + (q.x - k.x) * (q.x - k.x) <= 9",
    "raster": "k.index <= q.index and abs(q.y - k.y) <= 1",
}


@pytest.mark.parametrize("shape", [(12, 10), (7, 9), (8, 8), (1, 13), (13, 3)])
@pytest.mark.parametrize("name", GRIDS)
def test_images(name: str, shape: tuple[int, int]) -> None:
    y, x = shape
    if name in ("neighborhood", "dilated") and min(shape) < 4:
        pytest.skip("the window does not fit")
    sizes = {"y": y, "x": x}
    check(call(text("y, x", GRIDS[name]), tensors(y * x, heads=1, width=2), sizes))


@pytest.mark.parametrize(
    "where",
    [
        GRIDS["halo"],
        GRIDS["disc"],
        GRIDS["rows"],
        "abs(q.y - k.y) <= 1 and abs(q.x - k.x) <= 2",
        "0 <= q.y - k.y < 1 and 0 <= q.x - k.x < 1",  # every token its own key, numbered unlike
    ],
)
def test_grids_of_unlike_shape(where: str) -> None:
    """The keys' own strides count, not the queries'."""
    for y, x in ((7, 9), (4, 3), (6, 9)):
        sizes = {"q.y": 6, "q.x": 5, "k.y": y, "k.x": x}
        check(call(text("y, x", where), tensors(30, y * x), sizes))


@pytest.mark.parametrize("where", ["causal(n)", "k.n == q.n", "true"])
@pytest.mark.parametrize("prefixes", ["", "a", "ab"])
def test_prefixes_that_no_query_sees(where: str, prefixes: str) -> None:
    """Also where they are as long as the sequence, which then does not start with its first key."""
    n = 6
    lines = "".join(f"    prefix {p}: {n} on k\n" for p in prefixes)
    pattern = f"pattern p:\n    over n\n{lines}    attend where k in grid and {where}\n"
    check(call(pattern, tensors(n, n * (1 + len(prefixes))), {}))


def test_videos() -> None:
    sizes = {"t": 3, "y": 5, "x": 6}
    where = "k.t <= q.t and near(y, 3) and near(x, 3, dilation=2)"
    check(call(text("t, y, x", where), tensors(90), sizes))
    check(call(text("t, y, x", "q.t == k.t or q.y == k.y and q.x == k.x"), tensors(90), sizes))


# -- prefixes, suffixes, other sides --------------------------------------------------------------

SOURCES: dict[str, tuple[str, Callable[[], tuple[torch.Tensor, ...]], dict[str, int]]] = {
    "class token": (
        "over y, x\nprefix cls: 1\nattend where q in cls or k in cls or within(y, 1) and within(x, 1)",
        lambda: tensors(1 + 30), {"y": 5, "x": 6},
    ),
    "registers behind": (
        "over n\nsuffix reg: 3\nattend where q in reg or k in reg or k.n <= q.n",
        lambda: tensors(70 + 3), {"n": 70},
    ),
    "both": (
        "over n\nprefix a: 2\nsuffix b: 5\n"
        "attend where (q in a and k in a) or k in b or (q in grid and k in grid and abs(q.n - k.n) < 9)",
        lambda: tensors(2 + 66 + 5), {"n": 66},
    ),
    "text joined to the keys alone": (
        "over n\nprefix text: 4 on k\nattend where k in text or k.n <= q.n",
        lambda: tensors(66, 70), {"n": 66},
    ),
    "an empty prefix": (
        "over n\nprefix text: 0\nattend where k in text or q in text or k.n <= q.n",
        lambda: tensors(66), {"n": 66},
    ),
    "cross-attention to a text": (
        "over q: y, x\nover k: n\nattend where k.n <= q.y + q.x",
        lambda: tensors(35, 12), {"y": 5, "x": 7, "n": 12},
    ),
    "a coarse map of the keys": (
        "over q: y, x\nover k: v, u\nattend where abs(q.y // 2 - k.v) <= 1 and abs(q.x // 2 - k.u) <= 1",
        lambda: tensors(48, 12), {"y": 6, "x": 8, "v": 3, "u": 4},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_sources_of_tokens(name: str) -> None:
    body, make, sizes = SOURCES[name]
    source = "pattern p:\n" + "".join(f"    {line}\n" for line in body.split("\n"))
    check(call(source, make(), sizes))  # type: ignore[arg-type]
    check(call(source + "        score 0.5 * s\n        sink 0.3\n", make(), sizes))  # type: ignore[arg-type]


# -- batches with tensors of their own ------------------------------------------------------------


@pytest.mark.parametrize("score", ["", "        score s + bias[head]\n"])
def test_documents_differ_by_batch(score: str) -> None:
    source = (
        "pattern p:\n    over n\n    input doc: int[batch, n] sorted\n    input bias: float[head] optional\n"
        f"    attend where q.doc == k.doc and k.n <= q.n\n{score}"
    )
    doc = torch.tensor([[0] * 30 + [1] * 40, [0] * 1 + [4] * 69, list(range(70))])
    given = {"bias": torch.randn(2, dtype=torch.float64, requires_grad=True)} if score else {}
    check(call(source, tensors(70, batch=3), None, 0, doc=doc, **given))


def test_one_table_for_all_batches() -> None:
    source = (
        "pattern p:\n    over n\n    input open: bool[batch, 8]\n"
        "    attend where open[k.n // 10] and k.n <= q.n empty zero\n"
    )
    for batch in (1, 2):
        given = torch.tensor([[True, False, True, True, False, False, True, True]] * batch)
        given[-1, 0] = False
        check(call(source, tensors(75, batch=2), None, 0, open=given))


def test_a_table_for_each_head_in_where() -> None:
    source = (
        "pattern p:\n    over n\n    input open: bool[batch, head, 8]\n"
        "    attend where open[head, k.n // 10] and k.n <= q.n empty full\n"
    )
    generator = torch.Generator().manual_seed(0)
    given = torch.rand(2, 4, 8, generator=generator) < 0.6
    check(call(source, tensors(75, batch=2, heads=4, kv_heads=2), None, 0, open=given))


@pytest.mark.parametrize("n", [1, 5, 70])
@pytest.mark.parametrize("entry", ["flag[1]", "flag[0] or k.n == q.n", "not flag[9]"])
def test_entries_that_all_pairs_read(entry: str, n: int) -> None:
    """They are on no axis; outside its table an entry is false."""
    source = (
        "pattern p:\n    over n\n    input flag: bool[batch, 2]\n"
        f"    attend where ({entry}) and causal(n) empty zero\n"
    )
    flag = torch.tensor([[False, True], [True, False], [False, False]])
    check(call(source, tensors(n, batch=3), flag=flag))


def test_a_decode_step_without_the_prefix_among_its_queries() -> None:
    source = (
        "pattern p:\n    over n\n    prefix cls: 2\n"
        "    attend where k in cls or (q in grid and k in grid and 0 <= q.n - k.n < 9)\n"
    )
    q, k, v = (x.detach() for x in tensors(2 + 70))
    op = attnlang.parse(source).compile()
    whole = op(q, k, v, {"n": 70})
    for at in (0, 8, 69):
        step = op(q[:, :, 2 + at : 3 + at], k, v, {"q.cls": 0, "q.n": 1, "k.n": 70}, q_offset=at)
        torch.testing.assert_close(step[:, :, 0], whole[:, :, 2 + at])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["causal", "blocks", "holes"])
def test_strides_of_any_order(name: str, dtype: torch.dtype) -> None:
    """Features need not lie one behind the other, in the gradient neither."""
    pattern = attnlang.parse(text(*PATTERNS[name]))
    made = [x.detach().to(dtype) for x in tensors(70)]
    turned = [x.transpose(-1, -2).contiguous().transpose(-1, -2).requires_grad_() for x in made]
    plain = [x.clone().requires_grad_() for x in made]
    slope = torch.randn(1, 2, 4, 70, dtype=dtype).transpose(-1, -2)
    op = pattern.compile("blocked")
    for a, b in zip(op(*turned), op(*plain), strict=True):
        torch.testing.assert_close(a, b)
    found, expected = (torch.autograd.grad(op(*x), x, slope) for x in (turned, plain))
    reference = torch.autograd.grad(pattern.compile("reference")(*plain), plain, slope)
    for a, b, c in zip(found, expected, reference, strict=True):
        torch.testing.assert_close(a, b)
        torch.testing.assert_close(a, c)


def test_an_empty_batch() -> None:
    for source in (text(*PATTERNS["window"]), text(*PATTERNS["window"], "score 0.5 * s")):
        for backend in ("reference", "blocked"):
            q, k, v = tensors(70, batch=0)
            out, lse = attnlang.parse(source).compile(backend)(q, k, v, return_lse=True)
            assert (out.shape, lse.shape) == ((0, 2, 70, 4), (0, 2, 70))


def test_pairs_for_queries_and_keys() -> None:
    source = "pattern p:\n    over n\n    input doc: int[batch, n]\n    attend where q.doc == k.doc empty full\n"
    pair = (torch.randint(0, 3, (2, 5)), torch.randint(0, 4, (2, 70)))
    check(call(source, tensors(5, 70, batch=2), None, 0, doc=pair))


def test_absent_optional_tensors_read_zero() -> None:
    source = (
        "pattern p:\n    over n\n    input pad: bool[batch, n] optional\n    input far: int[4] optional\n"
        "    input bias: float[head, n] optional\n"
        "    attend where k.n <= q.n and not k.pad and q.n - k.n >= far[0] empty zero\n"
        "        score s + k.bias\n"
    )
    check(call(source, tensors(66)))
    assert attnlang.parse(source).mask({"n": 3}).sum() == 6


def test_tensors_with_the_head_behind_the_axis() -> None:
    source = (
        "pattern p:\n    over n\n    input gate: float[batch, n, head]\n    attend where k.n <= q.n\n"
        "        score s + k.gate\n"
    )
    gate = torch.randn(2, 66, 2, dtype=torch.float64, requires_grad=True)
    check(call(source, tensors(66, batch=2), None, 0, gate=gate))


def test_a_table_indexed_twice_has_both_gradients() -> None:
    """FlexAttention takes one indexing per captured tensor."""
    source = (
        "pattern p:\n    over n\n    input t: float[9]\n    attend where k.n <= q.n\n"
        "        score s + t[k.n % 9] * t[q.n % 9] + t[0]\n"
    )
    t = torch.randn(9, dtype=torch.float64, requires_grad=True)
    check(call(source, tensors(66), None, 0, t=t))

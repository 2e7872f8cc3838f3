"""Tiles read by tensor descriptors, and by pointers where tensors cannot be described."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from triton.tools.tensor_descriptor import TensorDescriptor

import attnlang
from attnlang.backends.triton import attend
from attnlang.backends.triton.attend import form_of
from attnlang.backends.triton.descriptors import aligned, describable, descriptor
from attnlang.backends.triton.module import write
from attnlang.backends.triton.source.printer import function_text
from attnlang.backends.triton.tables import kept
from attnlang.compiler.ir.expr import Side
from tests.backends.calls import AttentionCall
from tests.triton.test_attention import DEVICE, check

HEADER = "pattern p:\n    over n\n    input doc: int[n]\n    attend where "
WALKS = {
    "one span": "causal(n) and band(n, 37)",
    "two spans": "causal(n) and (band(n, 40) or k.n < 9)",
    "permuted": "causal(n) and (q.n - k.n) % 3 == 0",
    "boxes": "q.doc == k.doc and q.n >= k.n",
}
Seen = list[tuple[str, dict[str, Any], tuple[int, ...]]]


def call(where: str, queries: int = 70, keys: int = 70, kv_heads: int = 2) -> AttentionCall:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 4, queries, 16, generator=generator)
    k, v = (torch.randn(2, kv_heads, keys, 16, generator=generator) for _ in range(2))
    inputs = {"doc": torch.arange(keys) // 30} if "doc" in where else {}
    text = HEADER.replace(
        "    input doc: int[n]\n", "" if not inputs else "    input doc: int[n]\n"
    )
    return AttentionCall(text + where + "\n", {}, q, k, v, inputs, 0)


def read_by_descriptor(seen: Seen) -> set[tuple[str, str]]:
    return {
        (kernel, name)
        for kernel, given, _ in seen
        for name, x in given.items()
        if isinstance(x, TensorDescriptor)
    }


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("name", WALKS)
def test_both_ways_compute_the_same(
    name: str, described: bool, launched: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attend, "machine_describes", lambda *_: described)
    check(call(WALKS[name], kv_heads=4))
    # Permuted tokens are read one by one, by pointers.
    expected = {
        (kernel, tensor)
        for kernel, tensors in (
            ("forward", "q k v"),
            ("query_gradient", "q k v d_out"),
            ("key_gradient", "q k v d_out"),
        )
        for tensor in tensors.split()
    }
    found = read_by_descriptor(launched)
    assert found == (expected if described and name != "permuted" else set())


def test_heads_that_stand_together_read_keys_by_descriptors(launched: Seen) -> None:
    """Their queries' rows are of several heads, which no descriptor holds in one tile."""
    check(call(WALKS["one span"], kv_heads=2))
    walks = {x for x in read_by_descriptor(launched) if x[0] != "key_gradient"}
    assert walks == {(kernel, x) for kernel in ("forward", "query_gradient") for x in "kv"}


def test_shared_walks_read_keys_by_descriptors(launched: Seen) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(1, 4, 3, 16, generator=generator)
    k, v = (torch.randn(1, 2, 700, 16, generator=generator) for _ in range(2))
    check(AttentionCall("pattern p:\n    over n\n    attend where true\n", {}, q, k, v, {}, 0))
    shared = {
        tensor for kernel, tensor in read_by_descriptor(launched) if kernel == "split_forward"
    }
    assert shared == {"k", "v"}


def test_what_can_be_described() -> None:
    def fits(x: torch.Tensor) -> bool:
        return describable(x, x, x)

    x = torch.zeros(2, 3, 40, 16)
    assert fits(x)
    assert fits(x.transpose(1, 2))
    assert fits(x[:, :1].expand(2, 1, 40, 16))
    assert not fits(x[:, :1].expand(2, 3, 40, 16))
    assert not fits(x.transpose(2, 3))
    assert not fits(x[..., 1:5])
    assert not fits(torch.zeros(2, 3, 40, 17)[..., :16])
    assert not fits(torch.zeros(2, 3, 40, 18))
    assert not fits(torch.zeros(2, 3, 40, 264))
    assert not fits(x[:, :, :0])
    assert fits(torch.zeros(2, 3, 40, 24, dtype=torch.float16))
    assert not fits(torch.zeros(2, 3, 40, 20, dtype=torch.float16))


def test_strides_of_dimensions_of_one_entry_are_not_asked() -> None:
    x = torch.zeros(41)[1:].as_strided((1, 1, 2, 16), (3, 5, 16, 1))
    made = descriptor(aligned(x.clone()), 16, 16)
    assert all(4 * step % 16 == 0 for step in made.strides[:3])
    assert aligned(x).data_ptr() % 16 == 0


@pytest.mark.parametrize("spare", [1, 4])
def test_tensors_apart_are_read_where_they_lie(spare: int, launched: Seen) -> None:
    """A multiple of sixteen bytes from token to token is described, anything else is not."""
    one = call(WALKS["one span"])
    wide = [torch.nn.functional.pad(x, (0, spare)).to(DEVICE) for x in (one.q, one.k, one.v)]
    op = attnlang.parse(one.text).compile("triton")
    plain = op(*(x.to(DEVICE) for x in (one.q, one.k, one.v)))
    before = len(launched)
    torch.testing.assert_close(op(*(x[..., :16] for x in wide)), plain)
    assert bool(read_by_descriptor(launched[before:])) == (spare == 4)


def test_values_that_no_step_visits_are_not_read() -> None:
    one = call(WALKS["one span"], 300, 300)
    v = one.v.clone()
    v[:, :, :64] = float("inf")
    op = attnlang.parse(one.text).compile("triton")
    q, k, v, clean = (x.to(DEVICE) for x in (one.q, one.k, v, one.v))
    torch.testing.assert_close(op(q, k, v)[:, :, -40:], op(q, k, clean)[:, :, -40:])


GRID = """pattern p:
    over t, y, x
    attend where near(t, 2) and near(y, 4) and near(x, 4)
"""


@pytest.mark.parametrize(("batch", "apart"), [(1, False), (2, False), (2, True)])
def test_boxes_of_a_grid_are_read_by_descriptors(batch: int, apart: bool, launched: Seen) -> None:
    """Where heads of all batch elements are evenly spaced: a descriptor has one dimension for
    both."""
    sizes = {"t": 3, "y": 8, "x": 8}
    n = 3 * 8 * 8
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(batch, h, n, 16, generator=generator) for h in (4, 2, 2))
    if apart:
        k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (k, v))
    check(AttentionCall(GRID, sizes, q, k, v, {}, 0))
    read = {x for x in read_by_descriptor(launched) if x[1] in "kv" and x[0] != "key_gradient"}
    every = {(kernel, x) for kernel in ("forward", "query_gradient") for x in "kv"}
    assert read == (set() if apart else every)
    for kernel, given, _ in launched:
        for x in (given["k"], given["v"]) if kernel in ("forward", "query_gradient") else ():
            assert apart or x.shape[:4] == [2 * batch, 3, 8, 8]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("sizes", [{"t": 1, "y": 8, "x": 24}, {"t": 2, "y": 9, "x": 10}])
def test_tiles_of_queries_that_move_are_read_by_descriptors(
    sizes: dict[str, int], apart: bool, launched: Seen
) -> None:
    """In the gradient of keys; tiles that hang over the grid read zeros."""
    tokens = sizes["t"] * sizes["y"] * sizes["x"]
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, h, tokens, 16, generator=generator) for h in (2, 1, 1))
    if apart:
        q = q.transpose(1, 2).contiguous().transpose(1, 2)
    check(AttentionCall(GRID, sizes, q, k, v, {}, 0))
    (given,) = (given for kernel, given, _ in launched if kernel == "key_gradient")
    moving = [given[name] for name in ("q", "d_out")]
    assert all(isinstance(x, TensorDescriptor) == (not apart) for x in moving)
    assert apart or all(x.shape[:4] == [4, *sizes.values()] for x in moving)


@pytest.mark.parametrize(
    ("width", "sizes", "rows"),
    [(4, {"t": 3, "y": 8, "x": 8}, 64), (9, {"t": 1, "y": 17, "x": 19}, 32)],
)
def test_products_of_boxes_overlap_where_tiles_have_the_rows(
    width: int, sizes: dict[str, int], rows: int
) -> None:
    """The step before stands in a box of its own: all its coordinates are kept. Hopper's matrix
    instructions that run beside other work take 64 rows."""
    text = GRID.replace("4", str(width))
    tokens = sizes["t"] * sizes["y"] * sizes["x"]
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, tokens, 16, generator=generator) for _ in range(3))
    check(AttentionCall(text, sizes, q, k, v, {}, 0))
    problem = attnlang.parse(text).problem(sizes, 2, head_dim=16)
    (tables,) = kept(problem, torch.device("cpu"))
    assert tables.blocks[Side.Q] == rows
    form = form_of(
        problem, problem.groups[0], tables.tiles(), frozenset(), described=True, carved=tables.solid
    )
    kernels = write(problem.pattern, 0, form)
    assert ("before_2" in function_text(kernels.forward.function)) == (rows == 64)
    assert "before_0" not in function_text(kernels.split_forward.function)

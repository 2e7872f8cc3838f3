"""Calls that launch kernels of every kind, at lengths and widths that fill no tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import attnlang
from attnlang.backends.linear.triton import launch as linear
from attnlang.backends.triton import amounts, attend, lists

Tensor = torch.Tensor
WHERE = {"CHUNK": linear, "stand_together": attend, "MOST_PAIRS": lists, "_pays": lists}
SPLIT = {"FEWEST_KEYS": 16, "IDLE": 16}
TOGETHER = {"stand_together": lambda *of: not attend.stands_apart(*of)}
CHUNKS = {"CHUNK": 16}


@dataclass(frozen=True)
class Sample:
    """body: of a pattern, or the name of a standard one. heads: of queries, of keys. tokens: the
    same. inputs: shapes of what is drawn and learned, or tensors. how: thresholds that make short
    calls run as long ones do. lse: is there one?"""

    body: str
    heads: tuple[int, int]
    tokens: tuple[int, int]
    widths: tuple[int, int] = (16, 16)
    batch: int = 1
    sizes: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)
    lse: bool = True

    def __call__(self, change: Callable[[str, Tensor], Tensor] = lambda _, x: x) -> list[Tensor]:
        """Outputs and gradients, by plans that are made anew. change: of every tensor given, by
        name."""
        if "\n" in self.body:
            pattern = attnlang.parse(f"pattern p:\n    over {self.body}")
        else:
            pattern = attnlang.load(f"stdlib:{self.body}", **self.params)
        shapes = zip(self.heads[:1] + self.heads[1:] * 2, (0, 1, 1), (0, 0, 1), strict=True)
        qkv = [torch.randn(self.batch, h, self.tokens[i], self.widths[j]) for h, i, j in shapes]
        leaves = [change(name, x).requires_grad_() for name, x in zip("qkv", qkv, strict=True)]
        given: dict[str, Tensor] = {}
        for name, x in self.inputs.items():
            drawn = -torch.rand(x) if isinstance(x, tuple) else x
            given[name] = change(name, drawn).requires_grad_(drawn.is_floating_point())
        leaves += [x for x in given.values() if x.requires_grad]
        more = {"return_lse": True} if self.lse else {}
        offset = self.tokens[1] - self.tokens[0]
        with changed(self.how):
            found = pattern.compile("triton")(
                *leaves[:3], self.sizes, q_offset=offset, **more, **given
            )
            return gradients(found if self.lse else [found], leaves)


def gradients(outs: Sequence[Tensor], leaves: Sequence[Tensor]) -> list[Tensor]:
    """Outputs, and the gradients of a loss that weighs every entry differently."""
    finite = [torch.where(x.isinf(), 0.0, x) for x in outs]
    slopes = [torch.linspace(-1, 1, x.numel()).view_as(x) for x in finite]
    slopes = torch.autograd.grad(finite, leaves, slopes, allow_unused=True)
    return [x.detach() for x in (*outs, *slopes) if x is not None]


@contextmanager
def changed(how: Mapping[str, Any]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as change:
        for name, value in how.items():
            change.setattr(WHERE.get(name, amounts), name, value)
        yield


DISTANCE = "bias[head, clamp(q.n - k.n + 20, 0, 40)]"
PLANE = "bias[head, q.y - k.y + 3, q.x - k.x + 3]"
WINDOW = "causal(n) and band(n, 9)"
STRIDED = {"block": 4, "local_blocks": 2, "vert_stride": 3, "dense_heads": 1, "causal": True}
DOCUMENTS = torch.tensor([[0] * 9 + [1] + [2] * 20 + [3] * 4])
KEYS = """n
    select r[kv_head, n, n] from q, k where causal(n)
        top 5
    attend where r[kv_head, q.n, k.n] and causal(n) empty zero
"""
BLOCKS = """n
    part b = blocks(n, 9)
    part g = blocks(n, 4)
    pool kb[b] = mean(k)
    pool qb[g] = mean(q)
    select r[kv_head, g, b] from qb, kb where k.b * 9 <= q.g * 4
        top 1
        force k.b == q.g * 4 // 9
    attend where r[kv_head, q.n // 4, k.n // 9] and causal(n) empty zero
"""
DELTA = """n
    input a: float[batch, n, head] nonpositive
    input beta: float[batch, n, head]
    attend linear where causal(n)
        decay k.a
        delta k.beta
"""
CHANNELS = """n
    input a: float[batch, n, head, head_dim] nonpositive
    attend linear where causal(n)
        decay a[k.n, head, channel]
"""


def line(where: str, *more: str) -> str:
    """more: inputs, then clauses."""
    inputs = [x for x in more if x.startswith("input")]
    clauses = [f"    {x}" for x in more if not x.startswith("input")]
    return "\n    ".join(["n", *inputs, f"attend where {where}", *clauses]) + "\n"


CALLS: dict[str, Sample] = {
    "causal": Sample("causal", (4, 2), (67, 67), (24, 40)),
    "causal, by pointers": Sample("causal", (3, 1), (35, 35), (18, 13)),
    "alibi": Sample("alibi", (3, 3), (33, 33), (16, 20)),
    "neighborhood_2d": Sample(
        "neighborhood_2d", (2, 1), (63, 63), (20, 12), sizes={"y": 7, "x": 9}, params={"window": 3}
    ),
    "neighborhood_3d": Sample(
        "neighborhood_3d", (2, 1), (40, 40), (18, 12), sizes={"t": 2, "y": 4, "x": 5},
        params={"window": 2},
    ),
    "s2_local_stride": Sample("s2_local_stride", (3, 3), (33, 33), (20, 24), params=STRIDED),
    "lca_causal_document": Sample(
        "lca_causal_document", (2, 2), (34, 34), (24, 18), inputs={"doc": DOCUMENTS}
    ),
    "moba": Sample("moba", (2, 1), (17, 17), (12, 20), params={"block": 8, "topk": 2}),
    "dilated": Sample(line("causal(n) and (q.n - k.n) % 3 == 0"), (2, 1), (75, 75), (20, 28)),
    "decoding": Sample(
        line("causal(n) and (band(n, 70) or k.n < 5)"), (2, 1), (5, 99), (16, 24), 2, how=SPLIT
    ),
    "decoding, dilated": Sample(
        line("causal(n) and (q.n - k.n) % 3 == 0"), (2, 1), (3, 75), (16, 24), 2, how=SPLIT
    ),
    "decoding, rows without keys": Sample(
        line("k.n < 20 * (q.n - 66)", "empty full"), (2, 1), (5, 70), (12, 20), 2, how=SPLIT
    ),
    "heads together": Sample(
        line("causal(n) and (band(n, 9) or k.n < 3)"), (6, 2), (37, 37), (16, 24), how=TOGETHER
    ),
    "largest scores": Sample(
        line(WINDOW, "input t: float[head]", "score s - 0.5 * t[head] * row_max(s * t[head])"),
        (4, 2), (21, 21), inputs={"t": (4,)}, how=TOGETHER,
    ),
    "sums": Sample(
        line(WINDOW, "score s * s + 0.1 * float(head)", "normalise sum"), (4, 2), (21, 21),
        (12, 20), how=TOGETHER, lse=False,
    ),
    "listed keys": Sample(KEYS, (2, 1), (3, 25), (12, 20), how={"MOST_PAIRS": 0}),
    "listed blocks": Sample(BLOCKS, (2, 1), (37, 37), (12, 20), how={"MOST_PAIRS": 0}),
    "bias by distance": Sample(
        line("k.n < 4", "input bias: float[head, 41]", f"score s + {DISTANCE}"), (2, 1), (35, 35),
        inputs={"bias": (2, 41)},
    ),
    "bias of a plane": Sample(
        f"y, x\n    input bias: float[head, 7, 7]\n    attend where abs(q.y - k.y) <= 2\n"
        f"        score s + {PLANE}\n",
        (2, 1), (12, 12), sizes={"y": 3, "x": 4}, inputs={"bias": (2, 7, 7)},
    ),
    "weights of tokens": Sample(
        line(WINDOW, "input w: float[head, n]", "score s * exp(k.w) - q.w"), (2, 1), (37, 37),
        batch=2, inputs={"w": (2, 37)},
    ),
    "retention": Sample("retention", (2, 1), (17, 17), (10, 20), 2, how=CHUNKS, lse=False),
    "linear, a decay a channel": Sample(
        CHANNELS, (2, 1), (17, 17), (12, 7), inputs={"a": (1, 17, 2, 12)}, how=CHUNKS, lse=False
    ),
    "linear, delta rule": Sample(
        DELTA, (2, 2), (17, 17), (7, 12), inputs={"a": (1, 17, 2), "beta": (1, 17, 2)},
        how=CHUNKS, lse=False,
    ),
}  # fmt: skip

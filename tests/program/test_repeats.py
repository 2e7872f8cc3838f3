"""What a ``for`` repeats is what is written out by hand."""

from __future__ import annotations

import pytest
import torch

import attnlang
from attnlang.compiler.check import check_pattern, open_module
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.source import Source
from attnlang.compiler.syntax.printer import format_module

PYRAMID = """
pattern p(levels: int = 2, size: int = 4):
    over n
    part b@0 = blocks(n, size)
    pool keys@0[b@0] = mean(k)
    pool values@0[b@0] = mean(v)
    seen@0 = attend where block(n, size) and causal(n)
    for level in range(1, levels + 1):
        let own = q.n // size
        far = attend q, keys@(level - 1), values@(level - 1) where own - k.b@(level - 1) >= level
            empty zero
        seen = merge(seen@(level - 1), far)
        part b = blocks(b@(level - 1), size)
        pool keys[b] = mean(keys@(level - 1))
        pool values[b] = mean(values@(level - 1))
    return seen@levels
"""

BY_HAND = """
pattern p(levels: int = 2, size: int = 4):
    over n
    part b_0 = blocks(n, size)
    pool keys_0[b_0] = mean(k)
    pool values_0[b_0] = mean(v)
    seen_0 = attend where block(n, size) and causal(n)
    far_1 = attend q, keys_0, values_0 where q.n // size - k.b_0 >= 1 empty zero
    seen_1 = merge(seen_0, far_1)
    part b_1 = blocks(b_0, size)
    pool keys_1[b_1] = mean(keys_0)
    pool values_1[b_1] = mean(values_0)
    far_2 = attend q, keys_1, values_1 where q.n // size - k.b_1 >= 2 empty zero
    seen_2 = merge(seen_1, far_2)
    part b_2 = blocks(b_1, size)
    pool keys_2[b_2] = mean(keys_1)
    pool values_2[b_2] = mean(values_1)
    return seen_2
"""

SEARCHES = """
pattern p(stages: int = 2, kept: int = 3, by: all | few = few):
    over n
    input bar: float[head]
    let zero = 1
    select near@0[head, n, n] from q, k where causal(n)
        top 6
    for i in range(1, stages + 1):
        let none = k.n % pow2(i) == 0
        let sum = i
        select near[head, n, n] from q, k where near@(i - 1)[head, q.n, k.n]
            scale float(sum)
            force none
            normalise softmax if by == few else none
            share sum
            top 2 * kept when i == 1
            top kept when i != 1
        size = count(near)
    attend where near@stages[head, q.n, k.n] and q.size@stages > 0 and causal(n)
        score s + bar[head]
        empty zero
"""

SEARCHES_BY_HAND = """
pattern p(stages: int = 2, kept: int = 3, by: all | few = few):
    over n
    input bar: float[head]
    let zero = 1
    select near_0[head, n, n] from q, k where causal(n)
        top 6
    select near_1[head, n, n] from q, k where near_0[head, q.n, k.n]
        scale float(1)
        force k.n % pow2(1) == 0
        normalise softmax
        share sum
        top 2 * kept
    size_1 = count(near_1)
    select near_2[head, n, n] from q, k where near_1[head, q.n, k.n]
        scale float(2)
        force k.n % pow2(2) == 0
        normalise softmax
        share sum
        top kept
    size_2 = count(near_2)
    attend where near_2[head, q.n, k.n] and q.size_2 > 0 and causal(n)
        score s + bar[head]
        empty zero
"""


def checked(text: str, **values: object) -> PatternIR:
    return check_pattern(open_module(Source("text", text)), None, values)


@pytest.mark.parametrize(("text", "by_hand"), [(PYRAMID, BY_HAND), (SEARCHES, SEARCHES_BY_HAND)])
def test_the_same_as_by_hand(text: str, by_hand: str) -> None:
    """Steps, names, conditions and inputs are equal, so all that reads them is."""
    assert repr(checked(text)) == repr(checked(by_hand))


def test_a_parameter_says_how_often() -> None:
    for levels in range(4):
        steps = attnlang.parse(PYRAMID, levels=levels).steps
        assert list(steps) == ["seen_0", *(f"far_{i}" for i in range(1, levels + 1))]


@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_copies_of_lets_are_conditions(backend: str) -> None:
    """Without any tensor of its own this is no program, and every pair is known beforehand."""
    text = """
pattern p(levels: int = 3):
    over n
    let seen@0 = k.n == q.n
    for i in range(1, levels + 1):
        let power = pow2(i - 1)
        let seen = seen@(i - 1) or q.n - k.n == power
    attend where seen@levels
"""
    pattern = attnlang.parse(text)
    assert list(pattern.steps) == []
    n = 11
    q, k, v = (torch.randn(1, 2, n, 4, dtype=torch.float64, requires_grad=True) for _ in range(3))
    seen = torch.tensor([[i - j in (0, 1, 2, 4) for j in range(n)] for i in range(n)])
    expected = (q @ k.mT / 2).masked_fill(~seen, -torch.inf).softmax(-1) @ v
    out = pattern.compile(backend)(q, k, v)
    torch.testing.assert_close(out, expected)
    for found, wanted in zip(
        torch.autograd.grad(out.square().sum(), (q, k, v)),
        torch.autograd.grad(expected.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted)


def test_printed_as_written() -> None:
    written = PYRAMID.strip() + "\n"
    once = format_module(open_module(Source("text", written)).tree)
    assert [line.split() for line in once.split("\n")] == [x.split() for x in written.split("\n")]
    spread = written.replace("level - 1", "level-1").replace("@levels", "@( levels )")
    assert format_module(open_module(Source("text", spread)).tree) == once


def test_copies_are_bounded() -> None:
    """However the text multiplies: copies of one `for`, and all that is read in copies."""
    huge = "pattern p:\n    over n\n    for i in range(pow2(62) * 8):\n        let a = i\n"
    with pytest.raises(attnlang.AttnlangError, match="AL316"):
        attnlang.parse(huge + "    attend where true\n")
    lines = "".join(f"        let a{i} = {' + '.join(['k.n'] * 100)}\n" for i in range(60))
    text = f"pattern p:\n    over n\n    for i in range(64):\n{lines}    attend where true\n"
    with pytest.raises(attnlang.AttnlangError, match="AL007"):
        attnlang.parse(text)

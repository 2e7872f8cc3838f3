"""What is easily got wrong about weights that are edited after the softmax."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import attnlang

Tensor = torch.Tensor
BACKENDS = ("reference", "blocked")
both = pytest.mark.parametrize("backend", BACKENDS)


def tokens(n: int, m: int | None = None, heads: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(n)
    shapes = ((1, heads, n, 4), (1, heads, m or n, 4))
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def weights(name: str, backend: str, q: Tensor, k: Tensor, given: Any, **params: Any) -> Tensor:
    """What every key counts in every query's output: values are one-hot."""
    op = attnlang.load(f"stdlib:{name}", **params).compile(backend)
    places = torch.eye(k.shape[2], dtype=q.dtype).expand(1, k.shape[1], -1, -1)
    found: Tensor = op(q, k, places, **given)
    return found


def plain(q: Tensor, k: Tensor, *, causal: bool = True) -> Tensor:
    s = q @ k.mT / q.shape[-1] ** 0.5
    past = torch.ones(s.shape[-2:], dtype=torch.bool).tril()
    return torch.where(past, s, -torch.inf).softmax(-1) if causal else s.softmax(-1)


@both
def test_act_spares_the_first_sink_and_keeps_row_sums(backend: str) -> None:
    q, k = tokens(12)
    q[0, :, :, 0], k[0, :, :, 0] = 3.0, 0.0
    k[0, :, (0, 5), 0] = 4.0
    given = {"chosen": torch.tensor([True, False])}
    a, before = weights("act_calibration", backend, q, k, given, alpha=3.0), plain(q, k)
    torch.testing.assert_close(a.sum(-1), torch.ones(1, 2, 12).double())
    torch.testing.assert_close(a[:, 1], before[:, 1])
    torch.testing.assert_close(a[0, 0, 5:, 5], 0.4 * before[0, 0, 5:, 5])
    assert (a[0, 0, 5:, 0] > before[0, 0, 5:, 0]).all()
    torch.testing.assert_close(a[:, :, :5], before[:, :, :5])


@both
def test_act_takes_the_mean_of_the_rows_that_see_a_key(backend: str) -> None:
    """The last key has one row: what that gives it is its mean, not an N-th of it."""
    n = 8
    q, k = torch.zeros(1, 1, n, 4).double(), torch.zeros(1, 1, n, 4).double()
    q[..., 0], k[0, 0, 0, 0], k[0, 0, -1, 0] = 2.0, 3.0, 3.0
    given = {"chosen": torch.tensor([True])}
    a, before = weights("act_calibration", backend, q, k, given, alpha=3.0), plain(q, k)
    assert before[0, 0, -1, -1] / n < 3.0 / n < before[0, 0, -1, -1]
    torch.testing.assert_close(a[0, 0, -1, -1], 0.4 * before[0, 0, -1, -1])


@both
def test_var_gives_nothing_to_sinks_of_text(backend: str) -> None:
    """They lose as those of the image do; it goes to the image in proportion, and rows still sum to 1."""
    q, k = tokens(9)
    image = torch.tensor([[False, False] + [True] * 4 + [False] * 3])
    sink = torch.tensor([[True, False, True] + [False] * 6])
    given = {"image": image, "sink": sink}
    a = weights("var_redistribution", backend, q, k, given, rho=0.99, summ=1e-9)
    before, rows = plain(q, k), slice(6, 9)
    torch.testing.assert_close(a.sum(-1), torch.ones(1, 2, 9).double())
    for j in (0, 2):
        torch.testing.assert_close(a[:, :, rows, j], 0.6 * before[:, :, rows, j])
    ratio = a[:, :, rows, 3:6] / before[:, :, rows, 3:6]
    torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio))
    torch.testing.assert_close(a[:, :, rows, 6:], before[:, :, rows, 6:])
    torch.testing.assert_close(a[:, :, :6], before[:, :, :6])


@both
def test_var_without_a_sink_in_the_image_changes_nothing(backend: str) -> None:
    q, k = tokens(9)
    image = torch.tensor([[False, False] + [True] * 4 + [False] * 3])
    sink = torch.tensor([[True] + [False] * 8])
    a = weights("var_redistribution", backend, q, k, {"image": image, "sink": sink}, summ=1e-9)
    torch.testing.assert_close(a, plain(q, k))


@both
def test_fix_imbalanced_rows_sum_to_one(backend: str) -> None:
    q, k = tokens(7)
    given = {"chosen": torch.arange(7)[None] == 2, "boost": torch.tensor([1.0, 0.0]).double()}
    a, before = weights("fix_imbalanced", backend, q, k, given), plain(q, k)
    torch.testing.assert_close(a.sum(-1), torch.ones(1, 2, 7).double())
    torch.testing.assert_close(
        a[:, 0, 2:, 2] / a[:, 0, 2:, 0], 2 * before[:, 0, 2:, 2] / before[:, 0, 2:, 0]
    )
    torch.testing.assert_close(a[:, 1], before[:, 1])


@both
def test_ditctrl_rows_are_not_normalised_again(backend: str) -> None:
    """Between video and word alone, both ways; not word to word."""
    q, k = tokens(7)
    text = torch.arange(7) < 3
    a = weights(
        "ditctrl_reweight", backend, q, k, {"text": text, "word": torch.arange(7)[None] == 1}, c=3.0
    )
    times = torch.ones(7, 7).double()
    times[3:, 1] = times[1, 3:] = 3.0
    torch.testing.assert_close(a, plain(q, k, causal=False) * times)
    assert (a[:, :, 3:].sum(-1) > 1.0).all()


@both
def test_tcpa_masks_after_the_softmax(backend: str) -> None:
    """Hidden prompts stay in the denominator: rows sum to less than 1."""
    n, groups, length = 5, 4, 2
    prompts = groups * length
    q, k = tokens(1 + n, 1 + 2 * prompts + n)
    generator = torch.Generator().manual_seed(3)
    shapes = {"x": (1, n, 6), "x_cls": (1, 1, 6), "cls_key": (groups, 6), "image_key": (groups, 6)}
    given = {x: torch.randn(s, generator=generator, dtype=q.dtype) for x, s in shapes.items()}
    sizes = {"groups": groups, "length": length, "topk": 1, "dim": 6}
    a = weights("tcpa_prompt", backend, q, k, {**given, "sizes": {"n": n}}, **sizes)
    before = plain(q, k, causal=False)
    kept = a != 0
    torch.testing.assert_close(a, torch.where(kept, before, 0.0))
    assert (kept.sum(-1) == 1 + length + n).all()
    assert not kept[:, :, 0, 1 + prompts : 1 + 2 * prompts].any()
    assert not kept[:, :, 1:, 1 : 1 + prompts].any()
    assert (a.sum(-1) < 1.0 - 1e-6).all()

"""show: pictures of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attnlang
from attnlang.cli.draws import draw_tensors, generator
from attnlang.picture import Cell
from tests.cli.conftest import Run

ROUTED = """
pattern routed(block: int = 4, topk: int = 2):
    over n
    part b = blocks(n, block)
    pool kb[b] = mean(k)
    select chosen[n, b] from q, kb where (k.b + 1) * block <= q.n
        top topk
        force k.b == q.n // block
    near = attend where band(n, 3)
    far = attend where chosen[q.n, k.n // block] and causal(n) empty zero
    return near + far
"""
N = 22


@pytest.fixture(autouse=True)
def files(run: Run) -> None:
    Path("routed.attn").write_text(ROUTED, encoding="utf-8")


def panels(run: Run, *words: str) -> dict[str, np.ndarray[Any, Any]]:
    data = run("show", *words, "--json").json
    return {p["title"]: np.array([[int(c) for c in row] for row in p["rows"]])
            for p in data["panels"]}  # fmt: skip


def test_an_example_and_what_it_might_have_been(run: Run) -> None:
    """Chosen is what the op chooses from the tensors that the caption names."""
    found = panels(run, "routed.attn", "--size", f"n={N}")
    assert list(found) == ["chosen", "near", "far"]
    pattern = attnlang.load("routed.attn")
    frame = pattern.bound({"n": N}).frame
    chosen = pattern.compile().select(*draw_tensors(frame, 64, generator()))["chosen"][0]
    q, b, k = np.arange(N)[:, None], np.arange(6)[None], np.arange(N)[None]
    may = 4 * (b + 1) <= q
    assert np.array_equal(found["chosen"] == Cell.CHOSEN, chosen.numpy())
    assert np.array_equal(found["chosen"] == Cell.CANDIDATE, may & ~chosen.numpy())
    assert may[-1].sum() > 2
    attends = chosen.numpy()[:, np.arange(N) // 4] & (k <= q)
    far = np.isin(found["far"], (Cell.ALLOWED, Cell.ALLOWED_FULL))
    assert np.array_equal(far, attends)
    assert np.array_equal(found["far"] == Cell.CANDIDATE, (k <= q) & ~attends)
    near = np.isin(found["near"], (Cell.ALLOWED, Cell.ALLOWED_FULL))
    assert np.array_equal(near, (k <= q) & (q - k < 3))
    assert not (found["near"] == Cell.CANDIDATE).any()


def test_the_caption_says_what_was_drawn(run: Run) -> None:
    text = run("show", "routed.attn", "--size", f"n={N}").out
    assert text.splitlines()[:2] == [
        "routed",
        f"n={N}; block=4, topk=2; an example: q, k at random, seed 0",
    ]
    assert "x chosen" in text
    assert "o candidate, not chosen" in text
    plain = run("show", "routed.attn", "--size", f"n={N}", "--step", "near").out
    assert "random" not in plain


def test_a_step_alone(run: Run) -> None:
    by_option = panels(run, "routed.attn", "--size", f"n={N}", "--step", "far")
    by_name = panels(run, "routed.attn:routed.far", "--size", f"n={N}")
    assert list(by_option) == ["far"]
    assert np.array_equal(by_option["far"], by_name[""])
    done = run("show", "routed.attn", "--step", "fra")
    assert done.code == 2
    assert "`routed` has no step `fra`" in done.err
    assert "did you mean `far`?" in done.err
    done = run("show", "good.attn", "--step", "near")
    assert done.code == 2
    assert "one attention" in done.err


def test_inputs_decide_or_are_drawn(run: Run) -> None:
    Path("p.attn").write_text(
        "pattern p:\n    over n\n    input keep: bool[batch, n]\n"
        "    a = attend where k.keep empty zero\n    b = attend where causal(n)\n    return a + b\n",
        encoding="utf-8",
    )
    words = ("p.attn", "--size", "n=4", "--step", "a")
    given = panels(run, *words, "--input", "keep=true,false,false,true")["a"]
    attends = np.isin(given, (Cell.ALLOWED, Cell.ALLOWED_FULL))
    assert attends.tolist() == [[True, False, False, True]] * 4
    drawn = run("show", *words)
    assert "keep at random, seed 0" in drawn.out


def test_linear_attention_is_a_state(run: Run) -> None:
    Path("p.attn").write_text(
        "pattern p:\n    over n\n    attend linear where causal(n)\n", encoding="utf-8"
    )
    found = panels(run, "p.attn", "--size", "n=9")["attended"]
    assert np.array_equal(found == Cell.SUMMED, np.tril(np.ones((9, 9), dtype=bool)))


def test_parts_are_shortened_together(run: Run) -> None:
    """Windows of 32 a step of 16 in blocks of 64 stay so, eight blocks to a picture of 64."""
    Path("p.attn").write_text(
        "pattern p(size: int = 32, step: int = 16, block: int = 64, count: int = 16):\n"
        "    over n\n    require block % step == 0\n    part c = windows(n, size, stride=step)\n"
        "    part b = blocks(n, block)\n    pool kc[c] = mean(k)\n    pool kb[b] = mean(k)\n"
        "    select chosen[n, b] from q, kb where k.b * block <= q.n\n        top count\n"
        "    x = attend q, kc, kc where k.c * step + size <= q.n empty zero\n"
        "    y = attend where chosen[q.n, k.n // block] and causal(n) empty zero\n"
        "    return x + y\n",
        encoding="utf-8",
    )
    data = run("show", "p.attn", "--json").json
    assert data["params"] == {"size": 4, "step": 2, "block": 8, "count": 2}
    assert any("block=8 in place of 64" in note for note in data["notes"])


def test_heads_that_choose_for_themselves(run: Run) -> None:
    text = ROUTED.replace("chosen[n, b]", "chosen[head, n, b]")
    Path("routed.attn").write_text(text.replace("chosen[q.n", "chosen[head, q.n"), encoding="utf-8")
    assert list(panels(run, "routed.attn")) == ["chosen", "near", "far"]
    words = ("routed.attn", "--size", "n=12", "--heads", "2")
    assert list(panels(run, *words)) == [
        "chosen, head 0", "chosen, head 1", "near", "far, head 0", "far, head 1",
    ]  # fmt: skip
    assert list(panels(run, *words, "--head", "1")) == ["chosen, head 1", "near", "far, head 1"]


def test_long_sequences_by_tiles(run: Run) -> None:
    words = ("routed.attn", "--set", "block=64", "--size")
    near = run("show", *words, "n=1024", "--step", "far", "--json").json
    assert near["cells"] == "tiles"
    tiles = np.array([[int(c) for c in row] for row in near["panels"][0]["rows"]])
    k, q = np.meshgrid(np.arange(16), np.arange(16))
    assert np.array_equal(tiles != Cell.EMPTY, k <= q)
    far = run("show", *words, "n=65536", "--step", "far")
    assert far.code == 0
    assert "candidates whatever is chosen" in far.out


@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_files(run: Run, suffix: str) -> None:
    assert run("show", "routed.attn", "--out", f"p.{suffix}").code == 0
    assert Path(f"p.{suffix}").stat().st_size > 1000


def test_reproducible() -> None:
    a, b = (torch.randn(3, generator=generator()) for _ in range(2))
    assert torch.equal(a, b)

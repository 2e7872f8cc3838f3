"""Drawing cases from the strategies of the other tests, and keeping what fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

import attnlang
from tests.backends.calls import AttentionCall, calls
from tests.soak.case import Case, Failure, drawn, wrong
from tests.soak.shrink import smallest

AXES = {("n",): 40, ("y", "x"): 7, ("t", "y", "x"): 4}
"""Axes, and the longest that each is drawn."""
DTYPES = {
    "blocked": ("float64", "float32", "float16", "bfloat16"),
    # Triton's interpreter computes bfloat16 products wrongly, and no kernel computes float64.
    "triton": ("float32", "float16", "bfloat16")
    if torch.cuda.is_available()
    else ("float32", "float16"),
}
BATCH = 20


@dataclass(frozen=True)
class Kept:
    """A failure as it was found, and the small case that fails alike."""

    failure: Failure
    case: Case


def cases(first: int, backends: tuple[str, ...]) -> Iterator[Case]:
    """Cases without end. Each seed gives a handful, the same ones every time."""
    number = first
    while True:
        random = Random(number)
        axes = random.choice(list(AXES))
        for one in drawn_calls(number, axes):
            backend = random.choice(backends)
            yield drawn(one, random.choice(DTYPES[backend]), backend, number)
        number += 1


def drawn_calls(number: int, axes: tuple[str, ...]) -> list[AttentionCall]:
    """What the strategies of the tests draw for a seed."""
    found: list[AttentionCall] = []

    @seed(number)
    @settings(
        max_examples=BATCH, phases=(Phase.generate,), database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.data())
    def draw(data: st.DataObject) -> None:
        try:
            found.append(data.draw(calls(axes=axes, longest=AXES[axes])))
        except attnlang.PatternError:  # a call that the language refuses
            return

    draw()
    return found


def soak(
    minutes: float,
    first: int,
    folder: Path,
    backends: tuple[str, ...] = ("blocked",),
    tell: Callable[[str], None] = print,
    check: Callable[[Case], Failure | None] = wrong,
) -> list[Kept]:
    """Run until the time is over; every failure is made small and written to the folder."""
    end = time.monotonic() + 60 * minutes
    kept: list[Kept] = []
    count, number = 0, None
    for case in cases(first, backends):
        if time.monotonic() > end:
            break
        if case.seed != number:
            number = case.seed
            tell(f"seed {number}: {count} cases, {len(kept)} failures")
        count += 1
        failure = check(case)
        if failure is None or any(failure.same(k.failure) for k in kept):
            continue
        small = smallest(case, lambda c, f=failure: f.same(check(c)))  # type: ignore[misc]
        kept.append(Kept(failure, small))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"soak-{case.backend}-{case.seed}-{count}.attn"
        path.write_text(small.file(check(small) or failure), encoding="utf-8")
        tell(f"{failure}\n  wrote {path}")
    tell(f"{count} cases, {len(kept)} failures")
    return kept

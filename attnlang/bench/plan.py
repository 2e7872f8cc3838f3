"""``attnlang bench plan``: how long planning takes, and how much of what is visited is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attnlang.api import load, parse
from attnlang.bench.timing import timed
from attnlang.compiler.plan.plan import Plan
from attnlang.pattern import Pattern

SCHEMA = "attnlang.bench.plan/1"


LEAST = 0.5
"""Seconds that the runs of a case take together at least: short ones are made often."""


@dataclass(frozen=True, slots=True)
class SpeedCase:
    """Planning time of one pattern at one length."""

    name: str
    pattern: Pattern
    length: int
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WasteCase:
    """Visited slots over attending pairs of the layout that the planner chooses."""

    name: str
    pattern: Pattern
    sizes: Mapping[str, int]
    heads: int = 1


def speed_cases() -> Iterator[SpeedCase]:
    window = load("stdlib:sliding_window", window=1024)
    for length in (16_384, 131_072, 1_048_576):
        yield SpeedCase("causal window 1024", window, length, {})
    yield SpeedCase("causal", load("stdlib:causal"), 1_048_576, {})
    sinks = load("stdlib:streaming_sink", window=2048)
    yield SpeedCase("4 sinks and window 2048", sinks, 1_048_576, {})
    yield SpeedCase("LongLoRA groups", load("stdlib:longlora_s2"), 1_048_576, {})
    generator = np.random.default_rng(0)
    documents = np.sort(generator.integers(0, 4000, 1_048_576))[None]
    packed = load("stdlib:lca_causal_document")
    yield SpeedCase("4000 packed documents", packed, 1_048_576, {"doc": documents})


def waste_cases() -> Iterator[WasteCase]:
    video = {"t": 30, "y": 48, "x": 80}
    image = {"y": 256, "x": 256}

    def near(sizes: Mapping[str, int], **params: object) -> Pattern:
        return load(f"stdlib:neighborhood_{len(sizes)}d", **params)

    for stride in (1, (16, 8, 8)):
        pattern = near(video, window=(18, 24, 24), stride=stride)
        yield WasteCase(f"HunyuanVideo 30x48x80, window 18x24x24, stride {stride}", pattern, video)
    for step in (1, 16):
        yield WasteCase(
            f"FLUX 256x256, window 80, stride {step}", near(image, window=80, stride=step), image
        )
    small = {"y": 64, "x": 64}
    yield WasteCase("64x64, window 13", near(small, window=13), small)
    dilated = load("stdlib:neighborhood_1d", window=31, dilation=128, causal=True)
    for length in (4096, 65_536):
        yield WasteCase(f"31 keys, dilation 128, causal, N={length}", dilated, {"n": length})
    past = "causal(n) and (band(n, 64) or {} % 32 == 0)"
    for what, key in (("32nd key", "k.n"), ("32nd key from the query", "(q.n - k.n)")):
        pattern = _where("n", past.format(key))
        yield WasteCase(f"window 64 and every {what}, N=65536", pattern, {"n": 65_536})
    grid = {"y": 64, "x": 64}
    yield WasteCase("Swin 64x64, window 8", _where("y, x", "block(y, 8) and block(x, 8)"), grid)
    yield WasteCase("MaxViT 64x64, grid 8", _where("y, x", "grid(y, 8) and grid(x, 8)"), grid)
    yield WasteCase("axial rows, 64x64", _where("y, x", "same(y)"), grid)
    yield WasteCase("axial columns, 64x64", _where("y, x", "same(x)"), grid)
    clip = {"t": 16, "y": 16, "x": 16}
    yield WasteCase("divided time, 16x16x16", _where("t, y, x", "same(y) and same(x)"), clip)
    yield WasteCase("divided space, 16x16x16", _where("t, y, x", "same(t)"), clip)
    yield WasteCase("row or column, 64x64", _where("y, x", "same(y) or same(x)"), grid)
    place = _where("t, y, x", "same(y) and same(x) or k.t == 0")
    yield WasteCase("place in time or first frame, 16x16x16", place, clip)
    both = "(block(y, 8) and block(x, 8) if head % 2 == 0 else grid(y, 8) and grid(x, 8))"
    yield WasteCase("Swin and MaxViT heads by turns, 64x64", _where("y, x", both), grid, 2)
    bands = {"t": 16, "s": 1024}
    yield WasteCase("Radial's bands, 16 frames of 1024", load("stdlib:radial_token"), bands)
    seven = {"y": 56, "x": 56}
    yield WasteCase("Swin 56x56, window 7", _where("y, x", "block(y, 7) and block(x, 7)"), seven)


def _where(axes: str, condition: str) -> Pattern:
    return parse(f"pattern case:\n    over {axes}\n    attend where {condition}\n")


def run(runs: int = 9) -> dict[str, Any]:
    """Every case. Times are of ``pattern.plan``: binding, layout search and tables."""
    speed = []
    for case in speed_cases():
        heads = 8 if case.pattern.name == "longlora_s2" else 1
        sizes = {"n": case.length}

        def work(
            case: SpeedCase = case, sizes: dict[str, int] = sizes, heads: int = heads
        ) -> object:
            return case.pattern.plan(sizes, heads=heads, **case.inputs)

        plan = case.pattern.plan(sizes, heads=heads, **case.inputs)
        speed.append(
            {"case": case.name, "length": case.length, "heads": heads, "bytes": plan.nbytes}
            | timed(work, runs, least=LEAST).to_dict()
        )
    waste = []
    for item in waste_cases():
        plan = item.pattern.plan(item.sizes, item.heads)
        waste.append(
            {
                "case": item.name,
                "waste": round(plan.waste, 4),
                "key_waste": round(_key_waste(plan), 4),
                "layout": plan.layout_text,
            }
        )
    return {"schema": SCHEMA, "speed": speed, "waste": waste}


def _key_waste(plan: Plan) -> float:
    """Slots visited for each attending pair by the gradient of keys, which walks tiles of both
    sides."""
    visited = (g.columns.live * g.layout.area * len(g.heads) for g in plan.followed)
    return sum(visited) / plan.pairs


def table(result: Mapping[str, Any]) -> str:
    """The result as two text tables."""
    lines = [f"{'planning':34} {'length':>9} {'median':>9} {'min':>9} {'max':>9} {'table':>9}"]
    for row in result["speed"]:
        times = " ".join(f"{row[k] * 1e3:6.2f} ms" for k in ("median_s", "min_s", "max_s"))
        lines.append(f"{row['case']:34} {row['length']:>9} {times} {row['bytes'] / 1024:5.0f} KiB")
    lines += ["", f"{'visited slots / attending pairs':58} {'waste':>7} {'of keys':>8}"]
    lines += [
        f"{row['case']:58} {row['waste']:7.3f} {row['key_waste']:8.3f}" for row in result["waste"]
    ]
    return "\n".join(lines)

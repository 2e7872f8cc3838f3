"""A report as JSON-ready data; the schema's name changes when a field changes its meaning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from attnlang.compiler.report.growth import Growth
from attnlang.compiler.report.report import Report, Tiles

SCHEMA = "attnlang.explain/1"


def to_dict(report: Report) -> dict[str, Any]:
    """Plain dicts, lists, numbers and text; None where something was not counted."""
    params = {name: list(v) if isinstance(v, tuple) else v for name, v in report.params}
    return {
        "schema": SCHEMA,
        "pattern": report.pattern,
        "params": params,
        "shape": {**asdict(report.shape), "sizes": dict(report.shape.sizes)},
        "pairs": asdict(report.pairs),
        "tiles": _tiles(report.tiles),
        "cost": asdict(report.cost),
        "memory": asdict(report.memory),
        "facts": {
            f.name: {"holds": f.holds, "counterexample": asdict(f.witness) if f.witness else None}
            for f in report.facts
        },
        "solutions": [asdict(x) for x in report.solutions],
        "formula": None if report.formula is None else asdict(report.formula),
        "growth": None if report.growth is None else _growth(report.growth),
        "cache": None if report.cache is None else asdict(report.cache),
        "reach": None if report.reach is None else asdict(report.reach),
        "notes": list(report.notes),
    }


def _tiles(tiles: Tiles) -> dict[str, Any]:
    data = asdict(tiles)
    layouts = data.pop("layouts")
    return {**data, "layout": "; ".join(layouts)}


def _growth(growth: Growth) -> dict[str, Any]:
    counted = [
        {"sizes": dict(sizes), "keys_per_query": keys}
        for sizes, keys in zip(growth.sizes, growth.keys, strict=True)
    ]
    return {
        "kind": growth.kind,
        "exponent": growth.exponent,
        "sample": growth.sample,
        "counted": counted,
    }

"""A report as a block of plain, aligned text."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from attnlang.compiler.report.cache import Cache
from attnlang.compiler.report.facts import Coordinates, Fact
from attnlang.compiler.report.growth import Growth
from attnlang.compiler.report.reach import Reach
from attnlang.compiler.report.report import Cost, Pairs, Report, Shape, Tiles
from attnlang.compiler.report.solution import Solution
from attnlang.compiler.report.words import count, parameter, percent, plural, scaled, three

Line = tuple[str, str]
"""A label and what stands beside it; both empty for a blank line."""

_BLANK: Line = ("", "")
_INDENT = 18
WIDTH = 100


def to_text(report: Report) -> str:
    """About twenty-five lines, no final newline."""
    lines = [
        *pair_lines(report.pairs, report.shape),
        *solution_lines(report.solutions),
        *cost_lines(report.cost),
        _BLANK,
        *tile_lines(report.tiles),
        ("plan", f"{scaled(report.memory.tables, 'B')} of tables, "
                 f"made in {three(report.tiles.planning_ms)} ms"),
        ("memory", f"{scaled(report.memory.tensors, 'B')} for q, k, v, out in bfloat16; "
                   f"a dense mask would add {scaled(report.memory.dense_mask, 'B')}"),
        _BLANK,
        *(fact_line(f, report.shape) for f in report.facts),
        _BLANK,
        *([("formula", str(report.formula))] if report.formula else []),
        ("growth", _growth(report.growth)),
        *([("kv cache", _cache(report.cache))] if report.cache else []),
        *([("receptive field", _reach(report.reach))] if report.reach else []),
        *(("note", note) for note in report.notes),
    ]  # fmt: skip
    body = (line for label, text in lines for line in wrapped(label, text))
    return "\n".join([heading(report), "", *body])


def wrapped(label: str, text: str) -> Iterator[str]:
    """A label and its text, which goes on below itself."""
    pad = " " * (_INDENT + 2)
    first = f"  {label:<{_INDENT - 2}}  "
    yield from textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=pad) or [""]


def heading(report: Report) -> str:
    """The pattern, its parameters and the size, on one line."""
    params = ", ".join(f"{name}={parameter(value)}" for name, value in report.params)
    shape = report.shape
    sizes = ", ".join(f"{name}={size}" for name, size in shape.sizes)
    heads = plural(shape.heads, "head")
    if shape.kv_heads != shape.heads:
        heads += f" on {shape.kv_heads}"
    if shape.head_classes > 1:
        heads += f" ({shape.head_classes} kinds)"
    return f"{report.pattern}({params}) at {sizes}, {heads} of {shape.head_dim}"


def pair_lines(pairs: Pairs, shape: Shape) -> Iterator[Line]:
    if pairs.count is None or pairs.density is None:
        share = pairs.at_most / max(shape.pairs, 1)
        yield "pairs", f"at most {count(pairs.at_most)} of {count(shape.pairs)} ({percent(share)})"
        return
    yield (
        "pairs",
        f"{count(pairs.count)} of {count(shape.pairs)} attend: density {percent(pairs.density)}",
    )
    if pairs.keys is not None:
        k = pairs.keys
        between = f"{count(k.least)} to {count(k.most)}, on average {three(k.mean)}"
        yield "keys per query", f"{count(k.most)}" if k.least == k.most else between


def solution_lines(solutions: Sequence[Solution]) -> Iterator[Line]:
    """Which keys they are, for each group of heads."""
    for i, x in enumerate(solutions):
        first, last = x.heads[0], x.heads[1] - 1
        heads = f"head {first}: " if first == last else f"heads {first} to {last}: "
        keys = " or ".join(x.keys) or "none"
        yield "keys of a query" if i == 0 else "", (heads if len(solutions) > 1 else "") + keys


def cost_lines(cost: Cost) -> Iterator[Line]:
    dense = f"dense attention {scaled(cost.dense_forward, 'FLOP')}"
    if cost.forward is not None and cost.backward is not None:
        yield "forward", f"{scaled(cost.forward, 'FLOP')} ({dense})"
        yield "backward", scaled(cost.backward, "FLOP")
    tiles = f"{three(cost.speedup_tiles)}× over dense with these tiles"
    pairs = f", {three(cost.speedup_pairs)}× by pairs alone" if cost.speedup_pairs else ""
    yield "speedup", f"at most {tiles}{pairs}"


def tile_lines(tiles: Tiles) -> Iterator[Line]:
    yield (
        "tiles",
        f"{count(tiles.full)} full, {count(tiles.partial)} partial, {count(tiles.empty)} empty: "
        f"{percent(tiles.share)} visited",
    )
    for i, layout in enumerate(tiles.layouts):
        yield "" if i else "layout", layout
    if tiles.waste is not None:
        yield "waste", f"{three(tiles.waste)} slots visited for each attending pair"


_WORDS = {
    "rows_nonempty": "non-empty rows",
    "causal": "causal",
    "first_tile_live": "first tile live",
    "contiguous": "contiguous",
    "int32": "32-bit offsets",
}
_MEANING = {
    "rows_nonempty": ("every query has a key", "a query may be left without any key"),
    "causal": ("no key comes after its query", "keys may come after their query"),
    "first_tile_live": (
        "every query has a key in the first tile visited for it",
        "a query may have no key in the first tile visited for it",
    ),
    "contiguous": (
        "each query tile visits one unbroken range of keys",
        "the keys of a query tile have gaps",
    ),
    "int32": ("offsets fit 32-bit integers", "offsets need 64-bit integers"),
}


def fact_line(fact: Fact, shape: Shape) -> Line:
    word = {True: "yes", False: "no", None: "not proved"}[fact.holds]
    segments = fact.name.removeprefix("within_")
    if segments != fact.name:
        label = f"within {segments}"
        good = f"no query attends a key with another `{segments}`"
        bad = f"queries may attend keys with another `{segments}`"
    else:
        label, (good, bad) = _WORDS[fact.name], _MEANING[fact.name]
    return label, f"{word:<10}  {good if fact.holds else _witness(fact, shape) or bad}"


def _witness(fact: Fact, shape: Shape) -> str:
    witness = fact.witness
    if witness is None:
        return ""
    head = f" in head {witness.head}" if shape.head_classes > 1 else ""
    plain = {axis for axis, _ in witness.query_at} == {axis for axis, _ in witness.key_at}
    alone = len(witness.query_at) == 1 and witness.query_at[0][0] in dict(shape.sizes)
    query, key = (_at(x, plain) for x in (witness.query_at, witness.key_at))
    if fact.name == "first_tile_live":
        query = _at(witness.query_at, alone)
        return f"query {query} has no key in the first tile visited for it{head}"
    return f"query {query} attends {f'key {key}' if key else 'nothing'}{head}"


def _at(place: Coordinates, plain: bool) -> str:
    """``5`` on a lone axis, ``(y 1, x 4)`` on several, ``cls 0`` in a prefix."""
    if len(place) == 1:
        name, number = place[0]
        return str(number) if plain else f"{name} {number}"
    return f"({', '.join(f'{axis} {n}' for axis, n in place)})" if place else ""


def _growth(growth: Growth | None) -> str:
    if growth is None:
        return "not counted: it depends on run-time tensors, or on requirements of the pattern"
    names = "×".join(name for name, _ in growth.sizes[0])
    at = ", ".join("×".join(str(n) for _, n in sizes) for sizes in growth.sizes)
    how = "counted" if growth.sample is None else f"estimated from {growth.sample} queries"
    return f"{growth.kind} (N^{growth.exponent:.2f}, {how} at {names} = {at})"


def _cache(cache: Cache) -> str:
    grows = {True: "more for longer sequences", False: "the same for longer ones", None: ""}
    tail = f", {grows[cache.grows]}" if cache.grows is not None else ""
    return f"at most {plural(cache.tokens, 'key')} needed later, at N = {cache.at}{tail}"


def _reach(reach: Reach) -> str:
    layers = plural(reach.layers, "layer")
    if reach.tile is not None:
        layers = f"{layers} or more, counted between boxes of {'×'.join(map(str, reach.tile))}"
    apart = f"; {plural(reach.islands, 'set')} of tokens that never meet"
    return f"complete after {layers}{apart if reach.islands > 1 else ''}"

"""A compiled pattern as a directory: its text, its manifest, its plan."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attnlang.cli.failures import UsageError
from attnlang.compiler.layout.tiling import SideTiling
from attnlang.compiler.plan.boxes import Box, BoxTable, Everything
from attnlang.compiler.plan.plan import HeadPlan, Plan
from attnlang.compiler.plan.table import RunTable

TOKENS_LIMIT = 8 << 20
"""Bytes of the tables of tokens by tile; larger ones are left out, as tilings imply them."""

Arrays = dict[str, NDArray[Any]]


def arrays_of(plan: Plan) -> Arrays:
    """The plan as named arrays.

    ``q0.y.starts``, ``.steps``, ``.counts``: strips of an axis of a segment of the queries.
    ``q.tokens``, ``k.tokens``: the sequence places of every tile, -1 for padding, when small.
    ``group0.heads``: heads that share a table. ``group0.offsets``, ``.starts``, ``.stops``,
    ``.full``: runs of key tiles by query tile. ``group0.box0.y.starts``, ``.counts``,
    ``.full_starts``, ``.full_counts``, ``.step``: a box of keys by strip, in plans of boxes;
    without these the box is all keys of a segment. With ``.period`` and ``.times`` its keys come
    back so often. ``group0.box0.first_query``, ``.first_key``: where its segments begin.

    Where heads are cut in unlike ways, all names of one way begin with ``part0.``, ``part1.``, ...;
    where a plan has branches, those of one with ``branch0.``, ``branch1.``, ...
    """
    several, kind = (plan.branches, "branch") if plan.branches else (plan.parts, "part")
    if len(several) > 1:
        each = (arrays_of(one).items() for one in several)
        return {f"{kind}{i}.{name}": x for i, own in enumerate(each) for name, x in own}
    arrays: Arrays = {}
    for name, side in (("q", plan.layout.q), ("k", plan.layout.k)):
        arrays |= _tiling(name, side)
    small = [s.tiles * s.capacity * 8 <= TOKENS_LIMIT for s in (plan.layout.q, plan.layout.k)]
    if all(small):
        arrays |= {"q.tokens": plan.layout.q.tokens, "k.tokens": plan.layout.k.tokens}
    for i, group in enumerate(plan.heads):
        arrays |= _group(f"group{i}", group)
    return arrays


def _tiling(name: str, side: SideTiling) -> Arrays:
    arrays: Arrays = {}
    for i, segment in enumerate(side.extents):
        # A prefix has one axis, which goes by the segment's name.
        for axis, strips in zip(segment.extent.axes, segment.axes, strict=True):
            prefix = f"{name}{i}.{axis}"
            arrays[f"{prefix}.starts"] = strips.starts
            arrays[f"{prefix}.steps"] = strips.steps
            arrays[f"{prefix}.counts"] = strips.counts
    return arrays


def _group(name: str, group: HeadPlan) -> Arrays:
    arrays: Arrays = {f"{name}.heads": np.asarray(group.heads, dtype=np.int64)}
    match group.visits:
        case BoxTable() as boxes:
            for i, box in enumerate(boxes.boxes):
                arrays |= _box(f"{name}.box{i}", box)
        case RunTable() as table:
            for field in ("offsets", "starts", "stops", "full"):
                arrays[f"{name}.{field}"] = getattr(table, field)
    return arrays


def _box(name: str, box: Box | Everything) -> Arrays:
    arrays: Arrays = {
        f"{name}.key_tile": np.asarray(box.k_tile, dtype=np.int64),
        f"{name}.first_query": np.asarray(box.q.extent.start, dtype=np.int64),
        f"{name}.first_key": np.asarray(box.k.start, dtype=np.int64),
    }
    if isinstance(box, Box):
        for axis, reach in zip(box.k.axes, box.reaches, strict=True):
            for field in ("starts", "counts", "full_starts", "full_counts"):
                arrays[f"{name}.{axis}.{field}"] = getattr(reach, field)
            arrays[f"{name}.{axis}.step"] = np.asarray(reach.step, dtype=np.int64)
            if reach.repeats is not None:
                period = np.asarray(reach.repeats.period, dtype=np.int64)
                arrays[f"{name}.{axis}.period"] = period
                arrays[f"{name}.{axis}.times"] = reach.repeats.times
    return arrays


def write_directory(
    out: Path,
    text: str,
    manifest: Mapping[str, Any],
    arrays: Arrays,
    more: Mapping[str, bytes],
    *,
    replace: bool,
) -> None:
    """All files or none: made in a directory beside ``out``, then renamed to it.

    more: further files by name.

    Raises UsageError when ``out`` is there already, unless it may be replaced.
    """
    check_out(out, replace=replace)
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    made = out.with_name(f".{out.name}.{os.getpid()}")
    made.mkdir()
    try:
        (made / "pattern.attn").write_text(text, encoding="utf-8")
        (made / "plan.npz").write_bytes(_npz(arrays))
        for name, content in more.items():
            (made / name).write_bytes(content)
        shown = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
        (made / "manifest.json").write_text(shown, encoding="utf-8")
        _rename(made, out)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def check_out(out: Path, *, replace: bool) -> None:
    """Raises UsageError when ``out`` cannot become the directory."""
    if out.is_dir():
        mine = (out / "manifest.json").is_file()
        if not any(out.iterdir()) or (replace and mine):
            return
        hint = "--force replaces it" if mine else "only what `attnlang compile` wrote is replaced"
        raise UsageError(f"`{out}` exists already", hint)
    if out.exists():
        raise UsageError(f"`{out}` is a file, not a directory")


def _npz(arrays: Arrays) -> bytes:
    buffer = io.BytesIO()
    # The stub takes keyword arrays for `allow_pickle`; no array has that name.
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _rename(made: Path, out: Path) -> None:
    """Put a directory in the place of another, which is removed once the new one stands."""
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    if out.exists():
        out.rename(old)
    try:
        made.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)

"""The shape of one of a module's kernels."""

from __future__ import annotations

from dataclasses import replace

from attnlang.backends.triton.choices import LARGEST_TILE, Shape, tile_block
from attnlang.backends.triton.form import Kernel
from attnlang.backends.triton.tables import Tables
from attnlang.compiler.ir.expr import Side


def shape_of(kernel: Kernel, shape: Shape, tables: Tables | None, group: int) -> Shape:
    """shape: that of a kernel whose walk is worked out, which cuts tokens as it likes. tables: what
    it walks otherwise. group: query heads that share a key head."""
    shape = replace(shape, described=kernel.walk_described)
    if kernel.closed:
        return shape
    assert tables is not None
    shape = replace(shape, tile=tables.tile(kernel.stands_on_keys))
    queries, keys = tables.blocks[Side.Q], tables.blocks[Side.K]
    together = group if kernel.packed else 1
    if tables.listed:
        standing = tile_block(keys if kernel.stands_on_keys else queries * together)
        blocks = (standing, LARGEST_TILE)
        return replace(shape, blocks=blocks[::-1] if kernel.stands_on_keys else blocks)
    if kernel.packed:
        tokens = tables.tile_tokens
        shape, queries = replace(shape, tokens=tokens), tile_block(tokens * together)
    if kernel.boxed and tables.boxed is not None:
        shape, keys = replace(shape, whole=tables.boxed.whole), tables.boxed.block
    return replace(shape, blocks=(queries, keys))

"""What the text of kernels depends on, and a kernel that has been written."""

from __future__ import annotations

from dataclasses import dataclass

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.source.tree import Function
from attnlang.compiler.ir.expr import Side

READ = {"q": Side.Q, "d_out": Side.Q, "k": Side.K, "v": Side.K}
"""Tensors that kernels read tiles of."""
POINTERS = a.TokenTensor | a.TableTensor | a.RowTop | a.LeafSums


WIDE_ROWS = 64
"""Of Hopper's and Blackwell's matrix instructions that run beside other work."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """How a plan gives tiles.

    gathered: sides whose tiles are read through a table of places. strips: those whose tiles are
    products of strips. boxed: do walks of queries go over boxes of keys? alike: have the tiles of
    all boxes the same extents? listed: the set whose lists walks go over. large: have tiles of
    queries :data:`WIDE_ROWS` slots? together: do all heads that share keys fill them better?
    rising: standing sides whose last tiles visit more.
    """

    gathered: frozenset[Side] = frozenset()
    strips: frozenset[Side] = frozenset()
    boxed: bool = False
    alike: bool = False
    listed: str | None = None
    large: bool = True
    together: bool = False
    rising: frozenset[Side] = frozenset()


@dataclass(frozen=True, slots=True)
class Form:
    """What the text of the kernels depends on.

    tiles: where walks read tables. wide: integers need 64 bits.
    sink: does a logit without a value join the softmax? absent: optional inputs not given.
    own_scale: does the pattern's factor of q.k vary within a call? learned: inputs of the score
    whose gradients the backward kernels make. marks: is it asked which rows have keys? closed:
    standing sides whose walks are worked out in the kernel, without tables. apart: must the query
    heads of a key head stand in tiles of their own? described: are tiles of tokens that lie one
    after another read by tensor descriptors? carved: sides of which boxes of the grid are, too.
    together: do heads that share keys stand together where the walk of queries is worked out?
    """

    tiles: Tiles
    wide: bool
    sink: bool
    absent: frozenset[str] = frozenset()
    own_scale: bool = False
    learned: frozenset[str] = frozenset()
    marks: bool = False
    closed: frozenset[Side] = frozenset()
    apart: bool = True
    described: bool = False
    carved: frozenset[Side] = frozenset()
    together: bool = False

    @property
    def packs(self) -> bool:
        """Do the queries of heads that share keys stand together in one tile?"""
        if self.apart:
            return False
        given = self.tiles.listed is not None or self.tiles.together
        return self.together if Side.Q in self.closed else given


@dataclass(frozen=True, slots=True)
class Kernel:
    """closed: does it read no tables? packed: does a program stand on queries of all heads that
    share a key head? boxed: does it walk boxes? described: tensors that it is given as descriptors
    ``[B, H, tokens, dims]`` of one tile. carved: those of them given by their grid."""

    function: Function
    extra: tuple[a.Argument, ...]
    stands_on_keys: bool
    closed: bool
    packed: bool = False
    boxed: bool = False
    described: tuple[str, ...] = ()
    carved: tuple[str, ...] = ()

    @property
    def walk_described(self) -> bool:
        """Are the tiles of the side that moves read by descriptors?"""
        return any((READ[x] is Side.Q) == self.stands_on_keys for x in self.described)

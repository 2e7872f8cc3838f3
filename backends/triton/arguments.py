"""What a kernel's parameters beyond the usual ones stand for.

Lengths and places are arguments, not constants: one compiled kernel serves every length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from attnlang.compiler.ir.expr import Kind, Side, SymbolName, Table


@dataclass(frozen=True, slots=True)
class AxisLength:
    """Tokens of an axis, or of the prefix or suffix of that name."""

    side: Side
    axis: str

    @property
    def name(self) -> str:
        return f"len_{self.side}_{self.axis}"


@dataclass(frozen=True, slots=True)
class SegmentStart:
    """The place of a segment's first token."""

    side: Side
    segment: str

    @property
    def name(self) -> str:
        return f"start_{self.side}_{self.segment}"


@dataclass(frozen=True, slots=True)
class SegmentStop:
    """The place after a segment's last token."""

    side: Side
    segment: str

    @property
    def name(self) -> str:
        return f"stop_{self.side}_{self.segment}"


@dataclass(frozen=True, slots=True)
class Origin:
    """The first coordinate of a side on its first axis: not 0 when decoding."""

    side: Side

    @property
    def name(self) -> str:
        return f"origin_{self.side}"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of heads, or of dimensions."""

    symbol: SymbolName

    @property
    def name(self) -> str:
        return f"num_{self.symbol}"


@dataclass(frozen=True, slots=True)
class TokenTensor:
    """A run-time tensor ``[B or 1, H or 1, tokens of the side's grid]``."""

    side: Side
    input: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"in_{self.side}_{self.input}"


@dataclass(frozen=True, slots=True)
class TokenStride:
    """A stride of a token tensor, 0 where it has one entry."""

    side: Side
    input: str
    dimension: int

    @property
    def name(self) -> str:
        return f"in_{self.side}_{self.input}_stride{self.dimension}"


@dataclass(frozen=True, slots=True)
class TableTensor:
    """A table: a parameter of one value per head, or a run-time tensor."""

    table: str
    kind: Kind

    @property
    def name(self) -> str:
        return f"table_{self.table}"


@dataclass(frozen=True, slots=True)
class TableStride:
    """``dimension`` -1 is the batch."""

    table: str
    dimension: int

    @property
    def name(self) -> str:
        word = "batch" if self.dimension < 0 else str(self.dimension)
        return f"table_{self.table}_stride_{word}"


@dataclass(frozen=True, slots=True)
class TableSize:
    table: str
    dimension: int

    @property
    def name(self) -> str:
        return f"table_{self.table}_size_{self.dimension}"


@dataclass(frozen=True, slots=True)
class RowTop:
    """The largest values of every row ``[B, H, Nq]``, float32: of ``row_max`` with that number."""

    number: int

    @property
    def name(self) -> str:
        return f"top{self.number}"


@dataclass(frozen=True, slots=True)
class LeafSums:
    """Of the score's learned leaf ``number``: sums of slopes by token or by entry, float32."""

    number: int

    @property
    def name(self) -> str:
        return f"d_leaf{self.number}"


@dataclass(frozen=True, slots=True)
class LeafEntries:
    """How many entries of a learned table tokens choose from."""

    number: int
    node: Table

    @property
    def name(self) -> str:
        return f"entries_leaf{self.number}"


Argument: TypeAlias = (
    AxisLength
    | SegmentStart
    | SegmentStop
    | Origin
    | Count
    | TokenTensor
    | TokenStride
    | TableTensor
    | TableStride
    | TableSize
    | RowTop
    | LeafSums
    | LeafEntries
)

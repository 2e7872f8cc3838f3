"""The report on a program at one size: a section for every step, and what they come to together.

Figures are those of one batch element. What a ``select`` chooses is known only when it runs: what
depends on it has bounds, counted from the rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from attnlang.compiler.ir.pattern import ParameterValue
from attnlang.compiler.report.report import Report
from attnlang.compiler.report.steps.cost import Cost


@dataclass(frozen=True, slots=True)
class PoolStep:
    """tokens: of the source, and of the pool."""

    name: str
    source: str
    axes: tuple[str, ...]
    reduction: str
    tokens: tuple[int, int]
    cost: Cost


@dataclass(frozen=True, slots=True)
class TensorStep:
    """A tensor made of others, feature by feature; ``return`` is what the program returns. reads:
    the tensors. readout: the function that reads numbers of an attention."""

    name: str
    reads: tuple[str, ...]
    readout: str | None
    tokens: int
    cost: Cost


@dataclass(frozen=True, slots=True)
class Amount:
    """Keys of each query, over queries and heads: the average and the most.

    total: over all of them. sample: of how many queries it was counted; None when of all.
    """

    total: int
    mean: float
    most: int
    sample: int | None = None


@dataclass(frozen=True, slots=True)
class SelectStep:
    """sets: one for each of so many heads. choices: how often the rule is applied, ``per`` the
    dimensions. candidates: pairs that are scored, over the query heads; None where they were not
    counted. members: pairs that are chosen at most, over the sets. of: among how many.

    forward: FLOPs of the scores that are asked for, a part of the cost. asked: how many of the
    candidates a choice asks at most, where it does not ask all. least: members of a query for sure,
    on average; None where the rule says how many there are. gradient: what the members' weights
    give the scores, where they are read. query or key: None where a set is of the other alone; then
    of is how many of these there are.
    """

    name: str
    query: str | None
    key: str | None
    sets: int
    choices: int
    rule: str
    per: tuple[str, ...]
    candidates: Amount | None
    members: Amount | None
    of: int
    forward: int | None
    asked: int | None
    least: float | None
    gradient: str | None
    cost: Cost


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """A softmax attention. heads: first and last but one. sets: the selections it reads.

    report: of its step; where it reads sets, of every pair that the selections may allow.
    by_rule: how many of these attend at most, given how many are chosen. products: FLOPs of
    products with tables, made before. told: it does not run itself, sums and counts alone are read
    of it.
    """

    name: str
    query: str
    keys: tuple[str, ...]
    heads: tuple[int, int]
    sets: tuple[str, ...]
    report: Report
    by_rule: Amount | None
    products: int
    told: bool
    cost: Cost


@dataclass(frozen=True, slots=True)
class Horizon:
    """heads: those whose decay makes a write count less than 2**-24 after ``tokens`` tokens."""

    heads: tuple[int, ...]
    tokens: int


DecayKind: TypeAlias = Literal["none", "constant", "token", "channel", "softmax"]
"""One for each head, for each token, or for each token and feature of the key. softmax: weights are
divided by their sum so far, and the state is kept below the largest score."""


@dataclass(frozen=True, slots=True)
class LinearStep:
    """A linear attention.

    decay: what it varies with. delta: is it the delta rule? reads: run-time tensors that decays,
    writes and documents depend on. state: bytes in float32 of one head and sequence. forward: FLOPs
    of the recurrence. horizons: of heads whose decay is constant, by the number of tokens.
    """

    name: str
    query: str
    key: str
    heads: tuple[int, int]
    decay: DecayKind
    delta: bool
    causal: bool
    reads: tuple[str, ...]
    state: int
    forward: int
    horizons: tuple[Horizon, ...]
    cost: Cost


StepReport: TypeAlias = PoolStep | TensorStep | SelectStep | AttentionStep | LinearStep


@dataclass(frozen=True, slots=True)
class CachedTensor:
    """tokens: how many of a tensor's tokens a later query may still need, at most."""

    name: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ProgramReport:
    """forward: operations at most of all steps; None where one was not counted. traffic: bytes that
    they read and write. dense: FLOPs of attention of every query to every key. depends: what is
    known only when it runs: the selections, and inputs that decide which pairs attend, or how
    states decay.

    cache: what a decoding step needs of earlier tokens, for causal programs over one axis. state:
    bytes of the states of all linear attentions and heads.
    """

    pattern: str
    params: tuple[tuple[str, ParameterValue], ...]
    sizes: tuple[tuple[str, int], ...]
    queries: int
    keys: int
    heads: int
    kv_heads: int
    head_dim: int
    steps: tuple[StepReport, ...]
    forward: int | None
    traffic: int
    dense: int
    depends: tuple[str, ...]
    cache: tuple[CachedTensor, ...] | None
    state: int
    planning_ms: float
    notes: tuple[str, ...]

"""The lengths a command works at: the ones given, or ones that make a good picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from attnlang.cli.failures import UsageError
from attnlang.cli.shortening import plain, shortened, too_long, unseen
from attnlang.compiler.check import Module, check_pattern
from attnlang.compiler.diagnostics.model import PatternError
from attnlang.compiler.diagnostics.suggest import did_you_mean
from attnlang.compiler.ir.expr import TRUE, Expr, Side, Table
from attnlang.compiler.ir.pattern import PatternIR
from attnlang.compiler.ir.program import Attention
from attnlang.compiler.ir.traverse import rewrite
from attnlang.compiler.problem.heads import reads_head
from attnlang.compiler.problem.steps import problem_of
from attnlang.pattern import Pattern

MODERATE = {1: (1024,), 2: (24, 24), 3: (6, 10, 10)}
"""Lengths at which two patterns are compared, by number of axes."""

USUAL = {1: (4096,), 2: (64, 64), 3: (16, 32, 32)}
"""Lengths that kernels are compiled beside: they serve others too."""

ROOMY = {1: (64,), 2: (12, 12), 3: (4, 6, 6)}
NARROW = {1: (64,), 2: (8, 8), 3: (4, 4, 4)}
"""Lengths of a picture by number of axes: in a file, and in 80 columns of a terminal."""

_LARGEST_UNIT = 64
"""Beyond this no picture is made a multiple of a parameter."""

_EXTRA = 2
"""Tokens of a prefix or suffix whose size is not said."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A pattern and lengths that suit it. notes: what was changed to make it so."""

    pattern: Pattern
    sizes: dict[str, int]
    heads: int
    notes: tuple[str, ...]


def demand_sizes(ir: PatternIR, sizes: Mapping[str, int]) -> None:
    """Raises UsageError for a length that is missing, or that nothing has."""
    names = _names(sized_by(ir, sizes))
    for name in sizes:
        if name not in names and name not in {f"{s}.{n}" for n in names for s in Side}:
            hint = did_you_mean(name, names)
            raise UsageError(f"pattern `{ir.name}` has no axis or segment `{name}`", hint)
    missing = [
        n for n, fixed in names.items() if not fixed and not {n, f"q.{n}", f"k.{n}"} & sizes.keys()
    ]
    if missing:
        listed = " and ".join(f"`{n}`" for n in missing)
        example = " ".join(f"--size {n}=64" for n in missing)
        raise UsageError(f"the length of {listed} is not known", f"add for example: {example}")


def sized_by(ir: PatternIR, sizes: Mapping[str, int]) -> PatternIR:
    """The pattern whose lengths these are: a step's follow from its program's, unless its own are
    given."""
    whole = ir.outer or ir
    own = {*ir.q_axes, *ir.k_axes} - {*whole.q_axes, *whole.k_axes}
    return ir if any(n.rpartition(".")[2] in own for n in sizes) else whole


def _names(ir: PatternIR) -> dict[str, bool]:
    """Axes and segments, and whether the pattern itself says how long they are."""
    axes = dict.fromkeys((*ir.q_axes, *ir.k_axes), False)
    return axes | {s.name: s.size is not None for s in ir.segments if not s.is_grid}


def heads_for(ir: PatternIR, asked: int | None) -> int:
    """The heads asked for; four where heads differ and one would hide it."""
    if asked is not None:
        return asked
    steps = [ir] if ir.program is None else [p for _, p in ir.program.patterns]
    # One set stands for those of all heads.
    sets = [i.name for p in steps for i in p.inputs if i.name not in {x.name for x in ir.inputs}]

    def without(x: Expr) -> Expr | None:
        return TRUE if isinstance(x, Table) and x.name in sets else None

    conditions = [rewrite(g.attend.where, without) for p in steps for g in p.groups]
    branches = [] if ir.program is None else ir.program.steps
    grouped = any(isinstance(s, Attention) and len(s.branches) > 1 for s in branches)
    differ = grouped or any(len(p.groups) > 1 for p in steps) or any(map(reads_head, conditions))
    return 4 if differ else 1


def for_picture(
    module: Module,
    name: str | None,
    parameters: Mapping[str, object],
    sizes: Mapping[str, int],
    heads: int | None,
    *,
    implied: Mapping[str, int] | None = None,
    roomy: bool = True,
    kv_heads: int | None = None,
    head_dim: int = 64,
) -> Sized:
    """Lengths for a small picture; what was given stays.

    implied: lengths that the run-time tensors have. Without any length in ``sizes``, windows and
    blocks longer than the picture are shortened, and what is not implied grows if the pattern
    requires it. Raises PatternError when nothing fits.
    """
    checked = check_pattern(module, name, parameters)
    ir = sized_by(checked, sizes)
    unknown = set(sizes) - set(_names(ir))
    if unknown and not {x.partition(".")[2] or x for x in unknown} <= set(_names(ir)):
        demand_sizes(checked, sizes)
    fixed = {**(implied or {}), **sizes}
    wanted = {**_default(ir, ROOMY if roomy else NARROW), **fixed}
    for axis in set(ir.q_axes) & set(ir.k_axes) - fixed.keys():
        if {f"q.{axis}", f"k.{axis}"} <= fixed.keys():
            del wanted[axis]
    asked = heads_for(ir, heads)
    clipped = shortened(ir, parameters, wanted)
    long = [(p, dict(ir.values)[p.name]) for p in ir.parameters if p.name in clipped]
    if sizes:
        return Sized(
            Pattern(module, checked), wanted, asked, unseen(too_long(ir, parameters, wanted))
        )
    choose = " ".join(f"--size {axis}=" for axis in wanted if axis in ir.q_axes)
    notes = tuple(
        f"the picture is small, so {p.name}={plain(clipped[p.name])} in place of {plain(v)}: "
        f"choose with --set {p.name}= and {choose}"
        for p, v in long
    )
    small = check_pattern(module, name, {**parameters, **clipped})
    first: PatternError | None = None
    for lengths in [wanted] if fixed else _grown(wanted, (small, checked)):
        for candidate, said in ((small, notes), (checked, ())):
            try:
                problem_of(candidate, lengths, heads=asked, kv_heads=kv_heads, head_dim=head_dim)
            except PatternError as error:
                first = first or error
            else:
                return Sized(Pattern(module, candidate), lengths, asked, said)
    assert first is not None
    raise first


def _grown(wanted: Mapping[str, int], patterns: Sequence[PatternIR]) -> Iterator[dict[str, int]]:
    """Lengths, then longer ones, and multiples of what patterns may demand to divide them."""
    axes = {a for ir in patterns for a in (*ir.q_axes, *ir.k_axes)}
    numbers = {v for ir in patterns for _, v in ir.values if isinstance(v, int)}
    units = [1, *sorted(n for n in numbers if 1 < n <= _LARGEST_UNIT)]
    units.append(min(math.lcm(*units), _LARGEST_UNIT))
    for scale in (1, 2, 4, 8):
        for unit in units:
            yield {
                n: max(round(s * scale / unit), 1) * unit if n in axes else s
                for n, s in wanted.items()
            }


def filled_in(
    patterns: Sequence[PatternIR],
    sizes: Mapping[str, int],
    heads: int,
    lengths: Mapping[int, tuple[int, ...]],
    *,
    kv_heads: int | None = None,
    head_dim: int = 64,
) -> dict[str, int]:
    """Lengths for patterns over the same axes: those given, and ``lengths`` by number of axes for
    the rest.

    Grown where a pattern requires it. Raises UsageError for a name that neither has, and
    PatternError when nothing fits.
    """
    lengths_of = [sized_by(ir, sizes) for ir in patterns]
    for name in sizes:
        bare = name.partition(".")[2] or name
        if not any(bare in _names(ir) for ir in lengths_of):
            raise UsageError(
                f"no axis or segment `{name}`", did_you_mean(name, _names(lengths_of[0]))
            )
    wanted = {**_default(lengths_of[0], lengths), **sizes}
    for grown in () if sizes else _grown(wanted, patterns):
        try:
            for ir in patterns:
                problem_of(ir, grown, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
        except PatternError:
            continue
        return grown
    for ir in patterns:
        problem_of(ir, wanted, heads=heads, kv_heads=kv_heads, head_dim=head_dim)
    return wanted


def _default(ir: PatternIR, lengths: Mapping[int, tuple[int, ...]]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for axes in (ir.q_axes, ir.k_axes):
        for axis, length in zip(axes, lengths[len(axes)], strict=True):
            sizes.setdefault(axis, length)
    return sizes | {n: _EXTRA for n, fixed in _names(ir).items() if not fixed and n not in sizes}

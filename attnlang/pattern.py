"""The pattern as users hold it: parameters, mask, plan, report, compiled op."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from attnlang.compiler.check import Module, check_pattern, step_of
from attnlang.compiler.diagnostics.report import failure
from attnlang.compiler.ir.pattern import InputDecl, Meta, ParameterValue, PatternIR, Per
from attnlang.compiler.problem.bind import Sizes
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.steps import problem_of

if TYPE_CHECKING:
    import torch

    from attnlang.compiler.plan.plan import Plan
    from attnlang.compiler.problem.program import BoundProgram
    from attnlang.explain import Explanation
    from attnlang.op import AttentionOp


class Pattern:
    """A checked attention pattern with its parameters' values.

    Made by :func:`attnlang.load` and :func:`attnlang.parse`; immutable.
    """

    def __init__(self, module: Module, ir: PatternIR) -> None:
        self._module = module
        self.ir = ir

    @property
    def name(self) -> str:
        return self.ir.name

    @property
    def params(self) -> dict[str, ParameterValue]:
        """Parameter values by name, in declaration order. Per-axis ones with a single value for
        all axes are shown as that value."""
        shown: dict[str, ParameterValue] = {}
        for name, value in self.ir.values:
            if (
                isinstance(value, tuple)
                and self.ir.parameter(name).per is Per.AXIS
                and len(set(value)) == 1
            ):
                value = value[0]
            shown[name] = value
        return shown

    @property
    def axes(self) -> tuple[str, ...]:
        """Axis names, queries' first; keys' own axes follow where the sides differ."""
        return tuple(dict.fromkeys((*self.ir.q_axes, *self.ir.k_axes)))

    @property
    def inputs(self) -> dict[str, InputDecl]:
        """Declared run-time tensors by name."""
        return {i.name: i for i in self.ir.inputs}

    @property
    def meta(self) -> Meta:
        """Paper, year, arXiv id, fidelity and docstring."""
        return self.ir.meta

    @cached_property
    def hash(self) -> str:
        """Content hash: the same for patterns that mean the same to the letter of their IR."""
        from attnlang.compiler.ir.canonical import content_hash

        return content_hash(self.ir)

    @cached_property
    def text(self) -> str:
        """The pattern in canonical form, with the functions of its file."""
        from attnlang.compiler.syntax.printer import format_module

        return format_module(self._module.tree)

    def with_params(self, **params: object) -> Pattern:
        """The same pattern with other parameter values. Raises PatternError."""
        values = {**dict(self.ir.values), **params}
        return Pattern(self._module, check_pattern(self._module, self.name, values))

    def problem(
        self,
        sizes: Sizes,
        heads: int = 1,
        *,
        kv_heads: int | None = None,
        head_dim: int = 64,
        q_offset: int = 0,
    ) -> Problem:
        """The pattern bound to lengths and heads. Raises PatternError (AL404-AL411, and AL413 for
        a program, whose steps are patterns of their own)."""
        if self.ir.program is not None:
            raise failure("AL413", None, pattern=self.name, help=self._where_attentions_are())
        return problem_of(
            self.ir, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
        )

    def _where_attentions_are(self) -> str:
        if not self.steps:
            return "all its attention is linear: it has no mask and no plan"
        names = ", ".join(f"`{name}`" for name in self.steps)
        return f"its attentions are patterns, `pattern.steps[...]` by name: {names}"

    def bound(
        self,
        sizes: Sizes,
        heads: int = 1,
        *,
        kv_heads: int | None = None,
        head_dim: int = 64,
        q_offset: int = 0,
    ) -> BoundProgram:
        """The pattern's program bound to lengths and heads. Raises PatternError (AL404-AL411)."""
        from attnlang.compiler.problem.program import bind_program

        return bind_program(
            self.ir, sizes, heads=heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
        )

    @cached_property
    def steps(self) -> dict[str, Pattern]:
        """The attentions of a program by name, each as a pattern of its own, in which what a
        ``select`` chooses is a run-time table. Empty for a pattern of one attention."""
        if self.ir.program is None:
            return {}
        names = (name for name, _ in self.ir.program.patterns)
        return {name: Pattern(self._module, step_of(self.ir, name)) for name in names}

    @cached_property
    def whole(self) -> Pattern:
        """The program that a step belongs to; otherwise the pattern itself."""
        return self if self.ir.outer is None else Pattern(self._module, self.ir.outer)

    def mask(
        self,
        sizes: Sizes,
        heads: int = 1,
        *,
        kv_heads: int | None = None,
        q_offset: int = 0,
        **inputs: object,
    ) -> torch.Tensor:
        """The dense truth: which pairs attend.

        bool ``[H or 1, Nq, Nk]`` (1 when all heads attend alike), or ``[B, H or 1, Nq, Nk]``
        when an input has a batch axis. Computed by the reference backend, element by element.
        """
        from attnlang.dense import dense_mask

        return dense_mask(self, sizes, heads, kv_heads, q_offset, inputs)

    def plan(
        self,
        sizes: Sizes,
        heads: int = 1,
        *,
        tile: Any = None,
        kv_heads: int | None = None,
        head_dim: int = 64,
        q_offset: int = 0,
        **inputs: object,
    ) -> Plan:
        """Which tiles are empty, full or partial, exactly, and in which layout.

        tile: extents of the query and key tiles, ``(64, 64)`` or ``((8, 8), (8, 8))``; None lets
        the planner choose. inputs: run-time tensors; without them the tiles that depend on them
        are planned for any values (more are visited, none is missed). None: an optional one that
        is left out.
        """
        from attnlang.planning import make_plan

        problem = self.problem(
            sizes, heads, kv_heads=kv_heads, head_dim=head_dim, q_offset=q_offset
        )
        return make_plan(problem, tile, inputs)

    def explain(
        self,
        sizes: Sizes,
        heads: int = 1,
        head_dim: int = 64,
        *,
        kv_heads: int | None = None,
        **inputs: object,
    ) -> Explanation:
        """What the pattern costs and promises at one size: text, or ``.to_dict()``."""
        from attnlang.explain import explain

        return explain(self, sizes, heads, head_dim, inputs, kv_heads=kv_heads)

    def compile(self, backend: str = "auto", *, scale: float | None = None) -> AttentionOp:
        """The callable op. backend: auto, reference or blocked. Raises Unsupported, ValueError."""
        from attnlang.op import AttentionOp

        return AttentionOp(self, backend, scale=scale)

    def __repr__(self) -> str:
        given = ", ".join(f"{n}={v!r}" for n, v in self.params.items())
        return f"<Pattern {self.name}({given}) over {', '.join(self.axes)}>"

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        source = self._module.tree.span.source
        return _rebuild, (source.name, source.text, self.name, dict(self.ir.values))


def _rebuild(name: str, text: str, pattern: str, values: Mapping[str, object]) -> Pattern:
    from attnlang.compiler.check import open_module
    from attnlang.compiler.source import Source

    module = open_module(Source(name, text))
    return Pattern(module, check_pattern(module, pattern, values))

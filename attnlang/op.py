"""The compiled op: a pattern ready to be called with tensors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from attnlang.backends import registry
from attnlang.backends.arguments import (
    ArgumentError,
    check_empty_rule,
    check_inputs,
    check_sizes,
    check_tensors,
    infer_sizes,
    whole_sizes,
)
from attnlang.backends.call import Call
from attnlang.backends.linear import State
from attnlang.backends.program.run import Runner
from attnlang.compiler.ir.pattern import Normaliser
from attnlang.compiler.ir.reads import has_lse
from attnlang.compiler.problem.problem import Problem
from attnlang.compiler.problem.program import BoundProgram
from attnlang.pattern import Pattern
from attnlang.traced import program_of, traced


class AttentionOp(nn.Module):
    """Attention by one pattern. Without parameters of its own: learned tables are inputs.

    Made by :meth:`Pattern.compile`; a module, so it can be a layer's attribute, copied, pickled
    and compiled with it.
    """

    def __init__(
        self, pattern: Pattern, backend: str = "auto", *, scale: float | None = None
    ) -> None:
        super().__init__()
        registry.check(backend, pattern.ir)
        self.pattern, self.backend, self.scale = pattern, backend, scale
        self._problems: dict[object, Problem | BoundProgram] = {}
        self._program = program_of(pattern, backend)
        self._has_lse = has_lse(pattern.ir)

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sizes: Mapping[str, int] | None = None,
        *,
        return_lse: bool = False,
        scale: float | None = None,
        q_offset: int = 0,
        state: Mapping[str, State] | None = None,
        return_state: bool = False,
        **inputs: object,
    ) -> Any:
        """Attend.

        q ``[B, Hq, Nq, D]``, k ``[B, Hkv, Nk, D]``, v ``[B, Hkv, Nk, Dv]``, one dtype and
        device; Hq a multiple of Hkv (query head h reads key head h // (Hq // Hkv)).
        sizes: lengths of axes and segments by name where the tensors do not tell.
        scale: factor of q.k; default ``D ** -0.5``, unless the pattern has its own.
        q_offset: coordinate of the first query (decoding: tokens already in the cache).
        state: what linear attentions start from, by step: what an earlier call returned.
        inputs: the pattern's run-time tensors by name.

        Returns ``[B, Hq, Nq, Dv]`` in q's dtype; with ``return_lse`` also the natural-log
        normaliser ``[B, Hq, Nq]``, float32 or better, -inf for rows without keys; with
        ``return_state`` also the state after the last token.
        Raises ArgumentError, PatternError, Unsupported - before any kernel runs.
        """
        if torch.compiler.is_compiling() and (state is not None or return_state):
            torch._dynamo.graph_break(msg="a traced graph takes and gives no states of attnlang")
        elif torch.compiler.is_compiling() and return_lse and not self._has_lse:
            torch._dynamo.graph_break(msg=f"`{self.pattern.name}` has no lse")  # told by the call
        elif torch.compiler.is_compiling():
            factor = self.scale if scale is None else scale
            pair = traced(self._program, q, k, v, sizes, factor, q_offset, inputs)
            return pair if return_lse else pair[0]
        left: dict[str, State] = {}
        out, lse = self.pair(q, k, v, sizes, scale, q_offset, return_lse, inputs, state, left)
        if return_lse and lse is None:
            raise ArgumentError(f"`{self.pattern.name}` is not one softmax: it has no lse")
        if return_state and not left:
            raise ArgumentError(f"`{self.pattern.name}` has no linear attention: it keeps no state")
        found = (out, *([lse] if return_lse else []), *([left] if return_state else []))
        return found if len(found) > 1 else out

    def pair(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sizes: Mapping[str, int] | None,
        scale: float | None,
        q_offset: int,
        need_lse: bool,
        inputs: Mapping[str, object],
        state: Mapping[str, State] | None = None,
        left: dict[str, State] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Output, and the lse if it was asked for and there is one. left: takes the states."""
        runner, call = self._call(q, k, v, sizes, scale, q_offset, need_lse, inputs)
        if runner is not None:
            runner.start(state or {})
            runner.steps()
            if left is not None:
                left.update(runner.states)
            return runner.result()
        if state:
            raise ArgumentError(f"`{self.pattern.name}` has no linear attention: it keeps no state")
        out, lse = registry.run(self.backend, call)
        softmax = all(g.attend.normaliser is Normaliser.SOFTMAX for g in call.problem.groups)
        return out, lse if softmax else None

    def select(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sizes: Mapping[str, int] | None = None,
        *,
        scale: float | None = None,
        q_offset: int = 0,
        **inputs: object,
    ) -> dict[str, torch.Tensor]:
        """What every ``select`` of the pattern chooses in this call, by name.

        bool ``[B, (H or Hkv,) queries' axes..., keys' axes...]``: the dimensions that the
        statement lists. Empty for a pattern that selects nothing. Raises as the call does.
        """
        runner, _ = self._call(q, k, v, sizes, scale, q_offset, False, inputs)
        if runner is None:
            return {}
        runner.steps(sets_alone=True)
        return dict(runner.sets)

    def trace(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sizes: Mapping[str, int] | None = None,
        *,
        scale: float | None = None,
        q_offset: int = 0,
        **inputs: object,
    ) -> Runner | None:
        """Run a program and keep what its steps made: values, sets, numbers of tokens.

        None for a pattern of one attention. Raises as the call does.
        """
        runner, _ = self._call(q, k, v, sizes, scale, q_offset, False, inputs)
        if runner is not None:
            runner.steps()
        return runner

    def _call(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        sizes: Mapping[str, int] | None,
        scale: float | None,
        q_offset: int,
        need_lse: bool,
        inputs: Mapping[str, object],
    ) -> tuple[Runner | None, Call]:
        """The checked call; for a program also what runs it."""
        check_tensors(q, k, v)
        made = self._problem(q, k, sizes, q_offset)
        problem = made.frame if isinstance(made, BoundProgram) else made
        check_empty_rule(problem, q, v)
        checked = check_inputs(problem, inputs, q.shape[0], q.device)
        call = Call(problem, q, k, v, checked, self.scale if scale is None else scale, need_lse)
        if not isinstance(made, BoundProgram):
            return None, call
        return Runner(made, call, partial(registry.run, self.backend), self.backend), call

    def _problem(
        self, q: torch.Tensor, k: torch.Tensor, sizes: Mapping[str, int] | None, q_offset: int
    ) -> Problem | BoundProgram:
        given = whole_sizes(sizes)
        key = (q.shape[1:], k.shape[1:3], tuple(sorted(given.items())), q_offset)
        problem = self._problems.get(key)
        if problem is None:
            n_q, n_k = q.shape[2], k.shape[2]
            inferred = infer_sizes(self.pattern.ir, given, n_q, n_k)
            bind = self.pattern.problem if self.pattern.ir.program is None else self.pattern.bound
            problem = bind(
                inferred, q.shape[1], kv_heads=k.shape[1], head_dim=q.shape[3], q_offset=q_offset
            )
            check_sizes(problem.frame if isinstance(problem, BoundProgram) else problem, n_q, n_k)
            if len(self._problems) >= 64:
                self._problems.clear()
            self._problems[key] = problem
        return problem

    def extra_repr(self) -> str:
        params = ", ".join(f"{n}={v!r}" for n, v in self.pattern.params.items())
        return f"{self.pattern.name}({params}), backend={self.backend!r}"

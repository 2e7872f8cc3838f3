"""A small call of every standard pattern that has kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attnlang
from tests.stdlib.cases import smallest
from tests.triton.memory_calls import CHUNKS, Tensor, changed, gradients
from tests.triton.test_attention import NAMES, call_of, to_float
from tests.triton.test_linear import BY_NAME
from tests.triton.test_routing import CLAIMED, some

CAUSAL = [name for name, case in sorted(BY_NAME.items()) if case.causal]
"""Others are run without kernels."""


def _plain(name: str) -> list[Tensor]:
    case = smallest(name)
    values = 20 if "passthrough" in case.pattern.text else 12
    call = to_float(call_of(case, 20, values))
    return call.gradients("triton", lse=call.has_lse)


def _routed(name: str) -> list[Tensor]:
    case = some(name)
    given = {n: x.float() if x.is_floating_point() else x for n, x in case.call.inputs.items()}
    leaves = [x.float().requires_grad_() for x in (case.call.q, case.call.k, case.call.v)]
    op = attnlang.load(f"stdlib:{name}", **case.params).compile("triton")
    return gradients([op(*leaves, case.given, **given)], leaves)


def _linear(name: str) -> list[Tensor]:
    case = BY_NAME[name]
    qkv, inputs = case.draw(21, batch=1)
    leaves = [x.float().requires_grad_() for x in qkv]
    given = {n: x.float() for n, x in inputs.items()}
    with changed(CHUNKS):
        return gradients([case.pattern.compile("triton")(*leaves, **given)], leaves)


STANDARDS: dict[str, Callable[[], list[Tensor]]] = {
    name: partial(run, name)
    for names, run in ((NAMES, _plain), (CLAIMED, _routed), (CAUSAL, _linear))
    for name in names
}

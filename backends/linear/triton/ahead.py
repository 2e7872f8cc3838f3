"""Kernels of linear attention compiled for a machine that need not be there."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from attnlang.backends.linear.triton.launch import KERNELS, Launch, Sequence, decay_sums
from attnlang.backends.triton.ahead import cuda_resources, hip_resources
from attnlang.backends.triton.target import Target

Tensor = torch.Tensor
_TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """shared: bytes. registers: of a thread. spills: loads and stores of spilled ones."""

    kernel: str
    shared: int
    registers: int
    spills: int


def compile_kernels(
    target: Target, width: int, value_width: int, dtype: torch.dtype, *, by_channel: bool,
    delta: bool,
) -> list[Compiled]:  # fmt: skip
    """Every kernel of one class of decays, forwards and backwards, for heads of these widths.

    Needs a process in which Triton does not interpret. Raises RuntimeError when one does not fit.
    """
    found = [
        _compile(launch, target)
        for launch in launches(width, value_width, dtype, by_channel, delta)
    ]
    for one in found:
        if one.shared > target.shared:
            raise RuntimeError(f"{one.kernel} needs {one.shared} bytes of shared memory")
    return found


def launches(
    width: int, value_width: int, dtype: torch.dtype, by_channel: bool, delta: bool
) -> Iterator[Launch]:
    """Those of a forward and a backward pass, on tensors without memory."""

    def room(columns: int, of: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(1, 1, 4096, columns, dtype=of, device="meta")

    q, k, v = (room(n, dtype) for n in (width, width, value_width))
    sums, accumulate = decay_sums(room(width if by_channel else 1))
    yield accumulate
    x = Sequence(q, k, v, sums, room(1) if delta else None, 1, 1.0)
    first, states, values, w = x.states()[:, :, 0], x.states(), x.values(), x.keys()
    pairs = None if x.direct else x.pairs()
    if pairs is not None:
        yield x.weigh(pairs)
    if delta:
        yield x.solve(x.pairs(), x.pairs(), values, w)
        yield x.delta_scan(values, w, first, states, first, values)
        yield x.delta_scan_back(v, values, w, first, states, first, values)
        yield x.meet(k, q, v, values, states=None, pairs=pairs, back=True)
    else:
        yield x.scan(k, v, first, states, first, back=False)
        yield x.scan(q, v, first, states, first, back=True)
        yield x.meet(k, q, v, values, states=states, pairs=pairs, back=True)
    written = values if delta else v
    yield x.meet(q, k, written, v, states=states, pairs=pairs)
    yield x.gradients(written, states, states, v, values, (w, w, w))


def _compile(launch: Launch, target: Target) -> Compiled:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = KERNELS[launch.kernel]
    signature: dict[str, str] = {}
    fixed: dict[str, Any] = {}
    aligned: dict[tuple[int], list[list[object]]] = {}
    for i, parameter in enumerate(kernel.params):
        match launch.given[parameter.name]:
            case x if parameter.is_constexpr:
                signature[parameter.name], fixed[parameter.name] = "constexpr", x
            case Tensor() as x:
                signature[parameter.name] = _TYPES[x.dtype]
                aligned[i,] = [["tt.divisibility", 16]]
            case float():
                signature[parameter.name] = "fp32"
            case x:
                signature[parameter.name] = "i32"
                if x % 16 == 0:
                    aligned[i,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=fixed, attrs=aligned)
    cuda = target.backend == "cuda"
    machine = GPUTarget(target.backend, int(target.arch) if cuda else target.arch, target.warp)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = triton.compile(source, target=machine, options=launch.options)
    resources = cuda_resources(made.asm["cubin"]) if cuda else hip_resources(made.asm["amdgcn"])
    return Compiled(launch.kernel, made.metadata.shared, *resources)

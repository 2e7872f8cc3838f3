"""Kernels compiled for a machine that need not be there, and what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.boxes import BoxWalk
from attnlang.backends.triton.choices import (
    LARGEST_TILE,
    Choice,
    Shape,
    choices,
    constants,
    padded,
    step_of,
)
from attnlang.backends.triton.module import Kernels, load
from attnlang.backends.triton.strips import Strips
from attnlang.backends.triton.target import Target, unfit
from attnlang.backends.triton.writer import READ, Kernel
from attnlang.compiler.ir.expr import Kind, Side

DTYPES = {"bf16": "bf16", "fp16": "fp16", "fp32": "fp32"}
_FLOAT32 = (
    "lse", "divisor", "delta", "sink", "d_leaf", "part_out", "part_lse", "part_divisor", "part_top",
    "top",
)  # fmt: skip
_INT32 = ("classes", "partial_", "full_", "tokens_", "strips_", "top_first", "top_last")
_POINTERS = {Kind.BOOL: "*i1", Kind.INT: "*i64", Kind.FLOAT: "*fp32"}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel for one target.

    shared: bytes. registers: of a thread. spills: registers' worth of loads and stores to local
    memory. tensor_cores: are matrix instructions in it? dropped: choices that do not fit, and why.
    """

    kernel: str
    target: str
    choice: Choice
    shared: int
    registers: int
    spills: int
    tensor_cores: bool
    dropped: tuple[tuple[Choice, str], ...]
    text: str
    binary: bytes


def compile_kernels(
    kernels: Kernels,
    target: Target,
    shape: Shape,
    boxes: BoxWalk | None = None,
    strips: Mapping[Side, Strips] = MappingProxyType({}),
) -> list[Compiled]:
    """The kernels of a module, each with the first choice that fits the target. boxes, strips: what
    those that walk boxes of keys, and tiles of a side, are given.

    Raises Unsupported when none fits: when all need more shared memory than there is.
    """
    shapes = [(k, _shape(k, shape, boxes, strips)) for k in kernels.all]
    return [_first_that_fits(kernels.text, k, target, own) for k, own in shapes]


def _shape(
    kernel: Kernel, shape: Shape, boxes: BoxWalk | None, strips: Mapping[Side, Strips]
) -> Shape:
    shape = replace(shape, described=kernel.walk_described)
    if kernel.closed:
        return replace(shape, blocks=(LARGEST_TILE, LARGEST_TILE))
    if kernel.boxed and boxes is not None:
        blocks = (shape.blocks[0], boxes.block)
        return replace(shape, blocks=blocks, whole=boxes.whole, tile=boxes.tile)
    moving = strips.get(Side.Q if kernel.stands_on_keys else Side.K)
    return shape if moving is None else replace(shape, tile=moving.tile)


def _first_that_fits(text: str, kernel: Kernel, target: Target, shape: Shape) -> Compiled:
    dropped: list[tuple[Choice, str]] = []
    spilled: list[Compiled] = []
    for choice in choices(kernel.function.name, shape, kernel.stands_on_keys):
        made = _compile(text, kernel, target, shape, choice, tuple(dropped))
        if made.shared > target.shared:
            dropped.append((choice, f"{made.shared} bytes of shared memory of {target.shared}"))
        elif made.spills:
            dropped.append((choice, f"{made.spills} registers spilled"))
            spilled.append(made)
        else:
            return made
    if not spilled:
        raise unfit(kernel.function.name, target, dropped[-1][1])
    return min(spilled, key=lambda c: c.spills)


def _compile(
    text: str, kernel: Kernel, target: Target, shape: Shape, choice: Choice,
    dropped: tuple[tuple[Choice, str], ...],
) -> Compiled:  # fmt: skip
    signature, aligned = _signature(kernel, shape, choice)
    fixed = constants(shape, choice, kernel.stands_on_keys, closed=kernel.closed)
    fixed = {p.name: fixed[p.name] for p in kernel.function.parameters if p.constant}
    options = {"num_warps": choice.warps, "num_stages": choice.stages, "enable_fp_fusion": True}
    name = kernel.function.name
    made = built(getattr(load(text), name), signature, fixed, aligned, options, target)
    return Compiled(
        name, target.name, choice, made.shared, made.registers, made.spills, made.tensor_cores,
        dropped, made.text, made.binary,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Built:
    """What the compiler made of one kernel: `Compiled` says what is what."""

    shared: int
    registers: int
    spills: int
    tensor_cores: bool
    text: str
    binary: bytes


def built(
    kernel: Any, signature: dict[str, str], fixed: Mapping[str, Any],
    aligned: dict[tuple[int], list[list[object]]], options: Mapping[str, Any], target: Target,
) -> Built:  # fmt: skip
    """A Triton function compiled. signature: types of its parameters. fixed: the constants.
    aligned: which of them are multiples of 16."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    cuda = target.backend == "cuda"
    machine = GPUTarget(target.backend, int(target.arch) if cuda else target.arch, target.warp)
    source = ASTSource(kernel, signature, constexprs=dict(fixed), attrs=aligned)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = triton.compile(source, target=machine, options=dict(options))
    kinds = ("ptx", "cubin") if cuda else ("amdgcn", "hsaco")
    assembly, binary = (made.asm[kind] for kind in kinds)
    registers, spills = cuda_resources(binary) if cuda else hip_resources(assembly)
    matrix = re.search(r"\bwgmma|\bmma\.sync|\btcgen05\.mma|\bv_mfma", assembly)
    return Built(made.metadata.shared, registers, spills, matrix is not None, assembly, binary)


def _signature(
    kernel: Kernel, shape: Shape, choice: Choice
) -> tuple[dict[str, str], dict[tuple[int], list[list[object]]]]:
    """Triton's types of the parameters, and which of them are multiples of 16."""
    tensors = {x.name: x for x in kernel.extra if isinstance(x, a.TokenTensor | a.TableTensor)}
    fixed = set(kernel.function.fixed)
    signature: dict[str, str] = {}
    aligned: dict[tuple[int], list[list[object]]] = {}
    for i, parameter in enumerate(kernel.function.parameters):
        name = parameter.name
        if parameter.constant:
            kind = "constexpr"
        elif name in tensors:
            kind = _POINTERS[tensors[name].kind]
        elif name in kernel.described:
            stands = (READ[name] is Side.K) == kernel.stands_on_keys
            width = padded(shape.head_dim if name in ("q", "k") else shape.value_dim)
            tile = [1, 1, choice.rows if stands else choice.step, width]
            if name in kernel.carved:
                tile = [1, *step_of(shape.tile, choice.step), width]
            kind = f"tensordesc<{DTYPES[shape.dtype]}{tile}>"
        elif name.startswith(_FLOAT32) and not name.startswith(_INT32):
            kind = "*fp32"
        elif name in ("met", "part_met"):
            kind = "*i8"
        elif name in ("scale", "scale_log2"):
            kind = "fp32"
        elif name in fixed or name.endswith(("_batch", "_head", "_token")):
            kind = "i32"
        elif name.startswith(_INT32):
            kind = "*i32"
        else:
            kind = f"*{DTYPES[shape.dtype]}"
        signature[name] = kind
        if kind.startswith("*") or (kind == "i32" and name not in fixed):
            aligned[i,] = [["tt.divisibility", 16]]
    return signature, aligned


def cuda_resources(cubin: bytes) -> tuple[int, int]:
    """Registers of a thread, and loads and stores of spilled ones, as NVIDIA's tools report."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()

        def dump(option: str) -> str:
            done = subprocess.run(
                [tool, option, file.name], capture_output=True, text=True, check=True
            )
            return done.stdout

        registers = [int(n) for n in re.findall(r"REG:(\d+)", dump("--dump-resource-usage"))]
        spills = len(re.findall(r"\b(?:LDL|STL)\b", dump("-sass")))
    return max(registers, default=0), spills


def hip_resources(assembly: str) -> tuple[int, int]:
    def most(name: str) -> int:
        return max((int(n) for n in re.findall(rf"\.{name}:\s+(\d+)", assembly)), default=0)

    return most("vgpr_count"), most("vgpr_spill_count")

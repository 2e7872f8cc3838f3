"""Kernels compiled for a machine that need not be there, and what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from attnlang.backends.triton import arguments as a
from attnlang.backends.triton.choices import (
    REGISTERS,
    Choice,
    Shape,
    choices,
    constants,
    padded,
    step_of,
)
from attnlang.backends.triton.fit import Need
from attnlang.backends.triton.form import READ, Kernel
from attnlang.backends.triton.module import load
from attnlang.backends.triton.target import Target, unfit
from attnlang.compiler.ir.expr import Kind, Side

RESERVED = 1024
"""Bytes of shared memory that the system takes of every program (CUDA's programming guide)."""
C = TypeVar("C")
_FLOAT32 = (
    "lse", "divisor", "delta", "sink", "d_leaf", "part_out", "part_lse", "part_divisor", "part_top",
    "top",
)  # fmt: skip
_INT32 = ("classes", "partial_", "full_", "tokens_", "strips_", "top_first", "top_last")
_POINTERS = {Kind.BOOL: "*i1", Kind.INT: "*i64", Kind.FLOAT: "*fp32"}


@dataclass(frozen=True, slots=True)
class Built:
    """What the compiler made of a kernel.

    shared: bytes. registers: of a thread. spills: registers' worth of loads and stores to local
    memory. tensor_cores: are matrix instructions in it?
    """

    shared: int
    registers: int
    spills: int
    tensor_cores: bool
    text: str
    binary: bytes


@dataclass(frozen=True, slots=True)
class Dropped:
    """A choice that was compiled and not taken."""

    choice: Any
    shared: int
    spills: int
    why: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel for one target. constants: it was compiled with."""

    kernel: str
    choice: Any
    constants: Mapping[str, Any]
    built: Built
    dropped: tuple[Dropped, ...]


def compile_kernel(text: str, kernel: Kernel, target: Target, shape: Shape) -> Compiled:
    """A kernel of a module's text with the first choice that fits the target and spills nothing,
    else with the one that spills least. shape: its own, as `shape.py` has it.

    Raises Unsupported when none fits: when all need more shared memory than there is.
    """
    name, on_keys = kernel.function.name, kernel.stands_on_keys
    function = getattr(load(text), name)

    def fixed(choice: Choice) -> dict[str, int]:
        every = constants(shape, choice, on_keys, closed=kernel.closed)
        return {p.name: every[p.name] for p in kernel.function.parameters if p.constant}

    def made(choice: Choice) -> list[Built]:
        signature, aligned = _signature(kernel, shape, choice)
        return [built(function, signature, fixed(choice), aligned, choice.options, target)]

    choice, (one,), dropped = best(name, target, choices(name, shape, on_keys), made)
    cap = cap_for_two(one, choice, target)
    if cap is not None:
        capped = replace(choice, maxnreg=cap)
        (other,) = made(capped)
        if other.spills:
            why = f"{other.spills} registers spilled"
            dropped += (Dropped(capped, other.shared, other.spills, why),)
        else:
            choice, one = capped, other
    return Compiled(name, choice, fixed(choice), one, dropped)


def cap_for_two(made: Built, choice: Choice, target: Target) -> int | None:
    """Registers of a thread with which two programs stand on a multiprocessor at once, where that
    is worth compiling again: now one does, and few registers too many are why."""
    cap = REGISTERS.get(choice.warps)
    if target.backend != "cuda" or cap is None or choice.warps < 8 or made.spills:
        return None
    room = 2 * (made.shared + RESERVED) <= target.shared + RESERVED
    return cap if room and cap < made.registers <= cap * 5 // 4 else None


def best(
    name: str, target: Target, choices: Iterable[C], compiled: Callable[[C], list[Built]]
) -> tuple[C, list[Built], tuple[Dropped, ...]]:
    """The first choice that fits a target and spills nothing, else the one that spills least, with
    what is compiled for it, and what was dropped.

    compiled: all that one choice is for. Raises Unsupported when none fits.
    """
    dropped: list[Dropped] = []
    spilled: list[tuple[int, C, list[Built]]] = []
    for choice in choices:
        made = compiled(choice)
        shared, spills = max(x.shared for x in made), sum(x.spills for x in made)
        if shared > target.shared:
            why = str(Need(shared, target.shared))
        elif spills:
            why = f"{spills} registers spilled"
            spilled.append((spills, choice, made))
        else:
            return choice, made, tuple(dropped)
        dropped.append(Dropped(choice, shared, spills, why))
    if not spilled:
        raise unfit(name, target.name, min(dropped, key=lambda x: x.shared).why)
    _, choice, made = min(spilled, key=lambda x: x[0])
    return choice, made, tuple(x for x in dropped if x.choice != choice)


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
        made = triton.compile(source, target=machine, options={**options, "enable_fp_fusion": True})
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
            kind = f"tensordesc<{shape.dtype}{tile}>"
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
            kind = f"*{shape.dtype}"
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

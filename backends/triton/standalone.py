"""Attention by the kernels of this directory. PyTorch and Triton are all that it needs.

    import attention
    out, lse = attention.attend(q, k, v)

Written by `attnlang compile`; what is launched, and how, is in manifest.json under "launch".
"""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

HERE = Path(__file__).parent
MANIFEST = json.loads((HERE / "manifest.json").read_text(encoding="utf-8"))
LAUNCH = MANIFEST["launch"]
LOG2_E = 1.4426950408889634
DTYPES = {"bool": torch.bool, "int": torch.int64, "float": torch.float32}
FEW_QUERIES, FEWEST_KEYS = 64, 256
"""Of so few queries, walks over so many keys for each program are shared."""


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    *,
    scale: float | None = None,
    q_offset: int = 0,
    sink: torch.Tensor | None = None,
    **inputs: torch.Tensor | tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output ``[B, Hq, Nq, Dv]`` in q's dtype, and the lse ``[B, Hq, Nq]`` in float32.

    q ``[B, Hq, Nq, D]``, k ``[B, Hkv, Nk, D]``, v ``[B, Hkv, Nk, Dv]``. scale: factor of q.k,
    default ``D ** -0.5``, unless the pattern has its own. q_offset: coordinate of the first query.
    sink: logits without a value, broadcast to ``[B, Hq, Nq]``, for patterns that have one. inputs:
    the pattern's tensors as it declares them, without gradients; a pair where the queries' and
    the keys' differ.

    Gradients of q, k, v and the sink. Raises ValueError for what the kernels were not made for.
    """
    if sink is not None:
        sink = sink.float().expand(q.shape[:3]).contiguous()
    _check(q, k, v, q_offset, sink, inputs)
    values = _inputs(inputs, q)
    values |= {"length_q": q.shape[2], "length_k": k.shape[2], "q_offset": q_offset}
    factor = q.shape[3] ** -0.5 if scale is None else scale
    out, lse = _Attention.apply(q, k, v, sink, factor, values)  # type: ignore[no-untyped-call]
    return out, lse


def _check(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, q_offset: int,
    sink: torch.Tensor | None, inputs: dict[str, Any],
) -> None:  # fmt: skip
    batch, d, dtype = q.shape[0], MANIFEST["head_dim"], LAUNCH["dtype"]
    heads, kv_heads = MANIFEST["heads"], MANIFEST["kv_heads"]
    for name, x, h in (("q", q, heads), ("k", k, kv_heads), ("v", v, kv_heads)):
        if x.dim() != 4 or x.shape[0] != batch or x.shape[1] != h or x.shape[3] != d:
            raise ValueError(f"{name} must be [{batch}, {h}, tokens, {d}], not {list(x.shape)}")
        if str(x.dtype) != f"torch.{dtype}" or x.device != q.device or x.stride(3) != 1:
            raise ValueError(f"{name} must be {dtype} on {q.device}, its last dimension contiguous")
    if k.shape[2] != v.shape[2]:
        raise ValueError(f"v must have k's {k.shape[2]} tokens, not {v.shape[2]}")
    for name, x in (("q", q), ("k", k)):
        if LAUNCH["tables"] and (x.shape[2] != MANIFEST["tokens"][name] or q_offset):
            raise ValueError(f"{name} must have {MANIFEST['tokens'][name]} tokens, from the first")
        if x.shape[2] + q_offset > LAUNCH["longest"]:
            raise ValueError(f"{name} must end before coordinate {LAUNCH['longest']}")
    if (sink is not None) != LAUNCH["sink"]:
        raise ValueError("the pattern has a sink" if sink is None else "the pattern has no sink")
    missing = [x["name"] for x in LAUNCH["inputs"] if x["name"] not in inputs]
    unknown = set(inputs) - {x["name"] for x in LAUNCH["inputs"]}
    if missing or unknown:
        raise ValueError(f"missing inputs: {missing}, unknown inputs: {sorted(unknown)}")


def _inputs(given: dict[str, Any], q: torch.Tensor) -> dict[str, Any]:
    """The tensors as kernels read them ``[B or 1, H or 1, tokens]``, or ``[B or 1, entries...]``,
    with their strides and sizes, by the kernels' names for them."""
    values: dict[str, Any] = {}
    for declared in LAUNCH["inputs"]:
        name, dims = declared["name"], declared["dims"]
        pair = given[name] if isinstance(given[name], tuple) else (given[name],) * 2
        for side, x in zip("qk", pair, strict=True):
            x = x.detach().to(q.device, DTYPES[declared["kind"]])
            if x.dim() != len(dims):
                raise ValueError(f"{name} must be [{', '.join(dims)}], not {list(x.shape)}")
            x = x if "batch" in dims else x[None]
            if not declared["sides"]:
                values |= _table(name, x)
            elif side in declared["sides"]:
                rest = [n for n in dims if n != "batch"]
                x = x.movedim(rest.index("head") + 1, 1) if "head" in dims else x[:, None]
                x = x.reshape(*x.shape[:2], -1)
                values[f"in_{side}_{name}"] = x
                for i in range(3):
                    alone = x.shape[i] == 1 and i < 2
                    values[f"in_{side}_{name}_stride{i}"] = 0 if alone else x.stride(i)
    for table in LAUNCH["values"]:
        dtype = torch.float64 if table["kind"] == "float" else DTYPES[table["kind"]]
        entries = torch.tensor([table["entries"]], dtype=dtype, device=q.device)
        values |= _table(table["name"], entries)
    return values


def _table(name: str, x: torch.Tensor) -> dict[str, Any]:
    found = {f"table_{name}": x, f"table_{name}_stride_batch": x.stride(0) * (x.shape[0] > 1)}
    for i in range(1, x.dim()):
        found[f"table_{name}_stride_{i - 1}"] = x.stride(i)
        found[f"table_{name}_size_{i - 1}"] = x.shape[i]
    return found


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sink: torch.Tensor | None,
        scale: float, values: dict[str, Any],
    ) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
        out = q.new_empty((*q.shape[:3], v.shape[3]))
        lse = torch.empty(q.shape[:3], dtype=torch.float32, device=q.device)
        read = {"q": q, "k": k, "v": v, "sink": sink}
        for group in _groups(q, k, v):
            first, last = group["heads"]
            heads = (last - first) * q.shape[0]
            splits = min(264 // heads, k.shape[2] // FEWEST_KEYS)
            if q.shape[2] > FEW_QUERIES or splits < 2:
                _run(group, "forward", {**read, "out": out, "lse": lse}, scale, values)
                continue
            part_lse = lse.new_empty((splits, *lse.shape))
            part_out = lse.new_empty((splits, *out.shape))
            parts = {"part_out": part_out, "part_lse": part_lse, "splits": splits}
            _run(group, "split_forward", {**read, **parts}, scale, values)
            _run(group, "merge", {**read, **parts, "out": out, "lse": lse}, scale, values)
        ctx.save_for_backward(q, k, v, sink, out, lse)
        ctx.scale, ctx.values = scale, values
        return out, lse

    @staticmethod
    def backward(ctx: Any, d_out: torch.Tensor, d_lse: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, sink, out, lse = ctx.saved_tensors
        d_lse = torch.where(lse.isinf(), 0.0, d_lse)
        delta = (out.float() * d_out.float()).sum(-1) - d_lse
        norm = torch.where(lse.isinf(), float("inf"), lse)
        d_out = _module("descriptors.py").aligned(d_out.contiguous())
        d_q, d_k, d_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        read = {"q": q, "k": k, "v": v, "d_out": d_out, "lse": norm, "delta": delta}
        for group in _groups(q, k, v):
            _run(group, "query_gradient", {**read, "d_q": d_q}, ctx.scale, ctx.values)
            own = {"d_k": torch.zeros_like(k), "d_v": torch.zeros_like(v)}
            _run(group, "key_gradient", {**read, **own}, ctx.scale, ctx.values)
            d_k += own["d_k"]
            d_v += own["d_v"]
        d_sink = None if sink is None else -torch.exp(sink - norm) * delta
        return d_q, d_k, d_v, d_sink, None, None


def _groups(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> list[dict[str, Any]]:
    """What is launched: kernels that read by descriptors where machine and tensors have them."""
    own = _module("descriptors.py")
    can = own.machine_describes(q.device) and own.describable(q, k, v)
    return [(can and group["described"]) or group for group in LAUNCH["groups"]]


def _run(
    group: dict[str, Any], name: str, given: dict[str, Any], scale: float, values: dict[str, Any]
) -> None:
    """One kernel over all tiles of the group's heads."""
    kernel, q = group["kernels"][name], given["q"]
    first, last = group["heads"]
    shared = MANIFEST["heads"] // MANIFEST["kv_heads"]
    choice = _choice(group["module"], name, q)
    scale = scale if group["scale"] is None else group["scale"]
    rows, step = choice["rows"], choice["step"]
    numbers = {
        "scale": scale, "scale_log2": scale * LOG2_E, "group": shared, "first_head": first,
        "launched_heads": last - first, "num_heads": MANIFEST["heads"], "batches": q.shape[0],
        "launched_kv_heads": (last - 1) // shared - first // shared + 1,
        "D": MANIFEST["head_dim"], "DV": MANIFEST["head_dim"], "ROWS": rows, "STEP": step,
        "PADDED_D": LAUNCH["padded"], "PADDED_DV": LAUNCH["padded"],
    }  # fmt: skip
    if kernel["tables"] is None:
        length = values["length_k" if kernel["stands_on"] == "k" else "length_q"]
        tiles = -(-length * (shared if kernel["packed"] else 1) // rows)
    else:
        tables = _tables(str(q.device))
        numbers |= {n: x for n, x in tables.items() if not n.startswith("by_")}
        own = kernel["tables"] + "."
        numbers |= {n.removeprefix(own): x for n, x in tables.items() if n.startswith(own)}
        block = kernel["blocks"]
        numbers |= {"PARTS": block[0] // rows, "STEPS": block[1] // step, "rows": kernel["rows"]}
        numbers["WHOLE"] = kernel["whole"]
        tiles = kernel["rows"] * numbers["PARTS"]
    for tensor in kernel["described"]:
        stands = (tensor in ("k", "v")) == (kernel["stands_on"] == "k")
        tile = (rows if stands else step, LAUNCH["padded"])
        given = {**given, tensor: _module("descriptors.py").descriptor(given[tensor], *tile)}
    for tensor, x in given.items():
        if isinstance(x, torch.Tensor) and x.dim() == 4:
            for i, dimension in enumerate(("batch", "head", "token")):
                numbers[f"{tensor}_stride_{dimension}"] = x.stride(i)
    for argument, value in group["arguments"].items():
        numbers[argument] = values[value] if isinstance(value, str) else value
    function = getattr(_module(group["module"]), name)
    wanted = inspect.signature(function.fn).parameters
    for leaf, side in group["leaves"].items():
        if leaf in wanted:  # sums that nobody asks for
            shape = (q.shape[0], MANIFEST["heads"], values[f"length_{side}"])
            numbers[leaf] = torch.empty(shape, dtype=torch.float32, device=q.device)
    every = {**values, **numbers, **given}
    over_keys = kernel["packed"] or kernel["stands_on"] == "k"
    heads = numbers["launched_kv_heads" if over_keys else "launched_heads"]
    grid = (tiles, q.shape[0] * heads, given["splits"] if name == "split_forward" else 1)
    chosen = {n: every[n] for n in wanted}
    function[grid](**chosen, num_warps=choice["warps"], num_stages=choice["stages"])


_modules: dict[str, ModuleType] = {}
_loaded: dict[str, dict[str, torch.Tensor]] = {}


def _module(name: str) -> ModuleType:
    if name not in _modules:
        spec = importlib.util.spec_from_file_location(name.removesuffix(".py"), HERE / name)
        assert spec is not None
        assert spec.loader is not None
        _modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(_modules[name])
    return _modules[name]


def _choice(module: str, kernel: str, q: torch.Tensor) -> dict[str, int]:
    """How a kernel was compiled for this machine, else for the first of the targets."""
    target = ""
    if q.device.type == "cuda" and torch.version.hip is None:
        target = "cuda:{}{}".format(*torch.cuda.get_device_capability(q.device))
    mine = [x for x in MANIFEST["kernels"] if (x["module"], x["kernel"]) == (module, kernel)]
    chosen: dict[str, int] = next((x for x in mine if x["target"] == target), mine[0])["choice"]
    return chosen


def _tables(device: str) -> dict[str, torch.Tensor]:
    """The plan: int32 numbers, one table after another."""
    if device not in _loaded:
        content = bytearray((HERE / "tables.bin").read_bytes())
        every = torch.frombuffer(content, dtype=torch.int32).to(device)
        parts = every.split(list(LAUNCH["tables"].values()))
        _loaded[device] = dict(zip(LAUNCH["tables"], parts, strict=True))
    return _loaded[device]

"""The tensors of a call in the forms that steps read, and what steps hand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Tensor = torch.Tensor
Given = Tensor | tuple[Tensor, Tensor] | None


KINDS = {"bool": torch.bool, "int": torch.int64, "float": torch.float32}


def by_token(
    name: str, x: Given, dims: Sequence[str], kind: str, like: Tensor, *, q: int | None = None,
    k: int | None = None, nonpositive: bool = False,
) -> list[Tensor]:  # fmt: skip
    """Values of tokens ``[B or 1, H or 1, tokens]`` for each side that has them; 0 without x.

    dims, kind: as declared. q, k: tokens on the axes of queries and keys. Raises ValueError.
    """
    pair = x if isinstance(x, tuple) else (x, x)
    made: list[Tensor] = []
    for one, length in zip(pair, (q, k), strict=True):
        if length is None:
            continue
        if one is None:
            none = torch.zeros(1, dtype=KINDS[kind], device=like.device)
            made.append(none.expand(1, 1, length))
            continue
        _check(name, one, dims, kind)
        y = one if "batch" in dims else one[None]
        rest = [n for n in dims if n != "batch"]
        y = y.movedim(rest.index("head") + 1, 1) if "head" in dims else y[:, None]
        y = y.flatten(2)
        if y.shape[2] != length:
            raise ValueError(f"{name} must have {length} tokens, not {y.shape[2]}")
        if nonpositive and not (y <= 0).all():
            raise ValueError(f"{name} must hold no value above 0")
        made.append(y)
    return made


def table(name: str, x: Tensor | None, dims: Sequence[str], kind: str, like: Tensor) -> Tensor:
    """``[B or 1, ...]``; of no entries without x. Raises ValueError."""
    if x is None:
        size = (1, *(0 for n in dims if n != "batch"))
        return torch.zeros(size, dtype=KINDS[kind], device=like.device)
    _check(name, x, dims, kind)
    return x if "batch" in dims else x[None]


def _check(name: str, x: Tensor, dims: Sequence[str], kind: str) -> None:
    own = "bool" if x.dtype is torch.bool else "float" if x.is_floating_point() else "int"
    if x.dim() != len(dims) or own != kind:
        wanted = f"{kind}[{', '.join(dims)}]"
        raise ValueError(f"{name} must be {wanted}, not {x.dtype} {list(x.shape)}")


def vectors(x: Tensor, axes: int, batch: int) -> Tensor:
    """An input ``[B or 1, (heads,) axes..., D]`` as a tensor ``[B, heads or 1, tokens, D]``."""
    x = x.unsqueeze(1) if x.dim() == 2 + axes else x
    return x.flatten(2, -2).expand(batch, -1, -1, -1)


def as_table(x: Tensor, lengths: Sequence[int], head: int | None) -> Tensor:
    """Values of tokens as a table ``[B or 1, ...]`` of the axes, the head at its place."""
    made: Tensor = x.unflatten(2, tuple(lengths))
    return made[:, 0] if head is None else made.movedim(1, 1 + head)


def number(x: Tensor, heads: int) -> Tensor:
    """A tensor of one feature as numbers of its tokens, for every query head."""
    x = x[..., 0]
    return x if x.shape[1] in (1, heads) else x.repeat_interleave(heads // x.shape[1], 1)


def repeated(x: Tensor, heads: int) -> Tensor:
    """Each head as often, one after the other, as it takes to be ``heads``."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def joined(
    tensors: Sequence[Tensor], start: int, stop: int, every: int, dtype: torch.dtype
) -> Tensor:
    """Tensors one behind the other, for query heads ``start <= head < stop`` of ``every``."""
    heads = max(x.shape[1] for x in tensors)
    x = torch.cat([repeated(p.to(dtype), heads) for p in tensors], 2)
    if stop - start == every or heads == 1:
        return x
    share = every // heads
    if start % share or stop % share:
        return repeated(x, every)[:, start:stop]
    return x[:, start // share : stop // share]


def row(x: Tensor | float, q: Tensor) -> Tensor:
    """A number of each query ``[B, H, N]``."""
    made = torch.as_tensor(x, dtype=torch.float32, device=q.device)
    return made.expand(*q.shape[:3], 1)[..., 0]


def scalar(x: Tensor | float, device: torch.device) -> Tensor:
    """A number beside vectors."""
    return torch.as_tensor(x, device=device).float()


def truth(x: Tensor | bool, device: torch.device) -> Tensor:
    return torch.as_tensor(x, device=device)


def four(x: Tensor | float, device: torch.device) -> Tensor:
    """A number of tokens, heads and features, with four dimensions."""
    made = torch.as_tensor(x, device=device)
    return made.reshape((1,) * (4 - made.dim()) + tuple(made.shape))


def some(x: Tensor, heads: Tensor) -> Tensor:
    """An input's values for some heads."""
    return x[:, heads] if x.shape[1] > 1 else x


def mask(x: Tensor | bool, heads: int, queries: int, keys: int, device: torch.device) -> Tensor:
    """A condition on pairs, bool ``[B or 1, heads, queries, keys]``."""
    made = four(x, device)
    return made.expand(made.shape[0], heads, queries, keys)


def row_max(x: Tensor, allowed: Tensor | bool) -> Tensor:
    """The largest value over the keys that are allowed; 0 for a query without any."""
    there = torch.as_tensor(allowed, device=x.device)
    top = torch.where(there, x, -torch.inf).amax(-1, keepdim=True)
    return torch.where(top.isinf(), 0.0, top)


def scored(scores: Tensor | float, allowed: Tensor | bool, like: Tensor) -> tuple[Tensor, Tensor]:
    """Edited scores and candidates, in the shape of the products ``[B, H, queries, keys]``."""
    wide = torch.as_tensor(scores, device=like.device).to(like.dtype)
    return wide.expand(like.shape), four(allowed, like.device).expand(like.shape)


def counted(
    chosen: Tensor, axes: int, *, by_head: bool, heads: int, weight: Tensor | None
) -> Tensor:
    """How many members every row of a set has, or what they count together ``[B, H, rows, 1]``.

    axes: dimensions of the rows. weight: of each member.
    """
    x = chosen.long() if by_head else chosen.long().unsqueeze(1)
    x = x.flatten(2 + axes)
    found = (x if weight is None else x * weight.flatten()).sum(-1).flatten(2)
    return (repeated(found, heads) if by_head else found)[..., None]


def column_sum(run: Callable[[Tensor], tuple[Tensor, ...]], like: Tensor) -> Tensor:
    """For every key the weights it was given ``[B, H, Nk, 1]``: the slope of the summed output by
    values of one feature. like: the queries' heads and the keys' tokens."""
    with torch.enable_grad():
        ones = torch.zeros_like(like[..., :1]).requires_grad_()
        (found,) = torch.autograd.grad(run(ones)[0].sum(), ones)
    return found


def told(x: Tensor | bool, k: Tensor, heads: int) -> Tensor:
    """Values that are 1 where something holds of the key ``[B, H, Nk, 1]``, else 0."""
    made = four(x, k.device).to(k.dtype)
    return made.expand(k.shape[0], heads, k.shape[2], 1).contiguous()

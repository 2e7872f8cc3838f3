"""Tables that scores read, of one attention of a program."""

from __future__ import annotations

import torch

from attnlang.backends.linear.form import repeated
from attnlang.backends.program.tables import pair_products, table_products
from attnlang.compiler.ir.expr import Side
from attnlang.compiler.ir.program import PairProduct, Product


def product_table(
    made: Product | PairProduct, q: torch.Tensor, k: torch.Tensor, table: torch.Tensor
) -> torch.Tensor:
    """The table of one product. q ``[B, H, Nq, D]``, k ``[B, Hkv, Nk, D]``, table of some heads."""
    if isinstance(made, PairProduct):
        k = repeated(k, q.shape[1])
        return pair_products(made.op, made.function, q, k, table, made.by_head)
    return table_products(q if made.side is Side.Q else k, table, made.by_head)

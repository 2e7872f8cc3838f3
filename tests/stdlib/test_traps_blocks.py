"""What is easily got wrong about block tables."""

from __future__ import annotations

import pytest
import torch

import attnlang

HEADS, KEY_HEADS = 4, 2


def table(layers: int) -> torch.Tensor:
    """In layer l the last row attends block l, all others everything."""
    made = torch.ones(layers, 2, 4, dtype=torch.bool)
    for layer in range(layers):
        made[layer, 1] = torch.arange(4) == layer
    return made


@pytest.mark.parametrize(
    ("mode", "layers", "seen"),
    [("per_q_head", 4, [0, 1, 2, 3]), ("per_kv_head", 2, [0, 0, 1, 1]), ("shared", 1, [0] * 4)],
)
@pytest.mark.parametrize("backend", ["reference", "blocked"])
def test_layers_are_of_query_heads_or_key_heads(
    mode: str, layers: int, seen: list[int], backend: str
) -> None:
    sizes = {"rows": 2, "columns": 4}
    op = attnlang.load("stdlib:lca_variable_block_sparse", mode=mode, **sizes).compile(backend)
    q, k = torch.zeros(1, HEADS, 8, 4), torch.zeros(1, KEY_HEADS, 8, 4)
    v = torch.arange(8.0)[None, None, :, None].expand(1, KEY_HEADS, 8, 1) // 2
    row, column = torch.arange(8) // 4, torch.arange(8) // 2
    out = op(q, k, v, row=row, column=column, blocks=table(layers))
    assert out[0, :, 7, 0].tolist() == seen
    assert out[0, :, 0, 0].tolist() == [1.5] * 4  # the first query sees the last key: not causal

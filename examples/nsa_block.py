"""A block with Native Sparse Attention: means, chosen blocks and a window, gated for each query.

python examples/nsa_block.py [--context 512] [--block 8] [--topk 4] [--window 32]

It is trained through, says which blocks its queries have chosen, and decodes token by token, which
gives what the whole sequence gave at once.
"""

import argparse

import torch
from torch import nn

import attnlang

HEADS, KEY_HEADS, WIDTH = 8, 2, 16


class Block(nn.Module):
    """Pre-norm attention with grouped queries and three gates for each query and head; an MLP."""

    def __init__(self, block: int, topk: int, window: int) -> None:
        super().__init__()
        dim, key_dim = HEADS * WIDTH, KEY_HEADS * WIDTH
        sizes = {"block": block, "topk": topk, "window": window}
        self.attend = attnlang.compile("stdlib:nsa", **sizes)
        self.norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q = nn.Linear(dim, dim)
        self.k, self.v = nn.Linear(dim, key_dim), nn.Linear(dim, key_dim)
        self.gate, self.out = nn.Linear(dim, 3 * HEADS), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.SiLU(), nn.Linear(4 * dim, dim))
        with torch.no_grad():  # before any training, like looks for like
            for head in range(HEADS):
                rows = slice(head * WIDTH, (head + 1) * WIDTH)
                key_rows = (head * KEY_HEADS // HEADS) * WIDTH
                self.q.weight[rows] = 4 * self.k.weight[key_rows : key_rows + WIDTH]

    def tensors(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """q, k, v ``[batch, heads, n, width]`` and the gates ``[batch, heads, n, 3]``."""
        x = self.norm(x)
        q, k, v = (f(x).unflatten(2, (-1, WIDTH)).transpose(1, 2) for f in (self.q, self.k, self.v))
        gate = torch.sigmoid(self.gate(x)).unflatten(2, (HEADS, 3)).transpose(1, 2)
        return q, k, v, gate

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[batch, n, dim]`` to the same."""
        q, k, v, gate = self.tensors(x)
        x = x + self.out(self.attend(q, k, v, gate=gate).transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--block", type=int, default=8)
    parser.add_argument("--topk", type=int, default=4)
    parser.add_argument("--window", type=int, default=32)
    args = parser.parse_args()

    torch.manual_seed(0)
    block = Block(args.block, args.topk, args.window)
    # A text that says everything twice.
    said = torch.randn(1, args.context // 2, HEADS * WIDTH)
    x = torch.cat((said, said), 1).requires_grad_()
    block(x).square().mean().backward()
    grads = [p.grad is not None and bool(p.grad.any()) for p in block.parameters()]
    print(f"{args.context} tokens, gradients for {sum(grads)} of {len(grads)} parameters")

    with torch.no_grad():
        q, k, v, gate = block.tensors(x)
        whole = block.attend(q, k, v, gate=gate)
        chosen = block.attend.select(q, k, v, gate=gate)["chosen"][0]
        print("blocks of the last query, of each key head:")
        for row in chosen[:, -1].tolist():
            print("    " + "".join("#" if there else "." for there in row))
        at = torch.arange(args.context // 2, args.context)
        again = chosen[:, at, at // args.block - args.context // 2 // args.block]
        share = again.float().mean()
        print(f"the block that said the same before is among them for {share:.0%} of the queries")

        gap = 0.0
        for n in range(args.context - 4, args.context):
            # One more query; rows of the gates for those before it are not read.
            one = (q[:, :, n : n + 1], k[:, :, : n + 1], v[:, :, : n + 1])
            step = block.attend(*one, q_offset=n, gate=gate[:, :, : n + 1])
            gap = max(gap, (step - whole[:, :, n : n + 1]).abs().max().item())
        print(f"largest difference from decoding token by token: {gap:.1e}")
        dense = block.attend.pattern.compile("reference")(q, k, v, gate=gate)
        print(f"largest difference from dense attention: {(whole - dense).abs().max():.1e}")


if __name__ == "__main__":
    main()

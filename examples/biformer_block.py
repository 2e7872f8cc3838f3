"""A block of BiFormer: regions of an image choose the regions that their tokens attend.

python examples/biformer_block.py [--side 28] [--regions 7] [--topk 4]

The choice is made anew for every image, and is there to be looked at: `op.select` returns it.
"""

import argparse

import torch
from torch import nn

import attnlang

HEADS, WIDTH = 4, 16


class Block(nn.Module):
    """Pre-norm attention between regions, a convolution of the values beside it, then an MLP."""

    def __init__(self, regions: int, topk: int) -> None:
        super().__init__()
        dim = HEADS * WIDTH
        self.attend = attnlang.compile("stdlib:biformer_bra", regions=regions, topk=topk)
        self.near = nn.Conv2d(dim, dim, 5, padding=2, groups=dim)
        self.norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))
        with torch.no_grad():  # before any training, like looks for like
            self.qkv.weight[dim : 2 * dim] = self.qkv.weight[:dim]

    def heads(self, x: torch.Tensor) -> torch.Tensor:
        """q, k, v: ``[3, batch, heads, y * x, width]``."""
        return self.qkv(self.norm(x)).unflatten(2, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)

    def forward(self, x: torch.Tensor, sizes: dict[str, int]) -> torch.Tensor:
        """``[batch, y * x, dim]`` to the same."""
        q, k, v = self.heads(x)
        attended = self.attend(q, k, v, sizes).transpose(1, 2).flatten(2)
        image = v.transpose(2, 3).flatten(1, 2).unflatten(2, (sizes["y"], sizes["x"]))
        near = self.near(image).flatten(2).transpose(1, 2)
        x = x + self.out(attended + near)
        return x + self.mlp(self.mlp_norm(x))


def patches(side: int, dim: int) -> torch.Tensor:
    """Tokens of an image with two kinds of things on it, each in two places."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    half = side // 2
    kind = ((y < half) == (x < half)).long().flatten()
    return torch.randn(2, dim)[kind][None] + 0.3 * torch.randn(1, side * side, dim)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=28, help="tokens on a side of the image")
    parser.add_argument("--regions", type=int, default=7, help="regions on a side")
    parser.add_argument("--topk", type=int, default=4)
    args = parser.parse_args()

    torch.manual_seed(0)
    sizes = {"y": args.side, "x": args.side}
    block = Block(args.regions, args.topk)
    image = patches(args.side, HEADS * WIDTH).requires_grad_()
    block(image, sizes).square().mean().backward()
    print(f"{args.side} x {args.side} tokens, trained through")

    with torch.no_grad():
        q, k, v = block.heads(image)
        chosen = block.attend.select(q, k, v, sizes)["chosen"][0]
        print(f"what the region in the corner chose, {args.topk} of {args.regions**2}:")
        for row in chosen[0, 0].tolist():
            print("    " + " ".join("#" if there else "." for there in row))
        share = chosen.float().mean()
        print(f"{share:.1%} of all pairs attend")
        dense = block.attend.pattern.compile("reference")(q, k, v, sizes)
        gap = (block.attend(q, k, v, sizes) - dense).abs().max()
        print(f"largest difference from dense attention with a mask: {gap:.1e}")


if __name__ == "__main__":
    main()

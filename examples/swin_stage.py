"""A stage of Swin: transformer blocks in which windows and shifted windows alternate.

python examples/swin_stage.py [--side 56] [--blocks 2]

Shifted windows are a pattern with another offset: nothing is rolled, padded or masked by hand.
"""

import argparse

import torch
from torch import nn

import attnlang

WINDOW, HEADS, WIDTH = 7, 3, 32


class Block(nn.Module):
    """Pre-norm attention in windows with a table of relative positions, then an MLP."""

    def __init__(self, shift: int) -> None:
        super().__init__()
        dim = HEADS * WIDTH
        self.attend = attnlang.compile("stdlib:swin_window", window=WINDOW, shift=shift)
        self.bias = nn.Parameter(torch.zeros(HEADS, 2 * WINDOW - 1, 2 * WINDOW - 1))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.norm, self.mlp_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: torch.Tensor, sizes: dict[str, int]) -> torch.Tensor:
        """``[batch, y * x, dim]`` to the same."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
        attended = self.attend(q, k, v, sizes, bias=self.bias)
        x = x + self.out(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.mlp_norm(x))


class Stage(nn.Module):
    """Blocks by twos: windows, then windows shifted by half their size."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(i % 2 * (WINDOW // 2)) for i in range(blocks))

    def forward(self, x: torch.Tensor, sizes: dict[str, int]) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, sizes)
        return x


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=56, help="tokens on a side of the image")
    parser.add_argument("--blocks", type=int, default=2)
    args = parser.parse_args()

    torch.manual_seed(0)
    sizes = {"y": args.side, "x": args.side}
    stage = Stage(args.blocks)
    image = torch.randn(1, args.side**2, HEADS * WIDTH, requires_grad=True)
    stage(image, sizes).square().mean().backward()
    print(f"{len(stage.blocks)} blocks on {args.side} x {args.side} tokens, trained through")

    # What does the token in the middle see? The gradient of its output tells.
    x, middle = image, args.side // 2 * (args.side + 1)
    for depth, block in enumerate(stage.blocks, 1):
        x = block(x, sizes)
        (reached,) = torch.autograd.grad(x[0, middle].sum(), image, retain_graph=True)
        print(f"after block {depth} it has seen {int(reached[0].any(-1).sum())} tokens")

    q, k, v = torch.randn(3, 1, HEADS, args.side**2, WIDTH)
    for block in stage.blocks[:2]:
        pattern = block.attend.pattern
        dense = pattern.compile("reference")(q, k, v, sizes, bias=block.bias)
        gap = (block.attend(q, k, v, sizes, bias=block.bias) - dense).abs().max()
        density = pattern.plan(sizes, HEADS).density
        print(
            f"shift {pattern.params['shift']}: {density:.1%} of all pairs, "
            f"largest difference from dense attention {gap:.1e}"
        )


if __name__ == "__main__":
    main()

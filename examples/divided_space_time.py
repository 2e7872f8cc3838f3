"""A divided space-time block: attention over time, then over space, and a class token in both.

python examples/divided_space_time.py [--frames 8] [--sites 196]

The block of Frozen in Time (arXiv 2104.00650). The space step's residual adds to the block's input.
"""

import argparse

import torch
from torch import nn

import attnlang

HEADS, WIDTH = 4, 16


class Attention(nn.Module):
    """Projections around one pattern."""

    def __init__(self, axis: str) -> None:
        super().__init__()
        dim = HEADS * WIDTH
        self.attend = attnlang.compile("stdlib:divided_st_cls", axis=axis)
        self.norm, self.qkv, self.out = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 3 * dim),
            nn.Linear(dim, dim),
        )

    def forward(self, x: torch.Tensor, sizes: dict[str, int]) -> torch.Tensor:
        """``[batch, 1 + t * s, dim]`` to the same: the class token first, then frame by frame."""
        q, k, v = self.qkv(self.norm(x)).unflatten(2, (3, HEADS, WIDTH)).permute(2, 0, 3, 1, 4)
        return self.out(self.attend(q, k, v, sizes).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        dim = HEADS * WIDTH
        self.time, self.space = Attention("t"), Attention("s")
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: torch.Tensor, sizes: dict[str, int]) -> torch.Tensor:
        in_time = x + self.time(x, sizes)
        x = x + self.space(in_time, sizes)
        return x + self.mlp(self.norm(x))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--sites", type=int, default=196, help="patches of a frame")
    args = parser.parse_args()

    torch.manual_seed(0)
    block = Block()
    sizes = {"t": args.frames, "s": args.sites}
    clip = torch.randn(1, 1 + args.frames * args.sites, HEADS * WIDTH)
    out = block(clip, sizes)
    out[:, 0].square().mean().backward()  # a loss on the class token
    print(f"{args.frames} frames of {args.sites} patches and a class token: out {list(out.shape)}")

    for step in (block.time, block.space):
        pattern = step.attend.pattern
        plan = pattern.plan(sizes, HEADS)
        keys = plan.pairs / (HEADS * plan.problem.q_len)
        axis = pattern.params["axis"]
        print(f"axis={axis}: {keys:.1f} keys a query, {plan.density:.1%} of all")

    # The weights do not know how many frames there are: a picture is a clip of one.
    with torch.no_grad():
        picture = block(clip[:, : 1 + args.sites], {"t": 1, "s": args.sites})
    print(f"one frame: out {list(picture.shape)}")

    q, k, v = torch.randn(3, 1, HEADS, clip.shape[1], WIDTH)
    for step in (block.time, block.space):
        dense = step.attend.pattern.compile("reference")(q, k, v, sizes)
        gap = (step.attend(q, k, v, sizes) - dense).abs().max()
        print(f"largest difference from dense attention: {gap:.1e}")


if __name__ == "__main__":
    main()

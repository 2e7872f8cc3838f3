"""S2-Attention in a layer: every head sees its own share of the past, together they see it all.

python examples/sharded_heads.py
"""

import torch
from bytelm.model import Attention, Rotary, Shape

import attnlang

TOKENS, HEADS = 1024, 8
BLOCKS = {"block": 16, "local_blocks": 4, "vert_stride": 8}


def main() -> None:
    torch.manual_seed(0)
    pattern = attnlang.load("stdlib:s2_local_stride", **BLOCKS)
    mask = pattern.mask({"n": TOKENS}, HEADS)
    causal = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
    print("What the last query's head sees, one character for each block of 16 keys:")
    for head in range(HEADS):
        blocks = mask[head, -1].view(-1, BLOCKS["block"]).any(-1)
        print("  ", "".join("#" if sees else "." for sees in blocks))
    print(f"\na head sees {mask[:, causal].double().mean():.0%} of the past,", end=" ")
    print(f"all heads together {mask.any(0)[causal].double().mean():.0%}")

    # Once with tiles that are empty left out, once as dense attention with the same mask.
    shape = Shape(dim=HEADS * 16, heads=HEADS, kv_heads=HEADS)
    sharded = Attention(shape, pattern.compile("blocked"))
    dense = Attention(shape, pattern.compile("reference"))
    dense.load_state_dict(sharded.state_dict())
    rotary = Rotary(shape.head_dim, TOKENS)
    x = torch.randn(1, TOKENS, shape.dim)
    results = []
    for layer in (sharded, dense):
        out = layer(x, rotary)
        out.square().sum().backward()
        results.append((out, *(w.grad for w in layer.parameters())))
    worst = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(*results, strict=True))
    print(f"largest difference from dense attention, gradients included: {worst:.1e}")
    report = pattern.explain({"n": TOKENS}, HEADS).report
    print(f"with these tiles at most {report.cost.speedup_tiles:.1f} times as fast as dense")


if __name__ == "__main__":
    main()

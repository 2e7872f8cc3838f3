"""Write a pattern of your own, look at it, call it, train through it.

python examples/write_your_own.py
"""

import torch

import attnlang

TEXT = """
def before(a: axis, b: axis) -> bool:
    "Is the key earlier in reading order, or the query itself?"
    return k.a < q.a or (k.a == q.a and k.b <= q.b)

pattern painter(reach: int = 3):
    "A pixel sees the pixels around it that are already painted."
    over y, x
    attend where before(y, x) and within(y, reach) and within(x, reach)
"""


def main() -> None:
    pattern = attnlang.parse(TEXT, reach=2)
    print(f"{pattern!r}\n")

    # The dense truth, bool [1, 64, 64]: a pixel of the 8 x 8 picture is a query and a key.
    mask = pattern.mask({"y": 8, "x": 8}).view(8, 8, 8, 8)
    print("What the pixel at y=4, x=3 sees:")
    for row in mask[4, 3]:
        print("   ", " ".join("#" if sees else "." for sees in row))

    # The op does the same at any size, and leaves out what is empty.
    op = pattern.compile()
    sizes = {"y": 48, "x": 48}
    q, k, v = (torch.randn(1, 4, 48 * 48, 32, requires_grad=True) for _ in range(3))
    out = op(q, k, v, sizes=sizes)
    out.square().mean().backward()
    print(f"\nout {list(out.shape)}, gradient of q {list(q.grad.shape)}")

    plan = pattern.plan(sizes, heads=4)
    visited = plan.visited / (plan.problem.heads * plan.problem.q_len * plan.problem.k_len)
    print(f"{plan.density:.1%} of the pairs attend, {visited:.1%} are computed")

    dense = pattern.compile("reference")(q, k, v, sizes=sizes)
    print(f"largest difference from the dense reference: {(out - dense).abs().max():.1e}")


if __name__ == "__main__":
    main()

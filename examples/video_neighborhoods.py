"""Neighbourhood attention on a video of HunyuanVideo's size: 30 frames of 48 x 80 tokens.

python examples/video_neighborhoods.py [--size 30,48,80] [--window 18,24,24] [--stride 16,8,8]

Window and stride are those of Generalized Neighborhood Attention (arXiv 2504.16922). The model has
24 heads of 128; here one head of 16 attends, which a CPU can bear.
"""

import argparse
import time

import torch

import attnlang

WIDTH = 16
Triple = tuple[int, int, int]


def triple(text: str) -> Triple:
    t, y, x = map(int, text.split(","))
    return t, y, x


def window_of(at: int, length: int, window: int, stride: int) -> slice:
    """The keys of one coordinate, by the paper's rule: led by its stride group, shifted inward."""
    leader = min(at // stride * stride + stride // 2, length - 1)
    start = min(max(leader - window // 2, 0), length - window)
    return slice(start, start + window)


def by_hand(video: torch.Tensor, at: Triple, window: Triple, stride: Triple) -> torch.Tensor:
    """What the token at (t, y, x) gets: attention over a box of the video ``[t, y, x, WIDTH]``."""
    t, y, x = map(window_of, at, video.shape, window, stride)
    seen = video[t, y, x].flatten(0, 2)
    return torch.softmax(seen @ video[at] * WIDTH**-0.5, 0) @ seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=triple, default=(30, 48, 80))
    parser.add_argument("--window", type=triple, default=(18, 24, 24))
    parser.add_argument("--stride", type=triple, default=(16, 8, 8))
    args = parser.parse_args()

    torch.manual_seed(0)
    sizes = dict(zip("tyx", args.size, strict=True))
    op = attnlang.compile("stdlib:neighborhood_3d", window=args.window, stride=args.stride)
    print(op.pattern.explain(sizes, heads=24, head_dim=128))

    q = torch.randn(1, 1, args.size[0] * args.size[1] * args.size[2], WIDTH)
    with torch.no_grad():
        start = time.perf_counter()
        out = op(q, q, q, sizes)[0, 0].unflatten(0, args.size)
        print(f"\n{q.shape[2]} tokens in {time.perf_counter() - start:.1f} s, planning included")

    ends = (0, 0, 0), tuple(n - 1 for n in args.size), tuple(n // 2 for n in args.size)
    for t, y, x in ends:
        expected = by_hand(q[0, 0].unflatten(0, args.size), (t, y, x), args.window, args.stride)
        gap = (out[t, y, x] - expected).abs().max()
        print(f"the token at {t}, {y}, {x}: {gap:.1e} from its window by hand")


if __name__ == "__main__":
    main()

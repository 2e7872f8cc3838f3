"""Workloads on images and videos."""

from __future__ import annotations

from attnlang.bench.suite.workload import Shape, Workload


def _grid(*lengths: int) -> dict[str, int]:
    return dict(zip(("t", "y", "x")[3 - len(lengths) :], lengths, strict=True))


def _near(window: object, stride: object) -> dict[str, object]:
    return {"window": window, "stride": stride}


def _neighborhoods(
    name: str, claim: str, shapes: dict[str, tuple[dict[str, int], object, object]]
) -> tuple[Workload, Workload]:
    """Neighborhood attention with stride 1, and generalized with a stride that fits the grid.

    shapes: by scale the grid, the window and the stride.
    """
    made = []
    for kind in ("na", "gna"):
        at = {
            scale: (
                Shape(
                    sizes,
                    heads=24 if scale == "cuda" else 2,
                    dim=128 if scale == "cuda" else 64,
                    params=_near(window, 1 if kind == "na" else stride),
                ),
            )
            for scale, (sizes, window, stride) in shapes.items()
        }
        rank = len(shapes["cuda"][0])
        text = f"stdlib:neighborhood_{rank}d"
        made.append(Workload(f"{name}_{kind}", text, claim, at, kin=("natten",)))  # type: ignore[arg-type]
    return made[0], made[1]


FLUX = _neighborhoods(
    "flux",
    "FLUX at 4096 x 4096, window 80 x 80: at most 10.2 times less work (Generalized Neighborhood "
    "Attention, 2025)",
    {
        "cuda": (_grid(256, 256), 80, 16),
        "cpu": (_grid(128, 128), 40, 8),
        "quick": (_grid(64, 64), 20, 4),
    },
)
HUNYUAN = _neighborhoods(
    "hunyuan",
    "HunyuanVideo, window 18 x 24 x 24: at most 11.1 times less work (Generalized Neighborhood "
    "Attention, 2025)",
    {
        "cuda": (_grid(30, 48, 80), (18, 24, 24), (16, 8, 8)),
        "cpu": (_grid(15, 24, 40), (9, 12, 12), (8, 4, 4)),
        "quick": (_grid(10, 16, 20), (6, 8, 6), (5, 4, 2)),
    },
)
COSMOS = _neighborhoods(
    "cosmos",
    "Cosmos-7B, window 16 x 24 x 16, inferred from the bound of 9.2 (Generalized Neighborhood "
    "Attention, 2025)",
    {
        "cuda": (_grid(16, 44, 80), (16, 24, 16), (1, 8, 16)),
        "cpu": (_grid(8, 22, 40), (8, 12, 8), (1, 4, 8)),
        "quick": (_grid(4, 22, 40), (4, 12, 8), (1, 4, 8)),
    },
)

RADIAL = Workload(
    "radial",
    "stdlib:radial_token",
    "HunyuanVideo, 117 and 509 frames: 1.9 and 3.7 times as fast end to end, a ninth of the work "
    "of attention (Radial Attention, 2025)",
    {
        "cuda": tuple(Shape({"t": t, "s": 3840}, 24, 128) for t in (30, 128)),
        "cpu": (Shape({"t": 30, "s": 256}, 2, 64),),
        "quick": (Shape({"t": 30, "s": 128}, 2, 64),),
    },
)

VMOBA = Workload(
    "vmoba",
    "stdlib:vmoba",
    "93 frames of 576 x 1024, 55296 tokens: 2.92 times less work, 1.48 times as fast in training "
    "(VMoBA, 2025)",
    {
        "cuda": (
            Shape(
                {"t": 24, "y": 36, "x": 64}, 12, 128, {"block_t": 4, "block_y": 12, "block_x": 8}
            ),
        ),
        "cpu": (
            Shape({"t": 12, "y": 18, "x": 32}, 2, 64, {"block_t": 2, "block_y": 6, "block_x": 8}),
        ),
        "quick": (
            Shape({"t": 6, "y": 18, "x": 32}, 2, 64, {"block_t": 2, "block_y": 6, "block_x": 8}),
        ),
    },
)

WORKLOADS: tuple[Workload, ...] = (*FLUX, *HUNYUAN, *COSMOS, RADIAL, VMOBA)

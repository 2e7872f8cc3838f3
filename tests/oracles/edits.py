"""Weights that are edited after the softmax: the whole map of a head is drawn, then changed."""

import math
from collections.abc import Callable

import numpy as np

from tests.oracles.composed import Call, Floats, Oracle, softmax

Edit = Callable[[Floats, int, int], Floats]


def everything(i: int, j: int) -> bool:
    return True


def causal(i: int, j: int) -> bool:
    return j <= i


def drawn(call: Call, b: int, h: int, sees: Callable[[int, int], bool]) -> Floats:
    """The softmax of every query over the keys that it sees, [Nq, Nk]."""
    q, k, _ = call.sequence(b, h)
    found = np.zeros((len(q), len(k)))
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if sees(i, j)]
        found[i, keys] = softmax([call.scale * float(q[i] @ k[j]) for j in keys])
    return found


def edited(call: Call, sees: Callable[[int, int], bool], edit: Edit) -> Floats:
    """edit(map, batch, head) is what the values meet."""
    out = np.zeros((*call.q.shape[:3], call.v.shape[3]))
    for b, h in call.rows():
        weights = edit(drawn(call, b, h, sees), b, h)
        for i, j in np.ndindex(weights.shape):
            out[b, h, i] += weights[i, j] * call.sequence(b, h)[2][j]
    return out


def act_calibration(call: Call) -> Floats:
    """Column means over the rows that see the key; the first bright key is no sink."""
    alpha, beta = call.params["alpha"], call.params["beta"]

    def edit(a: Floats, b: int, h: int) -> Floats:
        n = len(a)
        bright = [j for j in range(n) if sum(a[:, j]) / (n - j) > alpha / n]
        sinks = bright[1:]
        if not call.inputs["chosen"][h]:
            return a
        made = np.zeros_like(a)
        for i in range(n):
            freed = sum((1 - beta) * a[i, j] for j in sinks)
            others = sum(a[i, j] for j in range(n) if j not in sinks)
            for j in range(n):
                made[i, j] = beta * a[i, j] if j in sinks else a[i, j] + freed * a[i, j] / others
        made[0, 0] = 1.0
        return made

    return edited(call, causal, edit)


def var_redistribution(call: Call) -> Floats:
    """Rows of text that look at the image, but little at its sinks."""
    rho, p, least = (call.params[x] for x in ("rho", "p", "summ"))

    def edit(a: Floats, b: int, h: int) -> Floats:
        image, sink = call.inputs["image"][b], call.inputs["sink"][b]
        made, places = a.copy(), range(len(a))
        if not any(image[j] and sink[j] for j in places):
            return made
        for i in places:
            looked = sum(a[i, j] for j in places if image[j])
            stuck = sum(a[i, j] for j in places if image[j] and sink[j])
            padded = sum(a[i, j] + 1e-6 for j in places if image[j])
            if image[i] or looked < least or stuck / padded > rho:
                continue
            freed = sum((1 - p) * a[i, j] for j in places if sink[j])
            for j in places:
                if sink[j]:
                    made[i, j] = p * a[i, j]
                elif image[j]:
                    made[i, j] = a[i, j] + freed * a[i, j] / (looked - stuck)
        return made

    return edited(call, causal, edit)


def fix_imbalanced(call: Call) -> Floats:
    """A (1 + boost of the head) for chosen keys, divided by the new sum of the row."""

    def edit(a: Floats, b: int, h: int) -> Floats:
        made = a.copy()
        for i, j in np.ndindex(a.shape):
            if call.inputs["chosen"][b, j]:
                made[i, j] *= 1 + call.inputs["boost"][h]
        for i in range(len(a)):
            made[i] /= sum(made[i])
        return made

    return edited(call, causal, edit)


def ditctrl_reweight(call: Call) -> Floats:
    """Video to word and word to video, times c."""
    text = call.inputs["text"]

    def edit(a: Floats, b: int, h: int) -> Floats:
        words = [j for j in range(len(a)) if text[j] and call.inputs["word"][b, j]]
        video = [j for j in range(len(a)) if not text[j]]
        made = a.copy()
        for i in video:
            for j in words:
                made[i, j] *= call.params["c"]
                made[j, i] *= call.params["c"]
        return made

    return edited(call, everything, edit)


def nearest(x: Floats, keys: Floats, count: int) -> list[int]:
    """The keys of the largest cosine with x."""
    cosine = [float(x @ k) / math.sqrt(float(x @ x) * float(k @ k)) for k in keys]
    return sorted(range(len(keys)), key=lambda g: -cosine[g])[:count]


def tcpa_prompt(call: Call) -> Floats:
    """Keys [class | its prompts | prompts of patches | patches]; queries [class | patches]."""
    groups, length, top = (call.params[x] for x in ("groups", "length", "topk"))
    start = 1 + groups * length

    def edit(a: Floats, b: int, h: int) -> Floats:
        mask = np.zeros_like(a)
        mask[:, 0] = 1.0
        mask[:, 1 + 2 * groups * length :] = 1.0
        for g in nearest(call.inputs["x_cls"][b, 0], call.inputs["cls_key"], top):
            mask[0, 1 + g * length : 1 + (g + 1) * length] = 1.0
        for i in range(1, len(a)):
            for g in nearest(call.inputs["x"][b, i - 1], call.inputs["image_key"], top):
                mask[i, start + g * length : start + (g + 1) * length] = 1.0
        return a * mask

    return edited(call, everything, edit)


ORACLES: dict[str, Oracle] = {
    "act_calibration": act_calibration,
    "var_redistribution": var_redistribution,
    "fix_imbalanced": fix_imbalanced,
    "ditctrl_reweight": ditctrl_reweight,
    "tcpa_prompt": tcpa_prompt,
}

"""Stage `prepare`: what a method computes from the data once, for all sets that it builds from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from condhpc import arrays, by_hand, distillation, registry, train
from condhpc.arrays import ArrayFile
from condhpc.errors import StageError
from condhpc.methods.base import Preparing
from condhpc_jobs import inputs

if TYPE_CHECKING:
    from condhpc.context import Context
    from condhpc.spec import PrepareSpec


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `prepared`: named arrays."""
    train.configure(ctx.threads)
    spec: PrepareSpec = ctx.spec
    train.require_precision(spec.precision, ctx.device)
    plugin: Any = registry.preparation(spec.method, spec.preparation)
    params = msgspec.convert(spec.params, plugin.Params)
    split = inputs.open_split(ctx, spec.dataset, spec.dataset.train_split, spec.resolution)
    work = Preparing(
        spec=spec,
        params=params,
        train=split,
        device=ctx.device,
        steps=distillation.Alone(ctx, spec.preparation),
        **inputs.given(ctx, plugin.needs(params), len(split)),
    )
    found = plugin.prepare(work)
    require_finite(found, f"preparation '{spec.preparation}' of method '{spec.method}'")
    ctx.artefact("prepared", "h5", partial(arrays.write, kind="prepared", content=ArrayFile(found, {"key": ctx.key})))
    return {"arrays": len(found), "prepared_bytes": sum(int(array.nbytes) for array in found.values())}


def require_finite(found: dict[str, Any], who: str) -> None:
    """Raise StageError where a number is NaN or infinite."""
    bad = [name for name, array in found.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]
    if bad:
        raise StageError(
            f"{who}: NaN or infinite numbers in {bad[0]}, and in {len(bad) - 1} arrays more; "
            "a network that it reads diverged"
        )


if __name__ == "__main__":
    raise SystemExit(by_hand.main("prepare"))

"""One stage for all: `<root>/behaviour.json` says how many steps, how long each, and who fails."""

import json
import os
import time
from pathlib import Path

from condhpc.errors import StageError


def behaviour(ctx):
    """What this stage shall do; read anew at every start, so that a test can mend it between attempts."""
    told = json.loads((Path(ctx.site.root) / "behaviour.json").read_text())
    return {"steps": 1, "step_s": 0.0, "fail": [], "fail_late": [], "needs_mb": 0} | told.get(ctx.task.stage, {})


def _given_mb():
    """Memory that Slurm granted, as the development cluster does not enforce it; endless where it says nothing."""
    return float(os.environ.get("SLURM_MEM_PER_NODE", "inf"))


def run(ctx):
    """Count to `steps`, from the checkpoint if there is one; note every step that was really done."""
    told = behaviour(ctx)
    spec = ctx.spec
    name = getattr(spec, "condenser", None) or getattr(spec, "arch", None) or ctx.task.stage
    if name in told["fail"]:
        raise StageError(f"{name} was told to fail")
    if _given_mb() < told["needs_mb"]:
        raise MemoryError
    held = ctx.checkpoint()
    first = int(held.read_text()) if held else 0
    trace = Path(ctx.site.root) / "trace" / f"{ctx.task.stage}.{ctx.key}.{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    trace.parent.mkdir(exist_ok=True)
    for step in range(first, told["steps"]):
        with trace.open("a") as file:
            file.write(f"{step}\n")
        time.sleep(told["step_s"])
        done = step + 1
        ctx.tick(done, told["steps"], lambda path, done=done: path.write_text(str(done)), loss=1.0 / done)
    if name in told["fail_late"]:
        raise StageError(f"{name} was told to fail at its end")
    if ctx.task.stage in {"teacher", "embed", "condense"}:
        names = {"teacher": "model", "embed": "embeddings", "condense": "set"}
        ctx.artefact(names[ctx.task.stage], "h5", lambda path: path.write_bytes(ctx.key.encode()))
    if ctx.task.stage == "evaluate":
        return {"top1_pct": 50.0, "test_count": 2, "correct_bits": "QA==", "steps": told["steps"], "batch": 1}
    return {"value": 1.0, "per_class": [], "reason": "", "unit": "x", "better": "lower"}

"""Stage `teacher`: train a classifier of a whole split, or take weights made elsewhere, and test it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from condhpc import arrays, by_hand, feed, images, judge, labels, models, ranks, rng, train
from condhpc.arrays import ArrayFile
from condhpc.dynamics import Dynamics
from condhpc.errors import StageError
from condhpc_jobs import inputs, self_test, weights

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from condhpc.context import Context
    from condhpc.spec import TeacherSpec, Training


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `model` (weights, and the dynamics of training) and say how good it is."""
    train.configure(ctx.threads)
    spec: TeacherSpec = ctx.spec
    seed = rng.torch_seed(spec.seed, "teacher-init")
    model = models.build(spec.arch, spec.dataset.classes, spec.dataset.resolution, seed)
    if spec.training is not None:
        with ranks.team(ctx) as team:
            values, kept = _train(ctx, spec, spec.training, model, team)
    elif spec.weights is not None:
        weights.load_file(model, ctx.weights_file(spec.weights.name), spec.weights)
        values, kept = {"source": f"weights:{spec.weights.name}"}, {}
    else:
        raise StageError(f"teacher {ctx.key} has neither training nor weights")
    if ctx.place.rank:  # what is left is rank 0's
        return {}
    values |= _test(ctx, spec, model)
    content = ArrayFile(
        {**weights.to_arrays(model), **kept},
        {"arch": spec.arch, "classes": spec.dataset.classes, "resolution": spec.dataset.resolution, "key": ctx.key},
    )
    ctx.artefact("model", "h5", partial(arrays.write, kind="model", content=content))
    return values


def _train(
    ctx: Context, spec: TeacherSpec, training: Training, model: nn.Module, team: ranks.Alone
) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Train in place; values for the record, and dynamics under `dynamics/<name>`, (epochs, N) each."""
    source = images.images_of(inputs.open_split(ctx, spec.dataset, spec.split), ctx.device, ctx.threads)
    epochs = feed.epochs(len(source), training.batch, training.steps)
    dynamics = Dynamics(epochs, len(source), ctx.device)
    recipe = train.Run(
        training=training,
        loss=labels.hard_labels(smoothing=0.0),
        mean=spec.dataset.mean,
        std=spec.dataset.std,
        seed=spec.seed,
        device=ctx.device,
        report=team.report,
        compile=ctx.site.compile if ctx.place.ranks == 1 else "",
        team=team,
    )
    trained = train.train(model, source, recipe, dynamics)
    values = {
        "source": "trained",
        "loss_last": trained.loss_last,
        "steps": training.steps,
        "batch": training.batch,
        "epochs": epochs,
        "train_count": len(source),
        "train_top1_pct_last_epoch": 100.0 * float(dynamics.correct_EN[-1].float().mean()),
    }
    kept = {f"dynamics/{name}": tensor.cpu().numpy() for name, tensor in dynamics.state().items()}
    return values, kept


def _test(ctx: Context, spec: TeacherSpec, model: nn.Module) -> dict[str, Any]:
    """Test accuracy, the ceiling for its students; it selects nothing."""
    source = images.images_of(inputs.open_split(ctx, spec.dataset, spec.dataset.test_split), ctx.device, ctx.threads)
    score = judge.score(model, source, spec.dataset.mean, spec.dataset.std, ctx.device)
    tested: dict[str, Any] = {}
    if spec.weights is not None:
        names = inputs.open_index(ctx, spec.dataset).class_names
        tested = self_test.check(score, source.labels_N.cpu().numpy(), names, spec.weights)
    return {
        **tested,
        "parameters": sum(p.numel() for p in model.parameters()),
        "test_top1_pct": score.top1_pct,
        "test_loss": score.loss,
        "test_count": len(source),
    }


if __name__ == "__main__":
    raise SystemExit(by_hand.main("teacher"))

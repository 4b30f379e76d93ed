"""Minimax: which weights are tuned, memories, and both terms against a plain re-statement."""

from typing import Any

import numpy as np
import pytest
import torch
from made_generators import tiny_generator
from numpy.typing import NDArray
from tiny_data import MemorySplit, make_work

from condhpc import minimax_tuning, registry
from condhpc.errors import StageError
from condhpc.minimax_tuning import Losses, Memory, Tuning

MINIMAX = registry.load("methods", "minimax")
LABELS = np.array([0, 1, 0, 2])


def vectors(n: int, seed: int) -> torch.Tensor:
    """(n, 5)."""
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def memories() -> tuple[Memory, Memory]:
    """Real latents of classes 0 and 1, predictions of class 0."""
    real, made = Memory((0, 1, 2), 64), Memory((0, 1, 2), 64)
    real.push(0, vectors(6, 1))
    real.push(1, vectors(3, 2))
    made.push(0, vectors(4, 3))
    return real, made


def cosine(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Of two vectors."""
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("fidelity", ["paper", "code"])
def test_terms_are_those_of_a_plain_restatement(fidelity: Any) -> None:
    """Class by class in loops over pairs; a class without memories adds nothing, but counts."""
    real, made = memories()
    clean = vectors(4, 4)
    far, near = [], []
    for label in (0, 1, 2):
        own = [clean[i].numpy() for i in range(4) if LABELS[i] == label]
        lowest = [min(cosine(x, r.numpy()) for r in real.of(label)) for x in own if len(real.of(label))]
        highest = [max(cosine(x, p.numpy()) for p in made.of(label)) for x in own if len(made.of(label))]
        far.append(1 - (min(lowest) if fidelity == "code" else np.mean(lowest)) if lowest else 0.0)
        near.append((max(highest) if fidelity == "code" else np.mean(highest)) if highest else 0.0)
    found = minimax_tuning.terms(clean, LABELS, real, made, fidelity)
    assert float(found.representative) == pytest.approx(sum(far) / 3, abs=1e-5)
    assert float(found.diverse) == pytest.approx(sum(near) / 3, abs=1e-5)


def test_both_terms_pull_the_right_way() -> None:
    """Down the first, predictions come nearer to the real latent that is farthest; down the second, they part."""
    real, made = memories()
    clean = vectors(4, 4).requires_grad_()
    found = minimax_tuning.terms(clean, LABELS, real, made, "paper")
    for term, memory, sign in ((found.representative, real, 1), (found.diverse, made, -1)):
        (slope,) = torch.autograd.grad(term, clean, retain_graph=True)
        moved = clean.detach() - 0.05 * slope
        extreme = torch.amin if sign == 1 else torch.amax
        before = extreme(minimax_tuning.cosines(clean.detach()[:1], memory.of(0)), dim=1)
        after = extreme(minimax_tuning.cosines(moved[:1], memory.of(0)), dim=1)
        assert sign * float(after - before) > 1e-4


def test_without_memories_the_terms_are_zero() -> None:
    """At the very first step, with a gradient of zero."""
    clean = vectors(4, 4).requires_grad_()
    found = minimax_tuning.terms(clean, LABELS, Memory((0, 1, 2), 4), Memory((0, 1, 2), 4), "paper")
    sum(found, torch.zeros(())).backward()  # type: ignore[no-untyped-call]
    assert [term.item() for term in found] == [0.0, 0.0]
    assert clean.grad is not None
    assert not clean.grad.any()


def test_memories_are_first_in_first_out() -> None:
    """Each class has places of its own; the oldest go first, also where more come than there are places."""
    memory, all_of = Memory((0, 1), 3), vectors(9, 5)
    memory.push(0, all_of[:2])
    memory.push(0, all_of[2:4])
    torch.testing.assert_close(memory.of(0), all_of[1:4])
    memory.push(0, all_of[4:9])
    torch.testing.assert_close(memory.of(0), all_of[6:9])
    assert len(memory.of(1)) == 0
    again = Memory((0, 1), 3)
    again.restore(memory.state(), torch.device("cpu"))
    torch.testing.assert_close(again.of(0), all_of[6:9])


def test_what_is_remembered_has_no_past() -> None:
    """A memory neither keeps a graph alive nor changes with the tensor it was filled from."""
    memory, source = Memory((0,), 3), vectors(2, 6).requires_grad_()
    memory.push(0, source * 1.0)
    assert not memory.of(0).requires_grad
    plain = vectors(2, 7)
    memory.push(0, plain)
    plain.zero_()
    assert memory.of(0)[-2:].abs().sum() > 0


def test_biases_scales_and_the_embedding_of_classes_are_tuned() -> None:
    """DiffFit's choice, in diffusers' names: weights that modulate stand under a norm's name and are not among them."""
    network = tiny_generator(3, 8).own_copy()
    chosen = set(minimax_tuning.prepare(network))
    everything = {name for name, _ in network.named_parameters()}
    biases = {name for name in everything if name.endswith(".bias")}
    scales = {f"transformer_blocks.{i}.{layer}.gamma" for i in (0, 1) for layer in ("attn1", "ff")}
    tables = {"transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight"}
    assert chosen == biases | scales | tables
    assert "transformer_blocks.0.norm1.linear.weight" in everything - chosen
    assert {name for name, p in network.named_parameters() if p.requires_grad} == chosen


def test_norms_with_weights_are_tuned() -> None:
    """A transformer whose norms have weights of their own."""
    from diffusers import DiTTransformer2DModel

    network = DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, in_channels=3, num_layers=1, sample_size=4, patch_size=2,
        num_embeds_ada_norm=2,
    )  # fmt: skip
    network.norm_out = torch.nn.LayerNorm(8)
    assert minimax_tuning.is_trained(network, "norm_out.weight")
    assert not minimax_tuning.is_trained(network, "proj_out_1.weight")


def test_scales_start_at_one_and_scale_their_layer() -> None:
    """A fresh copy answers as before; with all scales at zero the blocks are the identity."""
    generator = tiny_generator(3, 8)
    network: Any = generator.own_copy()
    chosen = minimax_tuning.prepare(network)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    times, labels = torch.tensor([3, 700]), torch.tensor([0, 2])
    with torch.no_grad():
        before = generator.network(x, timestep=times, class_labels=labels).sample
        torch.testing.assert_close(network(x, timestep=times, class_labels=labels).sample, before)
        for name, parameter in chosen.items():
            if name.endswith("gamma"):
                parameter.zero_()
        entered: list[torch.Tensor] = []
        network.norm_out.register_forward_pre_hook(lambda _m, inputs: entered.append(inputs[0]))
        network(x, timestep=times, class_labels=labels)
    torch.testing.assert_close(entered[0], network.pos_embed(x))


def tuning(**params: Any) -> Tuning:
    """One phase of three classes of eight."""
    chosen = {"epochs": 2, "batch": 6, "memory": 8, "ema_decay": 0.5, "lr": 0.01, **params}
    work = make_work(MINIMAX, MemorySplit(3, 8, 8), params=chosen)
    (unit,) = MINIMAX.groups(work.spec, work.params)[0]
    return Tuning(work, unit)


def test_tuning_changes_what_was_chosen_and_nothing_else() -> None:
    """Two epochs of four steps; the generator itself stays as it was."""
    made = tuning()
    assert made.steps == 8
    before = {name: p.detach().clone() for name, p in made._generator.network.named_parameters()}
    made.run(8)
    after = dict(made._generator.network.named_parameters())
    changed = {name for name, p in before.items() if not torch.equal(p, after[name])}
    assert changed
    assert changed <= made.parameters.keys()
    reference = tiny_generator(3, 8).network.state_dict()
    held = made._work.generators["generator"].network.state_dict()
    assert all(torch.equal(value, reference[name]) for name, value in held.items())


def test_what_draws_is_the_average() -> None:
    """Of the chosen weights over the steps, by its decay; without one the weights themselves."""
    made, plain = tuning(), tuning(ema_decay=0.0)
    start = {name: p.detach().clone() for name, p in made.parameters.items()}
    path: list[dict[str, torch.Tensor]] = []
    for step in range(made.steps):
        made._one(step)
        path.append({name: p.detach().clone() for name, p in made.parameters.items()})
    expected = start
    for now in path:
        expected = {name: 0.5 * expected[name] + 0.5 * now[name] for name in now}
    made.tuned()
    for name, parameter in made.parameters.items():
        torch.testing.assert_close(parameter, expected[name], check_dtype=False)
    plain.run(8)
    last = {name: p.detach().clone() for name, p in plain.parameters.items()}
    plain.tuned()
    assert all(torch.equal(p, last[name]) for name, p in plain.parameters.items())


def test_a_term_that_diverges_is_named() -> None:
    """Unit, step and term; nothing is said of finite ones."""
    losses = Losses("classes 0-2", 30)
    losses.add(3, torch.tensor([0.5, 0.1, 0.2]))
    losses.look()
    assert losses.values == pytest.approx({"loss": 0.5, "representative": 0.1, "diverse": 0.2})
    losses.add(4, torch.tensor([0.5, float("nan"), 0.2]))
    with pytest.raises(StageError, match="classes 0-2: the representativeness term is nan at step 4 of 30: tuning div"):
        losses.look()


def test_a_tuning_that_diverges_stops() -> None:
    """With a learning rate far too high."""
    with pytest.raises(StageError, match=r"classes 0-2: the diffusion loss is (nan|inf) at step \d of 16"):
        tuning(lr=1e30, epochs=4).run(16)

"""Drawing images: each its own noise, drawn to its own mode for the first steps."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from made_generators import tiny_generator
from numpy.typing import NDArray

from condhpc import diffusion, generators, rng, sampling
from condhpc.errors import StageError
from condhpc.generators import Generator
from condhpc.sampling import Drawn, Making, Pull, Sampler, Wanted

GENERATOR = tiny_generator(3, 8)
WANTED = [Wanted(0, 0), Wanted(2, 0), Wanted(1, 5), Wanted(1, 0)]


def no_report(*_args: object) -> None:
    """Nothing."""


def making(pull: Pull | None = None, report: Any = no_report, **changes: Any) -> Making:
    """Six steps under guidance."""
    sampler = Sampler(**{"steps": 6, "guidance": 2.0, "batch": 4, **changes})
    return Making(GENERATOR, sampler, 8, partial(rng.stream, 0), report, pull)


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
def test_an_image_does_not_depend_on_its_batch(kind: str) -> None:
    """Alone, in pairs or all at once, in any order: the same image, up to rounding to grey levels."""
    whole = sampling.images(making(kind=kind), WANTED).astype(int)
    assert len(np.unique(whole.reshape(4, -1), axis=0)) == 4
    for batch in (1, 3):
        found = sampling.images(making(kind=kind, batch=batch), WANTED[::-1])[::-1].astype(int)
        assert np.abs(found - whole).max() <= 1


def test_a_pull_moves_the_mean_by_its_share_of_the_way_to_the_mode() -> None:
    """DDPM: λ σ (m − x̂0) is added to the step, and nothing else changes."""
    chain = diffusion.linear_chain().spread(50)
    noisy, clean, mode, noise = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(s)) for s in range(4))
    log_variance = torch.full_like(noisy, -3.0)
    free = sampling.ancestral_step(chain, 30, Drawn(noisy, clean, log_variance), noise, None)
    drawn = sampling.ancestral_step(chain, 30, Drawn(noisy, clean, log_variance), noise, 0.1 * (mode - clean))
    torch.testing.assert_close(drawn - free, 0.1 * np.exp(-1.5) * (mode - clean), rtol=1e-3, atol=1e-5)


def test_without_noise_a_pull_moves_the_clean_image_itself() -> None:
    """DDIM: the step is the one of x̂0 + λ (m − x̂0), whose distance to the mode is 1 − λ of what it was."""
    chain = diffusion.linear_chain().spread(50)
    noisy, clean, mode = (torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(s)) for s in range(3))
    pulled = sampling.implicit_step(chain, 30, Drawn(noisy, clean, noisy), 0.25 * (mode - clean))
    moved = clean + 0.25 * (mode - clean)
    torch.testing.assert_close(mode - moved, 0.75 * (mode - clean))
    torch.testing.assert_close(pulled, sampling.implicit_step(chain, 30, Drawn(noisy, moved, noisy), None))
    free = sampling.implicit_step(chain, 30, Drawn(noisy, clean, noisy), None)
    assert float((pulled - free).abs().max()) > 0.01


def modes(image: Wanted) -> NDArray[np.float32]:
    """A flat grey of its own for each class."""
    return np.full(3 * 8 * 8, (-0.8, 0.0, 0.8)[image.label], dtype=np.float32)


def test_images_come_nearer_to_their_modes() -> None:
    """All the way, by a strong pull."""
    wanted = [Wanted(label, 0) for label in range(3)]
    free = sampling.images(making(), wanted) / 127.5 - 1
    drawn = sampling.images(making(Pull(modes, 0.5, 0), kind="ddim"), wanted) / 127.5 - 1
    for i in range(3):
        target = modes(wanted[i])[0]
        assert np.abs(drawn[i] - target).mean() < 0.5 * np.abs(free[i] - target).mean()


@pytest.mark.parametrize(("stop", "pulled"), [(0, 6), (3, 3), (5, 1), (6, 0)])
def test_guidance_to_a_mode_stops(monkeypatch: pytest.MonkeyPatch, stop: int, pulled: int) -> None:
    """Steps are counted down to 1; those up to `stop` are free, and they are the last ones."""
    found: list[bool] = []
    step_back = sampling.ancestral_step

    def noting(chain: Any, step: int, seen: Any, noise: Any, pull: Any) -> torch.Tensor:
        found.append(pull is not None)
        return step_back(chain, step, seen, noise, pull)

    monkeypatch.setattr(sampling, "ancestral_step", noting)
    sampling.images(making(Pull(modes, 0.1, stop)), WANTED)
    assert found == [True] * pulled + [False] * (6 - pulled)


def test_goes_on_from_any_step() -> None:
    """What was reported at a step leads to the same bits, within a batch and between two."""
    states: list[Any] = []

    def report(step: int, total: int, state: Any) -> None:
        assert (step, total) == (len(states) + 1, 12)
        held = state()
        states.append({**held, "latents": held["latents"].clone()})

    whole = sampling.images(making(report=report, batch=3), WANTED)
    assert len(states) == 12
    for state in (states[0], states[5], states[6], states[10]):
        np.testing.assert_array_equal(sampling.images(making(batch=3), WANTED, state), whole)


def test_images_that_are_no_numbers_are_refused() -> None:
    """The message says which image, and at which step."""
    broken = tiny_generator(3, 8)
    with torch.no_grad():
        broken.network.proj_out_2.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    run = Making(broken, Sampler(steps=2, guidance=1.0), 8, partial(rng.stream, 0), no_report)
    with pytest.raises(
        StageError, match="class 2, image 0: the generator made numbers that are not finite at step 1 of 2"
    ):
        sampling.images(run, WANTED[1:])


class Knowing(Generator):
    """Answers with the mean of the noise over a handful of known images: the best there is for these."""

    known_kCSS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(9)).clamp(-1, 1)

    def predicted(
        self, noisy_nCSS: torch.Tensor, time_n: NDArray[np.int64], label_n: NDArray[np.int64]
    ) -> generators.Predicted:
        """Images 2c and 2c + 1 are those of class c; −1 knows them all."""
        found = []
        for image, time, label in zip(noisy_nCSS, time_n.tolist(), label_n.tolist(), strict=True):
            own = self.known_kCSS if label < 0 else self.known_kCSS[2 * label : 2 * label + 2]
            alpha = float(self.chain.alpha_bar_T[time])
            distance = (image - alpha**0.5 * own).square().flatten(1).sum(dim=1)
            weight = (-distance / (2 * (1 - alpha))).softmax(dim=0)[:, None, None, None]
            found.append((image - alpha**0.5 * (weight * own).sum(dim=0)) / (1 - alpha) ** 0.5)
        return generators.Predicted(torch.stack(found), None)


@pytest.mark.parametrize("kind", ["ddpm", "ddim"])
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_best_predictor_gives_known_images(kind: str, guidance: float) -> None:
    """With the exact posterior of a few images, noise ends at one of them, of the class that was asked for."""
    knowing = Knowing(GENERATOR.network, None, GENERATOR.chain, GENERATOR.labels_K)
    sampler = Sampler(steps=30, guidance=guidance, kind="ddim" if kind == "ddim" else "ddpm", batch=12)
    wanted = [Wanted(label, place) for label in range(3) for place in range(4)]
    found = sampling.images(Making(knowing, sampler, 8, partial(rng.stream, 1), no_report), wanted)
    known = ((Knowing.known_kCSS + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    distance = np.abs(found[:, None].astype(float) - known[None]).reshape(12, 6, -1).max(axis=2)
    assert (distance.min(axis=1) <= 8).all()
    assert [int(nearest) // 2 for nearest in distance.argmin(axis=1)] == [image.label for image in wanted]


def test_a_mode_decides_between_known_images() -> None:
    """Drawn to one of two images of a class, more samples end at it than without; the pull alone decides."""
    knowing = Knowing(GENERATOR.network, None, GENERATOR.chain, GENERATOR.labels_K)
    sampler, wanted = Sampler(steps=30, guidance=1.0, batch=24), [Wanted(1, place) for place in range(24)]

    def share(pull: Pull | None) -> float:
        found = sampling.images(Making(knowing, sampler, 8, partial(rng.stream, 1), no_report, pull), wanted)
        known = ((Knowing.known_kCSS[2:4] + 1) * 127.5).permute(0, 2, 3, 1).numpy()
        distance = np.abs(found[:, None].astype(float) - known[None]).reshape(24, 2, -1).mean(axis=2)
        return float((distance.argmin(axis=1) == 0).mean())

    drawn = share(Pull(lambda _image: Knowing.known_kCSS[2].numpy(), 0.3, 15))
    assert 0.2 < share(None) < 0.8
    assert drawn > 0.9

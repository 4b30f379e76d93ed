"""Layers over a split batch against torch's own over the whole one, in one process: exchange is played by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from condhpc.shared_layers import Part, SharedBatchNorm, span


class Exchange:
    """Collectives between threads: each rank gives its tensor and gets all."""

    def __init__(self, ranks: int) -> None:
        self._barrier = threading.Barrier(ranks, timeout=20)
        self._held: list[Tensor | None] = [None] * ranks

    def gather(self, rank: int, own: Tensor) -> Tensor:
        """All ranks' tensors, stacked."""
        self._held[rank] = own.detach().clone()
        self._barrier.wait()
        found = torch.stack([held for held in self._held if held is not None])
        self._barrier.wait()
        return found

    def total(self, rank: int, tensor: Tensor) -> None:
        """The sum, in place."""
        tensor.copy_(self.gather(rank, tensor).sum(dim=0))


def _on_threads(sizes: Sequence[int], work: Callable[[int, Exchange], Any]) -> list[Any]:
    """Results of each rank."""
    exchange, found = Exchange(len(sizes)), [None] * len(sizes)

    def run(rank: int) -> None:
        found[rank] = work(rank, exchange)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(sizes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def _network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 1))
        net.append(nn.BatchNorm2d(5, momentum=None))
        for parameter in (net[1].weight, net[1].bias, net[4].weight):
            nn.init.normal_(parameter)
    return net.train()


@pytest.mark.parametrize("sizes", [(5, 3), (4, 4), (1, 2, 4), (0, 3), (2,)])
@pytest.mark.parametrize("shift", [0.0, 300.0])
def test_batch_norm_over_parts_is_that_of_the_whole_batch(sizes: tuple[int, ...], shift: float) -> None:
    """Outputs, running statistics, input and parameter gradients equal torch's on the whole batch, to rounding.

    Uneven and empty parts, and a mean far from zero, where a difference of squares would cancel.
    """
    generator = torch.Generator().manual_seed(1)
    x_NCHW = torch.randn(sum(sizes), 3, 6, 6, generator=generator) + shift
    given_NCHW = torch.randn(sum(sizes), 5, 4, 4, generator=generator)
    whole, x_whole = _network(), x_NCHW.clone().requires_grad_()
    out = whole(x_whole)
    out.backward(given_NCHW)
    ends = [(sum(sizes[:r]), sum(sizes[: r + 1])) for r in range(len(sizes))]

    nets = [_network() for _ in sizes]  # not in the threads: they would seed each other

    def rank(number: int, exchange: Exchange) -> dict[str, Any]:
        net = nets[number]
        span(net, Part(), lambda t: exchange.gather(number, t), lambda t: exchange.total(number, t))
        start, stop = ends[number]
        x = x_NCHW[start:stop].clone().requires_grad_()
        y = net(x)
        y.backward(given_NCHW[start:stop])
        return {"y": y.detach(), "x": x.grad, "net": net}

    found = _on_threads(sizes, rank)
    close = {"rtol": 1e-4, "atol": 2e-5 * (1 + shift)}
    torch.testing.assert_close(torch.cat([f["y"] for f in found]), out.detach(), **close)
    torch.testing.assert_close(torch.cat([f["x"] for f in found]), x_whole.grad, **close)
    for f in found:
        for name, buffer in whole.named_buffers():
            torch.testing.assert_close(dict(f["net"].named_buffers())[name], buffer, **close)
    for name, parameter in whole.named_parameters():
        parts = [dict(f["net"].named_parameters())[name].grad for f in found]
        torch.testing.assert_close(sum(parts), parameter.grad, rtol=1e-4, atol=1e-3 * (1 + shift))


def test_names_weights_and_eval_mode_stay() -> None:
    """The very parameters and buffers under their old names, loadable both ways; eval mode asks nobody."""

    def nobody(_tensor: Tensor) -> Any:
        raise AssertionError("nothing is exchanged in eval mode")

    net, plain = _network(), _network()
    held = {name: id(p) for name, p in net.named_parameters()}
    span(net, Part(), nobody, nobody)
    assert {name: id(p) for name, p in net.named_parameters()} == held
    assert sum(isinstance(m, SharedBatchNorm) for m in net.modules()) == 2
    assert list(net.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(net.state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(net.eval()(x), plain.eval()(x))


@pytest.mark.parametrize("layer", [nn.Dropout(0.4), nn.Dropout(0.4, inplace=True), StochasticDepth(0.5, "row")])
@pytest.mark.parametrize("shape", [(7, 11), (7, 3, 2, 2)])
def test_layers_that_draw_do_so_for_the_whole_batch(layer: nn.Module, shape: tuple[int, ...]) -> None:
    """From one seed, two parts together get what one process draws for the whole batch, and later draws agree."""
    x_N = torch.arange(1.0, 1.0 + torch.Size(shape).numel()).reshape(shape)

    def drawn(part: Part | None, rows: slice) -> Tensor:
        net = nn.Sequential(layer).train()
        if part is not None:
            span(net, part, Tensor.clone, Tensor.clone)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return torch.stack([net(x_N[rows].clone()), net(x_N[rows].clone())])

    parts = [drawn(Part(0, 7), slice(0, 3)), drawn(Part(3, 7), slice(3, 7))]
    assert torch.equal(torch.cat(parts, dim=1), drawn(None, slice(0, 7)))

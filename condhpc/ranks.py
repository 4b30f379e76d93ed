"""Several processes that share one task as if they were one: who does what, and what they exchange.

Each rank takes a part of every batch; batch norm is over the whole batch, gradients are summed over the ranks, and
rank 0 decides when to stop. Shapes: n images of a rank's part of a batch, K classes.
"""

from __future__ import annotations

import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn

from condhpc import parts, shared_layers
from condhpc.errors import RankLostError
from condhpc.joining import Place

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from condhpc.context import Context
    from condhpc.feed import Batch
    from condhpc.methods.base import Reporter

TIMEOUT = timedelta(minutes=5)
"""After so long a rank that waits for the others gives its attempt up."""
_AGREE_TICKS = {"cpu": 1, "cuda": 10}
"""At every so manieth safe point the ranks agree whether to stop."""


class Alone:
    """One process that does it all: nothing to exchange, nobody to agree with."""

    place = Place()

    def __init__(self, report: Reporter | None = None) -> None:
        self._report = report

    @property
    def report(self) -> Reporter:
        """Where progress goes, and where a stop comes from."""
        assert self._report is not None
        return self._report

    def prepare(self, model: nn.Module) -> None:
        """Make layers that look at a whole batch see it."""

    def handed(self, checkpoint: Path | None) -> Path | io.BytesIO | None:
        """The checkpoint that rank 0 has found."""
        return checkpoint

    def begin(self, batch: Batch) -> None:
        """From now on layers see this batch."""

    def reduced(self, model: nn.Module, loss: Tensor) -> Tensor:
        """The loss of the whole batch from this rank's share of it; gradients become those of the whole batch."""
        del model
        return loss

    def gathered(self, part_nK: Tensor, batch: Batch) -> Tensor:
        """The rows of all ranks, in the order of the batch."""
        del batch
        return part_nK

    def collected(self, part: Any) -> list[Any]:
        """The objects of all ranks in their order, on rank 0; nothing on the others."""
        return [part]

    def told(self, number: int) -> int:
        """Rank 0's number."""
        return number


class Team(Alone):
    """One of several processes. Every method is called by all ranks, in the same order."""

    def __init__(self, context: Context) -> None:
        super().__init__(_AgreedReport(context, self))
        self.place = context.place
        self._context = context
        self._part = shared_layers.Part()
        with _talking():
            self._cpu = self._meet()

    def _meet(self) -> Any:
        """Rendezvous through a file in the attempt's folder; a group for the device, and the one for the CPU."""
        rank, ranks = self.place.rank, self.place.ranks
        path = self._context.folder.rendezvous(self._context.attempt)
        store = distributed.FileStore(str(path), ranks)  # type: ignore[attr-defined]
        store.set_timeout(TIMEOUT)
        _choose_interface(store, self.place)
        backend = "nccl" if self._context.device == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=ranks, timeout=TIMEOUT)
        return distributed.group.WORLD if backend == "gloo" else distributed.new_group(backend="gloo", timeout=TIMEOUT)

    def prepare(self, model: nn.Module) -> None:
        """Swap batch norm and layers that draw for ones that span the ranks; parameters keep their names."""
        shared_layers.span(model, self._part, self._statistics, self._sum)

    def handed(self, checkpoint: Path | None) -> Path | io.BytesIO | None:
        """Rank 0's checkpoint, byte for byte: another node may not see the file yet, or see an older one."""
        held: list[bytes | None] = [_read(checkpoint) if self.place.rank == 0 else None]
        with _talking():
            distributed.broadcast_object_list(held, src=0, group=self._cpu)
        return io.BytesIO(held[0]) if held[0] is not None else None

    def begin(self, batch: Batch) -> None:
        """Layers that draw do so for the whole batch, and use this rank's rows."""
        self._part.start, self._part.count = batch.start, len(batch.whole_positions_N)

    def reduced(self, model: nn.Module, loss: Tensor) -> Tensor:
        """One collective for the loss and all gradients; the sum is the whole batch's, as losses carry their share."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = torch.cat([*(g.reshape(-1) for g in gradients), loss.reshape(1)])
        self._sum(flat)
        for parameter, part in zip(parameters, torch.split(flat[:-1], [p.numel() for p in parameters]), strict=True):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.copy_(part.view(parameter.shape))
        return flat[-1]

    def gathered(self, part_nK: Tensor, batch: Batch) -> Tensor:
        """Parts may differ by one row: they travel at the length of the longest."""
        ends = [
            parts.part_of(len(batch.whole_positions_N), self.place._replace(rank=r)) for r in range(self.place.ranks)
        ]
        sizes = [stop - start for start, stop in ends]
        padded_nK = part_nK.new_zeros((max(sizes), *part_nK.shape[1:]))
        padded_nK[: len(part_nK)] = part_nK
        received = [torch.empty_like(padded_nK) for _ in sizes]
        with _talking():
            distributed.all_gather(received, padded_nK)
        return torch.cat([part[:size] for part, size in zip(received, sizes, strict=True)])

    def collected(self, part: Any) -> list[Any]:
        """Through the CPU, whatever computed it."""
        received: list[Any] | None = [None] * self.place.ranks if self.place.rank == 0 else None
        with _talking():
            distributed.gather_object(part, received, dst=0, group=self._cpu)
        return received or []

    def told(self, number: int) -> int:
        """Rank 0's number, on all ranks."""
        held = torch.tensor([number])
        with _talking():
            distributed.broadcast(held, src=0, group=self._cpu)
        return int(held.item())

    def agreed(self, *, asked: bool) -> bool:
        """What rank 0 was asked; the others' answers do not count."""
        flag = torch.tensor([int(asked)], dtype=torch.uint8)
        with _talking():
            distributed.broadcast(flag, src=0, group=self._cpu)
        return bool(flag.item())

    def close(self) -> None:
        """Tell rank 0 the cost of the others, and part."""
        used = self.collected(time.process_time())
        self._context.ranks_cpu_s = sum(used[1:])
        distributed.destroy_process_group()

    def _sum(self, tensor: Tensor) -> None:
        with _talking():
            distributed.all_reduce(tensor)

    def _statistics(self, own: Tensor) -> Tensor:
        """The same tensor of every rank, stacked in their order."""
        received = [torch.empty_like(own) for _ in range(self.place.ranks)]
        with _talking():
            distributed.all_gather(received, own)
        return torch.stack(received)


@contextmanager
def team(context: Context) -> Iterator[Alone]:
    """The ranks of an attempt, as one. Raises RankLostError where one is gone, or silent for TIMEOUT."""
    if context.place.ranks == 1:
        yield Alone(context)
        return
    if context.device == "cuda":
        torch.cuda.set_device(context.place.local % torch.cuda.device_count())
    members = Team(context)
    yield members
    members.close()  # not after an error: the others are elsewhere, and this process ends


class _AgreedReport:
    """A reporter that stops at a step on which all ranks agree: rank 0 was asked, and says so to all."""

    def __init__(self, context: Context, members: Team) -> None:
        self._context = context
        self._team = members
        self._every = _AGREE_TICKS[context.device]
        self._ticks = 0

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """As the context's own; a stop may wait for some steps."""
        self._ticks += 1
        if self._ticks % self._every == 0 and self._team.agreed(asked=self._context.asked.is_set()):
            self._context.stop.set()
        self._context.tick(step, total, save, **values)

    def checkpoint(self) -> Path | None:
        """As the context's own."""
        return self._context.checkpoint()


@contextmanager
def _talking() -> Iterator[None]:
    """Whatever goes wrong between ranks is a rank that is lost to this one."""
    try:
        yield
    except RuntimeError as error:  # all of torch's errors of communication
        first = str(error).partition("\n")[0]
        raise RankLostError(f"another rank is gone, or silent for {TIMEOUT.total_seconds():g} s ({first})") from error


def _choose_interface(store: Any, place: Place) -> None:
    """Where all ranks are on one host they talk through its loopback, unless the user chose an interface.

    gloo would look the host's own name up, and need not find it.
    """
    store.set(f"host{place.rank}", socket.gethostname())
    hosts = {store.get(f"host{rank}") for rank in range(place.ranks)}
    if len(hosts) == 1:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _read(path: Path | None) -> bytes | None:
    try:
        return path.read_bytes() if path is not None else None
    except OSError:
        return None

"""Several processes that train one network, as `torchrun` starts them: what each takes, and what all must add up.

Whatever their number, a step is the step of one process on the whole batch: sums of the loss, of the gradients and of batch
norm run over all of it, and random numbers belong to an example, not to the process that happens to have it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from beamsight.errors import BeamsightError

T = TypeVar("T")

# How long one process waits for the others before it gives them up: longer than the slowest validation of one of them.
PATIENCE = timedelta(minutes=20)
USAGE = 2  # the exit status of a process whose first one has said what is wrong


@contextmanager
def joined(batch: int) -> Iterator[None]:
    """Take part in the training that `torchrun` started, if it did. Raises BeamsightError where it has more processes than a
    batch has examples."""
    if not under_torchrun() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    if int(os.environ["WORLD_SIZE"]) > batch:
        with said_once():
            raise BeamsightError(f"a batch of {batch} cannot be shared by {os.environ['WORLD_SIZE']} processes; start fewer")
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    with _others():
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield
    finally:
        dist.destroy_process_group()


def under_torchrun() -> bool:
    """True where `torchrun` started this process."""
    return dist.is_torchelastic_launched()


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """True in the one process that writes and speaks for all, before, while and after they train."""
    return not under_torchrun() or os.environ["RANK"] == "0"


def mine() -> slice:
    """The rows of a whole batch that this process takes: every n-th of n processes."""
    return slice(dist.get_rank() if dist.is_initialized() else 0, None, processes())


def total(tensor: Tensor) -> Tensor:
    """`tensor` summed over all processes, in place."""
    if dist.is_initialized():
        with _others():
            dist.all_reduce(tensor)
    return tensor


def totals(*values: float) -> list[float]:
    """Each number summed over all processes."""
    return list(values) if not dist.is_initialized() else total(torch.tensor(values, dtype=torch.float64)).tolist()


def gathered(value: T) -> list[T]:
    """The value of every process."""
    if not dist.is_initialized():
        return [value]
    every: list[Any] = [None] * processes()
    with _others():
        dist.all_gather_object(every, value)
    return every


@contextmanager
def said_once() -> Iterator[None]:
    """What goes wrong in every process alike is said by the first; the others end without a word."""
    try:
        yield
    except BeamsightError:
        if is_first():
            raise
        raise SystemExit(USAGE) from None


def from_first(work: Callable[[], T]) -> T:
    """What `work()` gives in the first process, in all of them. Where it fails there, the others end without a word."""
    if not dist.is_initialized():
        return work()
    told: list[Any] = [False, None]
    try:
        if is_first():
            told = [True, work()]
    finally:
        with _others():
            dist.broadcast_object_list(told, 0)
    if not told[0]:
        raise SystemExit(USAGE)
    return told[1]  # type: ignore[no-any-return]


def add_gradients(network: nn.Module) -> None:
    """Sum the gradients over all processes, in one message: small networks wait for messages, not for their size."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    whole = total(torch.cat([g.flatten() for g in gradients]))
    for gradient, part in zip(gradients, whole.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def act_as_one(network: nn.Module, batch: int) -> None:
    """Have the layers of `network` that know of other examples, or of chance, act as on the whole `batch`."""
    if not dist.is_initialized():
        return
    if next(network.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
    # The class alone is changed, so that weights, their names and what the optimizer knows of them stay.
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.__class__ = SharedDropout
            cast("SharedDropout", module).batch = batch
        elif isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
            module.__class__ = SharedNorm


class SharedDropout(nn.Dropout):
    """Dropout of rows [B ...] that are one process's share: the very zeros that a single process would draw for them."""

    batch: int

    def forward(self, x: Tensor) -> Tensor:
        """[B ...] to the same shape."""
        if not self.training:
            return x
        return x * F.dropout(x.new_ones(self.batch, *x.shape[1:]), self.p)[mine()]


class SharedNorm(_BatchNorm):
    """Batch norm by the mean and variance over the examples of all processes; torch has that for GPUs only."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions [N C ...]."""

    def forward(self, x: Tensor) -> Tensor:
        """[N C ...] to the same shape."""
        if not self.training:
            return super().forward(x)
        y: Tensor
        y, *seen = _Normalised.apply(x, self.weight, self.bias, self.eps)  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for running, now in zip((self.running_mean, self.running_var), seen, strict=True):
                cast(Tensor, running).lerp_(now, cast(float, self.momentum))
            cast(Tensor, self.num_batches_tracked).add_(1)
        return y


class _Normalised(torch.autograd.Function):
    """x [N C ...] brought to mean 0 and variance 1 over all processes, times weight, plus bias; and that mean and variance [C].

    With n values a channel and x' = (x - mean) / deviation, the gradient is weight / deviation (dy - <dy> - x' <dy x'>), both
    means over all processes. Torch's own step of one process gives it with its own means; what these differ by is added.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = (v.double() for v in torch.batch_norm_update_stats(x, None, None, 0.0))
        here = x.numel() // x.shape[1]
        # In float64, as a variance may be the small difference of two squares.
        sums = total(torch.cat([mean * here, (variance + mean * mean) * here, mean.new_tensor([here])]))
        n = sums[-1]
        mean, square = (sums[:-1] / n).chunk(2)
        variance = (square - mean * mean).clamp(min=0)
        ctx.eps, ctx.here = eps, here
        ctx.save_for_backward(x, weight, mean.to(weight), variance.to(weight), n.to(weight))
        y = F.batch_norm(x, mean.to(weight), variance.to(weight), weight, bias, False, 0.0, eps)
        seen = mean.to(weight), (variance * n / (n - 1)).to(weight)
        ctx.mark_non_differentiable(*seen)
        return y, *seen

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance, n = ctx.saved_tensors
        scale = (variance + ctx.eps).rsqrt()
        dx, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            dy, x, weight, None, None, mean, scale, True, ctx.eps, [True, True, True]
        )
        sums = torch.cat([by_weight, by_bias])
        apart = (sums / ctx.here - total(sums.clone()) / n).view(2, -1) * weight * scale
        dx += F.batch_norm(x, mean, variance, apart[0], apart[1], False, 0.0, ctx.eps)
        return dx, by_weight, by_bias, None


@contextmanager
def _others() -> Iterator[None]:
    """Talk to the other processes; one that is gone becomes one line."""
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        raise BeamsightError(
            f"another process of this training ended or cannot be reached ({str(error).splitlines()[0]}); "
            "what it said tells why, and the same command goes on from the last checkpoint"
        ) from None

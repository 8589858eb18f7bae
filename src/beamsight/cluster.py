"""Work spread over processes and machines with Dask: who does it, and its results in order.

Whatever is done here is a pure function of its item, so that a piece lost with its worker is simply done again.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import logging
import shutil
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any, TypeVar

from beamsight.errors import BeamsightError, LostWorkers

Item = TypeVar("Item")
Result = TypeVar("Result")

CONNECT_S = 10.0
# With no worker for as long, nothing will come any more; a local one that died is back within seconds.
NO_WORKER_S = 60.0
_LOOK_S = 2.0
# Queues that hand out machines: the class of dask-jobqueue, and the command that hands in a job.
QUEUES = {"slurm": ("SLURMCluster", "sbatch"), "pbs": ("PBSCluster", "qsub"), "lsf": ("LSFCluster", "bsub")}
INSTALL = "pip install 'beamsight[cluster]'"
KEPT = "what is finished is kept, the same command goes on from there"


@contextmanager
def connected(workers: int | None = None, address: str | None = None) -> Iterator[Any]:
    """A Dask client: of `workers` processes of this machine, one thread each, or of the cluster at `address`.

    `address`: `tcp://host:port` or `tls://host:port` of a scheduler that runs, or `slurm`, `pbs` or `lsf` for `workers` jobs of
    the size that the user's dask-jobqueue configuration says. Raises BeamsightError where Dask is not installed, the scheduler
    cannot be reached or the queue cannot be used.
    """
    _check(workers, address)
    with ExitStack() as stack:
        if address is None:
            yield _local(int(workers or 1), stack)
        elif address in QUEUES:
            yield _jobs(address, int(workers or 1), stack)
        else:
            yield stack.enter_context(_client(address))


def _check(workers: int | None, address: str | None) -> None:
    if workers is None and (address is None or address in QUEUES):
        raise BeamsightError(f"{address or 'a cluster'}: how many workers? Say it with --workers N")
    if workers is not None and workers < 1:
        raise BeamsightError(f"{workers} workers can do nothing; give --workers 1 or more")
    if address is not None and address not in QUEUES and not address.startswith(("tcp://", "tls://")):
        raise BeamsightError(f"cluster {address!r} is not known; write tcp://HOST:PORT of a Dask scheduler, or {_listed()}")
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise BeamsightError(f"a cluster needs Dask, which is not installed: {INSTALL}") from None
    _silence()


def _silence() -> None:
    """Dask's own account of lost connections and restarts helps nobody who is told the outcome."""
    for name in logging.root.manager.loggerDict:
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _listed() -> str:
    *first, last = QUEUES
    return f"{', '.join(first)} or {last}"


def _local(workers: int, stack: ExitStack) -> Any:
    from distributed import Client, LocalCluster
    from distributed.system import MEMORY_LIMIT

    with _deaf_to_interrupt():
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            memory_limit=MEMORY_LIMIT // workers,
            silence_logs=logging.CRITICAL,
        )
    return stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))


@contextmanager
def _deaf_to_interrupt() -> Iterator[None]:
    """Threads and processes started here never hear Ctrl-C, which reaches the whole group: the client ends them in good order."""
    # Python starts this process with the first of them, and lets SIGINT through again when it did.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _client(address: str) -> Any:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        # What is raised depends on the protocol: no answer, no such host, a certificate that is missing.
        told = " ".join(str(error).split()) or type(error).__name__
        raise BeamsightError(f"{address}: no scheduler can be reached ({told}); start one with `dask scheduler`") from None


def _jobs(kind: str, jobs: int, stack: ExitStack) -> Any:
    name, command = QUEUES[kind]
    if shutil.which(command) is None:
        raise BeamsightError(f"{kind}: there is no {command} here; run it where jobs are handed in, or give tcp://HOST:PORT")
    try:
        import dask_jobqueue
    except ImportError:
        raise BeamsightError(f"{kind} needs dask-jobqueue, which is not installed: {INSTALL}") from None
    from distributed import Client

    try:
        cluster = stack.enter_context(getattr(dask_jobqueue, name)(silence_logs="critical"))
        cluster.scale(jobs=jobs)
    except Exception as error:
        told, where = " ".join(str(error).split()), f"set jobqueue.{kind} in ~/.config/dask"
        raise BeamsightError(f"{kind}: no job can be made ({told}); {where}") from None
    client = stack.enter_context(Client(cluster, set_as_default=False))
    # A queue may take hours; only a cluster that had workers and lost them is given up.
    logging.getLogger("beamsight").info("%d jobs are handed in, waiting for the first to start", jobs)
    client.wait_for_workers(1)
    return client


def in_order(
    client: Any, function: Callable[[Item], Result], items: Iterable[Item], ahead: int, urgent: bool = False
) -> Iterator[Result]:
    """`function` of each item, done by the workers of `client`; results in the order of `items`, at most `ahead` on their way.

    A piece whose worker dies is done again by another; `urgent` ones go before others that wait. Raises what `function`
    raises, and LostWorkers where a piece kills every worker that takes it, no worker is left for NO_WORKER_S, or the scheduler
    is gone.
    """
    waiting: deque[Any] = deque()
    coming = iter(items)
    try:
        for item in coming:
            # Each call is its own: two equal items are two pieces.
            waiting.append(client.submit(function, item, pure=False, priority=int(urgent)))
            if len(waiting) >= ahead:
                yield _result(client, waiting.popleft())
        while waiting:
            yield _result(client, waiting.popleft())
    finally:
        with suppress(Exception):
            client.cancel(list(waiting), force=True)


def _result(client: Any, future: Any) -> Any:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    _wait(client, future)
    try:
        return future.result()
    except KilledWorker as error:
        deaths = error.allowed_failures + 1
        raise LostWorkers(f"{deaths} workers died at the same piece of work, and it is given up; {KEPT}") from None
    except FutureCancelledError:
        raise LostWorkers(f"the scheduler of the cluster went away; {KEPT}") from None
    except ModuleNotFoundError as error:
        if error.name is None:
            raise
        raise BeamsightError(f"the workers lack {error.name}; install the same beamsight there as here") from None


def _wait(client: Any, future: Any) -> None:
    """Wait until the future is done, however it ended. Raises LostWorkers where nobody is left who could do it."""
    last_seen = time.monotonic()
    while not future.done():
        with suppress(Exception):
            future.exception(timeout=_LOOK_S)
        if future.done() or _workers(client):
            last_seen = time.monotonic()
        elif time.monotonic() - last_seen > NO_WORKER_S:
            raise LostWorkers(f"the cluster has had no worker for {NO_WORKER_S:.0f} s; start some; {KEPT}")


def _workers(client: Any) -> int:
    """How many workers there are; 0 where the scheduler does not answer."""
    try:
        return len(client.scheduler_info()["workers"])
    except Exception:
        # The connection ends in many ways, and all mean that nobody is seen.
        return 0

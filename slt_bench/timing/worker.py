"""Fresh processes, quickly: a clean server that has torch imported and forks one for each job.

The server never computes and never touches CUDA, so that a forked process is like a new one,
without the seconds that importing torch takes. It knows the processor time of every job that has
ended: the noise gate takes it off what others used.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

from slt_bench.processes import death, die_with_parent

_PRELOAD = ("slt_bench.timing.jobs", "torch._dynamo", "torch.utils.benchmark")
#: ``torch.utils.benchmark`` of torch 2.11 asks whether there is a GPU when it is imported. By
#: default torch asks CUDA, and what is forked afterwards can use no GPU; with this it asks the
#: driver's management library.
ENVIRONMENT = {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}


class Worker:
    """Runs ``job(*arguments) -> document`` in a fresh process; use it as a context manager."""

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_serve, args=(other,))
        self.process.start()
        other.close()
        try:
            self.used = float(self.connection.recv())
        except BaseException:  # an interrupt: the server ends once nobody can ask it any more
            self.connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.connection.close()  # the server ends, and with it a job that still runs
        self.process.join()

    def run(self, job: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        """The job's document; ``{"status": "crashed", "message"}`` where its process died."""
        self.connection.send((job, arguments))
        result, self.used = self.connection.recv()
        return dict(result)

    @property
    def own_seconds(self) -> float:
        """Processor seconds that this process, the server and all ended jobs have used."""
        return self.used + _processor_seconds(resource.RUSAGE_SELF)


def _processor_seconds(*who: int) -> float:
    usages = [resource.getrusage(one) for one in who]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _serve(connection: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(ENVIRONMENT)
    for name in _PRELOAD:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # what is imported is no garbage: a job that collects skips it
    context = multiprocessing.get_context("fork")
    own = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    connection.send(_processor_seconds(*own))
    while True:
        try:
            job, arguments = connection.recv()
        except (EOFError, OSError):
            return
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(job, arguments, sender), daemon=True)
        child.start()
        sender.close()
        wait([receiver, connection])
        if not receiver.poll():  # nobody waits for the result any more
            child.kill()
            return
        try:
            result = receiver.recv()
        except EOFError:
            child.join()
            result = {"status": "crashed", "message": death(child.exitcode)}
        child.join()
        receiver.close()
        connection.send((result, _processor_seconds(*own)))


def _work(job: Callable[..., dict[str, Any]], arguments: Any, sender: Connection) -> None:
    die_with_parent()
    sender.send(job(*arguments))
    sender.close()

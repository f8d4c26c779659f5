"""Several processes at one run, as torchrun starts them: how they meet, agree on something, and end when one of them does."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.pytorch.strategies import DDPStrategy

from asr.errors import AsrError, UsageError
from asr.system import write_text

log = logging.getLogger("asr")

Found = TypeVar("Found")

TIMEOUT_S = 1800.0
"""How long a process waits for another before the run ends; ``ASR_PROCESS_TIMEOUT`` in seconds takes its place."""
MARK = ".torchrun"
GO_ON = "the same command with --resume goes on from the last checkpoint"
BY_ITSELF = " (torchrun --max-restarts N does so by itself)"


def place() -> tuple[int, int]:
    """The number of this process, and how many there are: (0, 1) alone."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def first() -> bool:
    """Whether this is the process that writes the files of the run."""
    return place()[0] == 0


def speaks() -> bool:
    """Whether this process is the one that speaks for all: `first`, also before they have met and after they have parted."""
    return os.environ.get("RANK", "0") == "0"


def restarted(exp: Path) -> bool:
    """Whether torchrun has started this job before (``--max-restarts``), and that start has left its `begun` in the folder: this
    one then goes on from where the other was. One that was refused takes up nothing by being started again."""
    mark = exp / MARK
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        mark.unlink(missing_ok=True)  # of an earlier job, which may have had the same name
        return False
    return mark.exists() and mark.read_text(encoding="utf-8") == os.environ.get("TORCHELASTIC_RUN_ID")


def begun(exp: Path) -> None:
    """Leave word in the folder that this job of torchrun's is at work there, for `restarted`."""
    if dist.is_torchelastic_launched():
        write_text(exp / MARK, os.environ["TORCHELASTIC_RUN_ID"])


@contextlib.contextmanager
def together(device: torch.device) -> Iterator[torch.device]:
    """Meet the other processes that torchrun started, if it did; yields the device of this one. gloo on the CPU, nccl on CUDA.

    Raises UsageError for more processes than devices, and AsrError when another process is lost or does not answer in time.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or not dist.is_torchelastic_launched():
        yield device
        return
    local, backend = int(os.environ["LOCAL_RANK"]), "gloo"
    if device.type == "cuda":
        if int(os.environ["LOCAL_WORLD_SIZE"]) > torch.cuda.device_count():
            raise UsageError(f"{os.environ['LOCAL_WORLD_SIZE']} processes here, but {torch.cuda.device_count()} CUDA devices: "
                             "start as many with --nproc-per-node, or take --device cpu")
        device, backend = torch.device("cuda", local), "nccl"
        torch.cuda.set_device(device)
    seconds = _timeout()
    try:
        store, rank, count = next(dist.rendezvous("env://", timeout=timedelta(seconds=seconds)))
        dist.init_process_group(backend, store=dist.PrefixStore(_meet(store, rank, count, seconds), store), rank=rank,
                                world_size=count, timeout=timedelta(seconds=seconds))
        yield device
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        number, count = os.environ["RANK"], os.environ["WORLD_SIZE"]
        raise AsrError(f"process {number} of {count} lost another one, or waited {seconds:g} s for it "
                       f"({str(error).splitlines()[0]}); {GO_ON}{BY_ITSELF}") from None
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _timeout() -> float:
    given = os.environ.get("ASR_PROCESS_TIMEOUT", str(TIMEOUT_S))
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"ASR_PROCESS_TIMEOUT={given}: give seconds, a number above 0")
    return seconds


def _meet(store: dist.Store, rank: int, count: int, seconds: float) -> str:
    """A word that the processes of this start have in common, and no earlier start had.

    torchrun's store outlives a start (in torch 2.11): under the old names processes would find the addresses of those that were
    lost. So each says hello with a word of its own, and goes on when the first answers to that.
    """
    word, deadline = uuid.uuid4().hex, time.monotonic() + seconds
    if rank:
        store.set(f"asr/hello/{rank}", word)
        common = store.get(f"asr/welcome/{word}").decode()  # waits for it
        store.set(f"asr/here/{common}/{rank}", "")
        return common
    for other in range(1, count):
        while not store.check([f"asr/here/{word}/{other}"]):
            store.set("asr/welcome/" + store.get(f"asr/hello/{other}").decode(), word)
            time.sleep(0.02)
            if time.monotonic() > deadline:
                raise dist.DistStoreError(f"process {other} did not come")
    return word


def agreed(work: Callable[[], Found]) -> Found:
    """What ``work`` returns in the first process, in all of them. Its error ends all: the first raises it, the others exit."""
    if place()[1] == 1:
        return work()
    answer: list[Any] = [None, None]
    if first():
        try:
            answer[0] = work()
        except BaseException:
            answer[1] = 1
            dist.broadcast_object_list(answer)
            raise
    dist.broadcast_object_list(answer)
    if answer[1] is not None:
        raise SystemExit(answer[1])
    return answer[0]


def gathered(mine: Found) -> list[Found]:
    """What each process gives, in their order, in all of them."""
    _, count = place()
    if count == 1:
        return [mine]
    found: list[Any] = [None] * count
    dist.all_gather_object(found, mine)
    return found


def summed(*values: float, device: torch.device) -> list[float]:
    """Numbers added up over the processes, in float64; alone, as they are."""
    if place()[1] == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


class Processes(DDPStrategy):
    """Lightning's DDP over processes that are there already, with the sums of gradients in one order every time.

    ``find_unused_parameters`` keeps DDP from cutting its buckets anew after the first step of a start: with them the order of a
    sum over three processes or more would depend on where a run was resumed. Buffers are equal without being sent around.
    """

    def __init__(self) -> None:
        super().__init__(cluster_environment=TorchElasticEnvironment(), find_unused_parameters=True, broadcast_buffers=False)

    def on_train_start(self) -> None:
        super().on_train_start()
        # What torchrun sends to those that are left when one is lost. Lightning has put a handler of its own before ours, which
        # would ask the lost one first.
        signal.signal(signal.SIGTERM, _end)

    def validation_step(self, *given: Any, **more: Any) -> Any:
        return super().validation_step(*given, **more) if given[0].counts else None


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Within it SIGTERM ends the process at once: a checkpoint is whole at any time, so nothing is lost by that, whatever the
    process waits for. Of that, and of a KeyboardInterrupt on its way out, a line says how to go on."""
    if threading.current_thread() is not threading.main_thread():  # signals go to no other one
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except KeyboardInterrupt:
        log.warning("interrupted; %s", GO_ON)
        raise
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _end(*_: Any) -> None:
    number, count = place()
    which, by_itself = (f"process {number} of {count} was ", BY_ITSELF) if count > 1 else ("", "")
    os.write(2, f"asr: {which}told to stop; {GO_ON}{by_itself}\n".encode())
    os._exit(128 + signal.SIGTERM)


def trainer_options(*plugins: Any) -> dict[str, Any]:
    """What Lightning's Trainer must be told of the processes; with these plugins of others."""
    if place()[1] == 1:
        # Said outright: in a job of Slurm's Lightning would take that for what starts its processes, refuse a job of several
        # tasks, and go on from checkpoints of its own.
        return {"devices": 1, "plugins": [LightningEnvironment(), *plugins]}
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    return {"devices": here, "num_nodes": place()[1] // here, "strategy": Processes(), "plugins": [*plugins]}

"""The same work on a Ray cluster: each worker is a process that holds the model and transcribes batches.

Batches, and how one is read and transcribed, are those of a local run, so the results are too. A worker that is lost costs its
batch, which another does again. The files must be where every worker can read them: results come back, audio does not go out.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr.errors import AsrError, UsageError
from asr.transcription.pipeline import Batch
from asr.transcription.result import Result
from asr.transcription.sources import Item

if TYPE_CHECKING:
    from asr.transcription.decoder import DecoderOptions
    from asr.transcription.recognizer import Recognizer

ATTEMPTS = 3  # a batch that has cost so many workers is given up
LOOK_S = 1.0


@dataclass(frozen=True)
class Load:
    """How a worker loads its recogniser, and which it must be."""

    model: str
    fingerprint: str
    device: str
    options: DecoderOptions
    bf16: bool
    int8: bool
    timed: bool

    @classmethod
    def of(cls, recognizer: Recognizer, device: str = "auto", bf16: bool = False) -> Load:
        """As this recogniser was loaded, on ``device``: ``auto`` is CUDA where the cluster has it."""
        options = recognizer.decoder.options
        files = {name: os.path.abspath(value) for name in ("lm", "lexicon", "hotwords")
                 if isinstance(value := getattr(options, name), (str, Path))}
        return cls(os.path.abspath(recognizer.model.path), recognizer.model.fingerprint, device, replace(options, **files), bf16,
                   recognizer.model.int8, recognizer.timed)

    def __call__(self) -> Recognizer:
        from asr.transcription.recognizer import Recognizer

        recognizer = Recognizer.load(self.model, self.device, self.options, self.bf16, self.int8)
        if recognizer.model.fingerprint != self.fingerprint:
            raise AsrError(f"{self.model}: is another file on this worker than where the job was started")
        return recognizer if self.timed else recognizer.without_times()


class Worker:
    """A process of the cluster, with one thread for the network, in the folder that relative paths are meant from."""

    def __init__(self, load: Load, folder: str) -> None:
        import torch

        with contextlib.suppress(OSError):  # where it is not to be had, relative paths fail by name
            os.chdir(folder)
        torch.set_num_threads(1)
        self.recognizer = load()

    def ready(self) -> None:
        """Answered once the model is loaded."""

    def transcribe(self, items: Sequence[Item]) -> list[Result | str]:
        """See `asr.transcription.pipeline.transcribe_batch`."""
        from asr.transcription.pipeline import transcribe_batch

        return transcribe_batch(self.recognizer, items)


class Cluster:
    """An executor on Ray. ``address``: of a cluster (``auto`` or host:port), or ``local`` for workers on this machine.

    ``workers``: how many, 0 for as many as the cluster has cores (or, for CUDA, devices). Raises UsageError where Ray is not
    installed, AsrError where the cluster cannot be reached.
    """

    def __init__(self, address: str, load: Load, workers: int = 0) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError("--ray: Ray is not installed; pip install 'asr-crnn[cluster]'") from None
        self.ray = ray
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR",
                                   "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}}}
        if address == "local":
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            # Workers must find this package where it is not installed, but run from its folder.
            root = str(Path(__file__).resolve().parents[2])
            options["runtime_env"]["env_vars"]["PYTHONPATH"] = os.pathsep.join(
                filter(None, [root, os.environ.get("PYTHONPATH", "")]))
            options |= {"include_dashboard": False, **({"num_cpus": workers} if workers else {})}
        try:
            ray.init(address=address, **options)
        except Exception as error:
            raise AsrError(f"--ray {address}: cannot reach the cluster: {error}") from None
        resources = ray.cluster_resources()
        on_cpu = load.device == "cpu" or load.int8 or (load.device == "auto" and not resources.get("GPU"))
        self.kind = "CPU" if on_cpu else "GPU"
        self.load = replace(load, device="cpu" if self.kind == "CPU" else "cuda")
        self.workers = workers or int(resources.get(self.kind, 0))
        if not resources.get(self.kind):
            raise UsageError(f"--ray {address}: the cluster has no {self.kind} to work on")

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.shutdown()

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Result | str]]]:
        """See `asr.transcription.pipeline.Executor`."""
        ray = self.ray
        source = iter(batches)
        waiting: list[tuple[Batch, int]] = []  # for a worker: the cluster may have no room for as many as were asked for
        running: dict[Any, tuple[Any, Batch, int]] = {}
        starting: dict[Any, Any] = {}
        idle: list[Any] = []
        lost = 0  # workers in a row that came to nothing
        try:
            while True:
                while len(running) + len(waiting) < self.workers and (batch := next(source, None)) is not None:
                    waiting.append((batch, 1))
                while waiting and idle:
                    worker, (batch, attempt) = idle.pop(), waiting.pop()
                    running[worker.transcribe.remote(batch.items)] = worker, batch, attempt
                while len(starting) < len(waiting):
                    worker = self._start()
                    starting[worker.ready.remote()] = worker
                if not running and not waiting:
                    return
                for done in ray.wait([*running, *starting], num_returns=1, timeout=LOOK_S)[0]:
                    if done in starting:
                        worker = starting.pop(done)
                        try:
                            ray.get(done)
                        except ray.exceptions.RayError as error:
                            lost += 1
                            if getattr(error, "actor_init_failed", False):
                                raise AsrError(f"--ray: a worker cannot load the model: {_last_line(error)}") from None
                            if lost == ATTEMPTS:
                                raise AsrError(f"--ray: {lost} workers in a row were lost while they loaded the model "
                                               f"({type(error).__name__}); give fewer --jobs if memory is short, or look at the "
                                               "logs of the cluster") from None
                        else:
                            lost = 0
                            idle.append(worker)
                        continue
                    worker, batch, attempt = running.pop(done)
                    try:
                        outcomes = ray.get(done)
                    except ray.exceptions.RayTaskError as error:
                        raise AsrError(f"--ray: a worker failed: {error.cause or error}") from None
                    except ray.exceptions.RayError as error:  # the process, or its machine, is gone, and idle ones perhaps too
                        while idle:
                            ray.kill(idle.pop())
                        if attempt < ATTEMPTS:
                            waiting.append((batch, attempt + 1))
                            continue
                        outcomes = [f"{item.shown}: cannot transcribe: {ATTEMPTS} workers were lost over it "
                                    f"({type(error).__name__})" for item in batch.items]
                    else:
                        idle.append(worker)
                    yield batch, outcomes
        finally:
            for worker in [*idle, *starting.values(), *(worker for worker, _, _ in running.values())]:
                ray.kill(worker)

    def _start(self) -> Any:
        return self.ray.remote(num_cpus=1, num_gpus=int(self.kind == "GPU"))(Worker).remote(self.load, os.getcwd())


def _last_line(error: Exception) -> str:
    """The cause, without the worker's traceback."""
    return str(error).strip().splitlines()[-1]

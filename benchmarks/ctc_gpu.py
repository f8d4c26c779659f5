"""CTC on the GPU: is it right, does it repeat to the bit, what memory does it take, how fast is it beside torch and cuDNN.

    python benchmarks/ctc_gpu.py                       # everything; a machine with CUDA, some minutes
    python benchmarks/ctc_gpu.py --parts loss          # one operation
    python benchmarks/ctc_gpu.py --interpreted         # no GPU: errors against float64 in Triton's interpreter, some minutes

Every part first compares answers and ends with exit status 1 where they differ; only then does it measure. Times are medians
by CUDA events, one call after another on inputs that rotate through more memory than the cache holds; all columns of a row
come from the same run. Which of torch's two implementations ran is read from the profiler. Without a GPU the exit status is 2.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys

PARTS = ["loss", "align", "greedy", "beam"]

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS, help="a file ctc_gpu_PART.py each")
parser.add_argument("--rounds", type=int, default=50, help="timed calls of each")
parser.add_argument("--interpreted", action="store_true", help="the errors alone, without a GPU")
parser.add_argument("--tiny", action="store_true", help="a few small shapes and no times: what compute-sanitizer is given")


def main() -> None:
    options = parser.parse_args()
    if options.interpreted:
        os.environ["TRITON_INTERPRET"] = "1"  # before triton is imported
    import torch

    if not options.interpreted and not torch.cuda.is_available():
        print("ctc_gpu: there is no CUDA device here; --interpreted checks errors without one", file=sys.stderr)
        sys.exit(2)
    parts = {name: importlib.import_module(f"ctc_gpu_{name}") for name in options.parts}
    if options.interpreted:
        for part in parts.values():
            part.interpreted()
        return
    properties = torch.cuda.get_device_properties(0)
    print(f"{properties.name}, {properties.total_memory / 2 ** 30:.0f} GiB, torch {torch.__version__}, CUDA {torch.version.cuda}, "
          f"cuDNN {torch.backends.cudnn.version()}")
    if options.tiny:
        for part in parts.values():
            part.tiny()
        torch.cuda.synchronize()
        return
    for part in parts.values():
        part.correct()
    sanitize(options.parts)
    for part in parts.values():
        part.measure(options.rounds)


def sanitize(parts: list[str]) -> None:
    """The small shapes again under compute-sanitizer: no illegal access, no race in shared memory."""
    program = shutil.which("compute-sanitizer")
    if program is None:
        print("compute-sanitizer: not installed, nothing was checked")
        return
    for tool in ("memcheck", "racecheck"):
        command = [program, "--tool", tool, "--error-exitcode", "9", sys.executable, __file__, "--tiny", "--parts", *parts]
        done = subprocess.run(command, capture_output=True, text=True, check=False,
                              env=os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"})  # else torch's pool hides a wrong access
        print(f"compute-sanitizer {tool}: {(done.stdout + done.stderr).strip().splitlines()[-1]}")
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")


if __name__ == "__main__":
    main()

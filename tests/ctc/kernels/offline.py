"""Compile every kernel that a launcher would launch, without a GPU, and say what became of it.

A module of launches (`launches_<op>.py`) has a function ``launches()`` that yields ``(case, call)``: ``call()`` runs the
op's launcher on CPU tensors of some shape; ``ALSO_SM80``, where it has one, names the cases that are compiled for the second
architecture as well (otherwise all are). Here every launch is compiled for the asked architectures with Triton's own
ptxas in place of being run, with just the argument types, hints and options that the launcher gave it, and the machine
code is counted. So what is checked is what runs.

    python tests/ctc/kernels/offline.py launches_ctc_loss        # the report as JSON, for people and for conftest.py

Must run in a process of its own: under TRITON_INTERPRET kernels are not compiled, and no driver may be active.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget

ARCHITECTURES = (90, 80)
ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Compiled:
    """One kernel as compiled for one launch; counts are of SASS instructions, without their predicates."""

    case: str
    kernel: str
    arch: int
    warps: int
    registers: int
    """Of a thread."""
    stack: int
    local: int
    """Bytes of a thread spilled to memory."""
    shared: int
    """Bytes of a program."""
    opcodes: dict[str, int]
    """Whole opcodes as in `LDG.E.128` -> how often in the kernel."""
    loops: list[dict[str, int]]
    """The opcodes of each loop, outer loops with what is in them, in the order of their ends."""

    def count(self, opcode: str, within: dict[str, int] | None = None) -> int:
        """Instructions whose opcode begins so (`BAR`, `MUFU.EX2`), in the kernel or in one of its loops."""
        return sum(number for name, number in (self.opcodes if within is None else within).items() if name.startswith(opcode))

    def hot_loop(self, opcode: str = "MUFU.EX2") -> dict[str, int]:
        """The loop with most of an opcode."""
        return max(self.loops, key=lambda loop: self.count(opcode, loop))


class OfflineDriver:
    """Stands where Triton asks which GPU there is; the number of the device is its architecture."""

    def __init__(self, arch: int):
        self.arch = arch

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.arch, 32)

    def get_current_device(self) -> int:
        return self.arch

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_all(module: str, arch: int) -> Iterator[Compiled]:
    """What ``module.launches()`` launches, compiled for the architecture; what several launches share, once."""
    triton.runtime.driver.set_active(OfflineDriver(arch))
    run, made, seen = triton.JITFunction.run, [], set()
    triton.JITFunction.run = lambda self, *args, **kwargs: made.append(run(self, *args, **kwargs | {"warmup": True}))
    try:
        launches = importlib.import_module(module)
        for case, call in launches.launches():
            if arch == 80 and case not in getattr(launches, "ALSO_SM80", [case]):
                continue
            made.clear()
            call()
            for kernel in made:
                if kernel.hash not in seen:
                    seen.add(kernel.hash)
                    yield inspect(case, arch, kernel)
    finally:
        triton.JITFunction.run = run


def inspect(case: str, arch: int, kernel: Any) -> Compiled:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(kernel.asm["cubin"])
        usage = tool("cuobjdump", "--dump-resource-usage", path)
        code = tool("nvdisasm", "-c", path)
    used = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL|SHARED):(\d+)", usage)}
    opcodes, loops = count(code)
    return Compiled(case, kernel.name, arch, kernel.metadata.num_warps, used["REG"], used["STACK"], used["LOCAL"],
                    kernel.metadata.shared, opcodes, loops)


def count(code: str) -> tuple[dict[str, int], list[dict[str, int]]]:
    """The opcodes of nvdisasm's text, and of each loop in it: from a label to a branch back to it."""
    labels: dict[str, int] = {}
    opcodes: list[str] = []
    loops = []
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L\w+):", line):
            labels[label[1]] = len(opcodes)
        elif instruction := re.match(r"\s*(?:/\*[0-9a-f]{4,}\*/)?\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.a-z]*)\b(.*?);", line):
            opcodes.append(instruction[1])
            target = re.search(r"`\((\.L\w+)\)", instruction[2])
            if instruction[1].startswith("BRA") and target and target[1] in labels and labels[target[1]] < len(opcodes) - 1:
                loops.append(dict(Counter(opcodes[labels[target[1]]:])))
    return dict(Counter(opcodes)), loops


def tool(name: str, *arguments: str | Path) -> str:
    """What one of the programs that come with Triton prints."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def fingerprint(module: str) -> str:
    """Of all that the report depends on."""
    sources = [Path(__file__), Path(__file__).with_name(f"{module}.py"), ROOT / "asr/ctc/loss.py",
               *sorted((ROOT / "asr/ctc/kernels").rglob("*.py"))]
    return hashlib.sha256(b"".join([path.read_bytes() for path in sources] + [triton.__version__.encode()])).hexdigest()


def report(module: str) -> list[dict[str, Any]]:
    """Run this file in a process of its own and read what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, __file__, module]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
    if done.returncode:
        raise RuntimeError(f"{module}: compiling failed\n{done.stderr}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    print(json.dumps([asdict(one) for arch in ARCHITECTURES for one in compile_all(sys.argv[1], arch)]))

"""What tests of kernels share: poisoned scratch memory, and kernels compiled without a GPU."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

collect_ignore_glob = [] if find_spec("triton") else ["test_*.py"]  # Triton comes with torch on Linux alone


@pytest.fixture(autouse=True)
def poison():
    """Fill what torch.empty gives with NaN and the largest integer, so a kernel that reads what none wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    assert torch.utils.deterministic.fill_uninitialized_memory
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(scope="session")
def compiled(request):
    """``compiled("launches_ctc_loss")``: its kernels as `offline.Compiled`, from the cache where no source has changed."""
    import offline

    def kernels(module: str) -> list[offline.Compiled]:
        key = f"kernels/{module}-{offline.fingerprint(module)}"
        found = request.config.cache.get(key, None)
        if found is None:
            found = offline.report(module)
            request.config.cache.set(key, found)
        return [offline.Compiled(**one) for one in found]

    return kernels

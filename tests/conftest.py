"""Shared set-up: one thread a process (tests run in parallel), kernels interpreted, hypothesis without a clock."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported anywhere
os.environ["TRITON_INTERPRET"] = "1"  # before triton is: kernels run on the CPU, and are the same with and without a GPU

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True, print_blob=True,
                          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole recipes come first: one takes up to a minute, and when it begins last the other cores wait for it."""
    items.sort(key=lambda item: item.path.parent.name != "recipes")

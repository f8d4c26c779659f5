"""Errors that are the user's to mend: the message alone, wherever they come from."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Dataset

from asr.errors import AudioError, DataError

SAID = {AudioError: "a.wav: cannot read: cut", DataError: "2 faults:\n  one\n  another"}


class Broken(Dataset):
    def __init__(self, kind):
        self.kind = kind

    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise self.kind(SAID[self.kind])


@pytest.mark.parametrize("kind", SAID)
def test_what_a_data_worker_raises_comes_without_its_traceback(kind):
    with pytest.raises(kind) as caught:
        next(iter(DataLoader(Broken(kind), num_workers=1)))
    assert str(caught.value) == SAID[kind]

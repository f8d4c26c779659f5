"""Tries over sequences of symbols, as flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Trie(NamedTuple):
    """Node 0 is the root, and a node has a higher number than its parent.

    The arcs of node ``n`` are ``offsets[n]`` to ``offsets[n + 1]``, sorted by symbol. All arrays are int32.
    """

    offsets: NDArray[np.int32]
    """(N + 1,)"""
    symbols: NDArray[np.int32]
    """(N - 1,), of an arc."""
    targets: NDArray[np.int32]
    """(N - 1,), the node an arc leads to."""
    parents: NDArray[np.int32]
    """(N,), of a node; the root's is 0."""


def build_trie(sequences: Iterable[Sequence[int]]) -> tuple[Trie, list[int]]:
    """The trie of the sequences, and the node at which each of them ends."""
    arcs: dict[tuple[int, int], int] = {}
    ends = []
    for sequence in sequences:
        node = 0
        for symbol in sequence:
            node = arcs.setdefault((node, symbol), len(arcs) + 1)
        ends.append(node)
    keys = np.array(list(arcs), np.int32).reshape(-1, 2)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    offsets = np.zeros(len(arcs) + 2, np.int32)
    np.cumsum(np.bincount(keys[:, 0], minlength=len(arcs) + 1), out=offsets[1:])
    parents = np.concatenate([np.zeros(1, np.int32), keys[:, 0]])
    return Trie(offsets, np.ascontiguousarray(keys[order, 1]), (order + 1).astype(np.int32), parents), ends


def group(nodes: Sequence[int], size: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Offsets (size + 1,) and the positions in ``nodes``, node by node, each in the order they came."""
    found = np.asarray(nodes, np.int32)
    offsets = np.zeros(size + 1, np.int32)
    np.cumsum(np.bincount(found, minlength=size), out=offsets[1:])
    return offsets, np.argsort(found, kind="stable").astype(np.int32)

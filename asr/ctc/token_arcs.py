"""From a trie of symbols to where whole tokens lead in it, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def token_arcs(offsets, symbols, targets, token_offsets, token_symbols, token_targets, end_offsets, end_tokens, starts):
    """The arcs of tokens over the nodes of a trie, for tokens whose spellings are a trie too.

    Args:
        offsets, symbols, targets: the `Trie`.
        token_offsets, token_symbols, token_targets: the trie of the spellings of tokens.
        end_offsets, end_tokens: the tokens that end at each node of the latter.
        starts: (V,), the tokens that get arcs from the root alone.

    Returns:
        offsets (N + 1,), tokens and targets, int32; the arcs of a node are sorted by token.
    """
    nodes = len(offsets) - 1
    found = np.zeros(nodes + 1, np.int32)
    stack = np.empty((len(token_offsets), 2), np.int32)
    tokens, ends = np.empty(0, np.int32), np.empty(0, np.int32)
    for writing in (False, True):
        count = 0
        for node in range(nodes):
            first = count
            stack[0, 0], stack[0, 1] = node, 0
            depth = 1
            while depth:
                depth -= 1
                at, spelled = stack[depth, 0], stack[depth, 1]
                for arc in range(offsets[at], offsets[at + 1]):
                    low, high = token_offsets[spelled], token_offsets[spelled + 1]
                    low += np.searchsorted(token_symbols[low:high], symbols[arc])
                    if low == high or token_symbols[low] != symbols[arc]:
                        continue
                    stack[depth, 0], stack[depth, 1] = targets[arc], token_targets[low]
                    for end in range(end_offsets[token_targets[low]], end_offsets[token_targets[low] + 1]):
                        if node == 0 or not starts[end_tokens[end]]:
                            place = count
                            while writing and place > first and tokens[place - 1] > end_tokens[end]:
                                tokens[place], ends[place] = tokens[place - 1], ends[place - 1]
                                place -= 1
                            if writing:
                                tokens[place], ends[place] = end_tokens[end], targets[arc]
                            count += 1
                    depth += 1
            found[node + 1] = count
        if not writing:
            tokens, ends = np.empty(count, np.int32), np.empty(count, np.int32)
    return found, tokens, ends

"""The best path of a CTC lattice, slow and plain: every state at every frame, with full backpointers."""

from __future__ import annotations

from torch import Tensor

WILDCARD = -1


def best_path(log_probs: Tensor, targets: list[int], blank: int) -> tuple[list[int], float]:
    """The state of every frame, and the score of the last: log_probs (T, V), T > 0; targets may hold `WILDCARD`.

    States are numbered blank, label 0, blank, label 1, ..., blank. Of ways with equal scores, the best is to stay, then to
    come from the blank before, then from the label before that; and to end with the last label.
    """
    frames, count = len(log_probs), 2 * len(targets) + 1
    tokens = [blank if state % 2 == 0 else targets[state // 2] for state in range(count)]
    scores, back = [0.0] + [float("-inf")] * (count - 1), []
    for row in log_probs:
        steps = [_steps(tokens, state, scores) for state in range(count)]
        emitted = [row.new_zeros(()) if token == WILDCARD else row[token] for token in tokens]
        scores = [scores[state - step] + emitted[state] for state, step in enumerate(steps)]
        back.append(steps)
    state = count - 1
    if targets and not scores[state] > scores[state - 1]:
        state -= 1
    score, path = float(scores[state]), []
    for frame in range(frames - 1, -1, -1):
        path.append(state)
        state -= back[frame][state]
    return path[::-1], score


def _steps(tokens: list[int], state: int, scores: list[Tensor | float]) -> int:
    """How many states back the best way into a state comes from."""
    ways = [0]
    if state >= 1:
        ways.append(1)
    if state >= 3 and state % 2 == 1 and tokens[state] != tokens[state - 2]:
        ways.append(2)
    return max(ways, key=lambda way: scores[state - way])

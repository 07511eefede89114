from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

from cuvee.audit.program import Program
from cuvee.audit.replay import Counts, Layout, Replay
from cuvee.bench.infer import against_plain
from tests.audit.texts import documents, folders


def counted(seed: int, merges: int = 12, words: int = 60) -> Counts:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, 9, words)
    token_N = rng.integers(0, 6, lengths.sum()).astype(np.int32)
    word_N = np.repeat(np.arange(words, dtype=np.int32), lengths)
    weight_WC = rng.integers(0, 30, (words, 4)).astype(np.float64)  # the last column is another text
    replay = Replay(Layout.of(token_N, word_N, 6), weight_WC, 3)
    for _ in range(merges):
        replay.merge(replay.best(3))
    return replay.counts()


def by_all_rows(counts: Counts) -> float:
    """The optimum of the program with every row written out, by another route."""
    x_TC, c_RC = counts.merged_TC / counts.initial_C * 1e6, counts.count_RC / counts.initial_C * 1e6
    merges, pairs, n = len(x_TC), int(counts.pair_R.max()) + 1, x_TC.shape[1]
    rows = []
    for pair, begin, end, count in zip(counts.pair_R, counts.begin_R, counts.end_R, c_RC, strict=True):
        for t in range(begin, end):
            if x_TC[t].any():
                row = np.zeros(n + merges + pairs)
                row[:n], row[n + t], row[n + merges + pair] = count - x_TC[t], -1, -1
                rows.append(row)
    cost = np.concatenate([np.zeros(n), np.ones(merges + pairs)])
    equal = np.concatenate([np.ones(n), np.zeros(merges + pairs)])[None]
    solved = linprog(cost, np.array(rows), np.zeros(len(rows)), equal, [1.0])
    assert solved.fun is not None
    return float(solved.fun)


@pytest.mark.parametrize("seed", range(5))
def test_the_optimum_is_that_of_all_rows(seed: int) -> None:
    counts = counted(seed)
    fit = Program(counts, 12).solve()
    assert fit.violation == pytest.approx(by_all_rows(counts), rel=1e-4, abs=1.0)
    assert fit.share_n.sum() == pytest.approx(1.0)


def test_a_category_left_out_gets_nothing_and_costs() -> None:
    program = Program(counted(1), 12)
    fit = program.solve()
    top = int(fit.share_n.argmax())
    without = program.solve(leave_out=top)
    assert without.share_n[top] == 0
    assert without.violation >= fit.violation


def test_the_answer_is_that_of_the_published_algorithm(tmp_path: Path) -> None:
    texts = {c: documents(c, n, 3) for c, n in {"abc": 60, "mno": 50, "xyz": 40, "шчы": 30}.items()}
    rows = {row["step"]: row for row in against_plain(folders(tmp_path, texts), merges=60)}
    assert rows["largest difference"]["ours"] < 1e-3
    assert rows["counting"]["plain"] > 0

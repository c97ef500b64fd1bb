"""Student's t, Holm's correction and intervals by scipy and statsmodels, for tests/suite/statistics.rs.

    python tests/parity/intervals.py

writes tests/fixtures/intervals.json. The versions are in requirements.txt.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

rng = np.random.default_rng(17)


def interval(value, error, degrees):
    reach = error * stats.t.ppf(0.975, degrees)
    return {"value": value, "low": value - reach, "high": value + reach}


def crossed(values):
    """The mean of prompts x seeds, both drawn: variance components from the mean squares, Satterthwaite's degrees."""
    p, s = values.shape
    frame = pd.DataFrame(
        {"y": values.ravel(), "p": np.repeat(np.arange(p), s), "s": np.tile(np.arange(s), p)}
    )
    table = anova_lm(ols("y ~ C(p) + C(s)", data=frame).fit())
    squares = [table.loc[name, "mean_sq"] / (p * s) for name in ("C(p)", "C(s)", "Residual")]
    degrees = [table.loc[name, "df"] for name in ("C(p)", "C(s)", "Residual")]
    variance = squares[0] + squares[1] - squares[2]
    larger = 0 if squares[0] >= squares[1] else 1
    if variance < squares[larger]:
        # The estimate falls short of a part of it, see src/statistics/estimate.rs.
        freedom = min(2 * degrees[larger], degrees[0] + degrees[1])
        return interval(values.mean(), np.sqrt(squares[larger]), freedom)
    below = sum(square**2 / freedom for square, freedom in zip(squares, degrees))
    return interval(values.mean(), np.sqrt(variance), max(variance**2 / below, 1))


def effects(p, s, sp, ss, se):
    return 0.8 + sp * rng.normal(size=(p, 1)) + ss * rng.normal(size=(1, s)) + se * rng.normal(size=(p, s))


def prompts(values):
    """The mean of prompts, of each several pictures."""
    found = stats.ttest_1samp(values.mean(1), 0)
    ends = found.confidence_interval(0.95)
    return {"value": values.mean(), "low": ends.low, "high": ends.high}


def welch(a, b):
    found = stats.ttest_ind(b, a, equal_var=False)
    ends = found.confidence_interval(0.95)
    return {"value": b.mean() - a.mean(), "low": ends.low, "high": ends.high, "p": found.pvalue}


degrees = [1, 1.5, 2, 2.7, 3, 4, 5.25, 9, 24, 29, 99, 1000.5]
nested = [effects(p, s, 0.03, 0, 0.06) for p, s in [(3, 4), (10, 4), (25, 4), (25, 1)]]
shared = [effects(*sizes, *parts) for sizes in [(3, 3), (10, 4), (25, 4)] for parts in [(0.03, 0.035, 0.06), (0, 0, 0.06)]]
groups = [(rng.normal(0, 1, n), rng.normal(1, 3, m)) for n, m in [(3, 3), (3, 5), (12, 7)]]
families = [rng.uniform(size=n) ** 3 for n in (1, 2, 14, 105)]
out = {
    "reach_of_95": [[d, stats.t.ppf(0.975, d)] for d in degrees],
    "two_sided": [[t, d, 2 * stats.t.sf(t, d)] for d in degrees for t in (0.0, 0.01, 0.7, 2.0, 5.5, 40.0)],
    "holm": [{"p": list(p), "corrected": list(multipletests(p, method="holm")[1])} for p in families],
    "prompts": [{"values": values.tolist(), **prompts(values)} for values in nested],
    "prompts_and_seeds": [{"values": values.tolist(), **crossed(values)} for values in shared],
    "groups": [{"a": a.tolist(), "b": b.tolist(), **welch(a, b)} for a, b in groups],
}
path = Path(__file__).parent.parent / "fixtures" / "intervals.json"
path.write_text(json.dumps(out, indent=1) + "\n")
print(path)

"""Statistics of a comparison: what the numbers of a table may claim. Pure functions, no I/O.

``PerSeed`` is ``{seed: value}`` of one row of a table. Intervals are two-sided at 95 %. Accuracies
and their thresholds are in percent. A difference is signed so that positive is better. Values must
be finite: a diverged seed has no value, so the caller leaves it out and shows ``2/3``.
The results are frozen dataclasses of plain numbers: ``dataclasses.asdict`` gives their JSON.
"""

from slt_bench.evidence.intervals import (
    Interval,
    PairedDifference,
    PerSeed,
    mean_interval,
    paired_difference,
)
from slt_bench.evidence.recovery import (
    GAP_UNRESOLVED,
    ONE_SEED,
    REMOVAL_IS_NO_WORSE,
    Ratio,
    recovered,
)
from slt_bench.evidence.significance import (
    Alternative,
    Significance,
    discordant_binomial,
    holm,
    sign_flip_test,
)
from slt_bench.evidence.solving import (
    SOLVED,
    Curve,
    interquartile_mean,
    settled,
    solved,
    solved_count,
    updates_to_solve,
)
from slt_bench.evidence.verdicts import (
    CLASS_NAMES,
    SEEDS_DISAGREE,
    Classes,
    Verdict,
    VerdictName,
    verdict,
)

__all__ = [
    "CLASS_NAMES",
    "GAP_UNRESOLVED",
    "ONE_SEED",
    "REMOVAL_IS_NO_WORSE",
    "SEEDS_DISAGREE",
    "SOLVED",
    "Alternative",
    "Classes",
    "Curve",
    "Interval",
    "PairedDifference",
    "PerSeed",
    "Ratio",
    "Significance",
    "Verdict",
    "VerdictName",
    "discordant_binomial",
    "holm",
    "interquartile_mean",
    "mean_interval",
    "paired_difference",
    "recovered",
    "settled",
    "sign_flip_test",
    "solved",
    "solved_count",
    "updates_to_solve",
    "verdict",
]

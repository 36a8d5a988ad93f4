"""The verdict on a published number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Literal

from slt_bench.evidence.intervals import mean_interval
from slt_bench.evidence.solving import SOLVED

VerdictName = Literal[
    "reproduced", "better", "worse", "inconclusive", "not comparable", "partial", "not run"
]

SEEDS_DISAGREE = "seeds disagree"
CLASS_NAMES = ("stuck", "learning", "solved")


@dataclass(frozen=True)
class Classes:
    """Outcome classes of a bimodal task, by accuracy in percent: stuck < learning < solved."""

    chance: float
    solved: float = SOLVED
    stuck_within: float = 10.0

    def __post_init__(self) -> None:
        if self.chance + self.stuck_within >= self.solved:
            raise ValueError(
                f"stuck reaches up to {self.chance + self.stuck_within:g} %, which is not below "
                f"solved at {self.solved:g} %: lower chance or stuck_within"
            )

    def rank(self, accuracy: float) -> int:
        """0 stuck (at most ``stuck_within`` points above chance), 1 learning, 2 solved."""
        return int(accuracy > self.chance + self.stuck_within) + int(accuracy >= self.solved)

    def name(self, accuracy: float) -> str:
        """The class of ``accuracy`` in words."""
        return CLASS_NAMES[self.rank(accuracy)]


@dataclass(frozen=True)
class Verdict:
    """A measured row held against its published number.

    ``difference`` is D, ``half_width`` c (interval of the mean), ``prediction_half_width`` h
    (prediction of one more run). What cannot be had from ``n`` seeds is None.
    """

    name: VerdictName
    reason: str
    published: float
    margin: float
    difference: float | None
    half_width: float | None
    prediction_half_width: float | None
    mean: float | None
    sd: float | None
    n: int


def verdict(
    published: float,
    values: Sequence[float],
    margin: float,
    *,
    higher_is_better: bool,
    classes: Classes | None = None,
    not_comparable: str | None = None,
    partial: str | None = None,
    not_run: str | None = None,
) -> Verdict:
    """Judge the values of the seeds against a published number, which is one run.

    With mean m, standard deviation s, n seeds, published x: D = m - x (positive: better than
    published), c = t(n-1, 0.975) s / sqrt n, and h = c sqrt(n + 1), the half width of the
    interval that predicts one more run. The first line that holds is the verdict:

    * not run: ``values`` is empty (``not_run`` says what it would cost);
    * not comparable: ``not_comparable`` says what else the published number measures;
    * partial: ``partial`` says how much shorter the training was;
    * inconclusive: fewer than three seeds;
    * reproduced: [D - c, D + c] lies inside ± margin;
    * better, worse: [D - h, D + h] lies on one side of 0 and abs(D) > margin;
    * inconclusive: otherwise.

    With ``classes`` (a bimodal task, where a mean describes no run) the last three go by classes
    in place of intervals: at least three quarters of the seeds, which is all of three, in the
    class of ``published`` for reproduced, in higher or lower ones for better or worse, else
    inconclusive ("seeds disagree").

    Raises ValueError where the margin is not positive, a number is not finite, or ``classes`` is
    given for a metric where lower is better.
    """
    if not isfinite(published):
        raise ValueError(f"the published number must be finite, got {published}")
    if not (isfinite(margin) and margin > 0):
        raise ValueError(f"the margin must be a positive number, got {margin}")
    if classes is not None and not higher_is_better:
        raise ValueError("classes are of accuracies: higher must be better")
    if len(values) == 0:
        reason = not_run or "no trial of this row has finished"
        return Verdict("not run", reason, published, margin, None, None, None, None, None, 0)

    interval = mean_interval(values)
    n, c = interval.n, interval.half_width
    difference = (interval.mean - published) * (1 if higher_is_better else -1)
    h = None if c is None else c * sqrt(n + 1)

    name: VerdictName
    if not_comparable:
        name, reason = "not comparable", "; ".join(filter(None, (not_comparable, partial)))
    elif partial:
        name, reason = "partial", partial
    elif n < 3 or c is None or h is None:
        name, reason = "inconclusive", f"{n} of at least 3 seeds"
    elif classes is not None:
        name, reason = _by_class(published, values, classes)
    else:
        name, reason = _by_interval(difference, c, h, margin)
    return Verdict(name, reason, published, margin, difference, c, h, interval.mean, interval.sd, n)


def _by_interval(difference: float, c: float, h: float, margin: float) -> tuple[VerdictName, str]:
    edge = margin * (1 + 1e-9)  # 1.05 - 0.85 is not exactly 0.2: rounding decides no verdict
    if abs(difference) + c <= edge:
        return "reproduced", "the interval of the difference lies within the margin"
    if abs(difference) <= edge:
        return "inconclusive", "seeds vary too much: the interval reaches past the margin"
    if abs(difference) <= h:
        return "inconclusive", "seeds vary too much: one more run may give the published number"
    name: VerdictName = "better" if difference > 0 else "worse"
    return name, "past the margin, and past what one more run may give"


def _by_class(
    published: float, values: Sequence[float], classes: Classes
) -> tuple[VerdictName, str]:
    target, n = classes.rank(published), len(values)
    ranks = [classes.rank(value) for value in values]
    outcomes: list[tuple[VerdictName, int]] = [
        ("reproduced", sum(rank == target for rank in ranks)),
        ("better", sum(rank > target for rank in ranks)),
        ("worse", sum(rank < target for rank in ranks)),
    ]
    names = [classes.name(value) for value in values]
    counts = ", ".join(f"{k}/{n} {name}" for name in CLASS_NAMES if (k := names.count(name)))
    against = f"{counts}; published {classes.name(published)}"
    for outcome, count in outcomes:
        if 4 * count >= 3 * n:
            return outcome, against
    return "inconclusive", f"{SEEDS_DISAGREE}: {against}"

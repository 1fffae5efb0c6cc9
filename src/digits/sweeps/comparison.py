"""Tests whether two rows of a leaderboard differ by more than luck, of the seeds or of the test images.

Over seeds, a t test asks whether the same configurations with other seeds would be in the same order. Over test
images, McNemar's test (McNemar, 1947, https://doi.org/10.1007/BF02295996) asks whether two networks would be in the
same order on other images. The more rows are compared, the more of them differ by luck; Holm's correction (1979,
https://www.jstor.org/stable/4615733) allows for that.
"""

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from digits.evaluation.metrics import Predictions

if TYPE_CHECKING:
    from digits.sweeps.leaderboard import Row

ALPHA = 0.05  # significance level: largest probability that luck alone makes any of the rows differ
POWER = 0.8  # probability that as many seeds as `seeds_needed` show the difference
MOST_SEEDS = 1_000


@dataclass
class Comparison:
    """A row and the next one.

    Attributes:
        rank: Rank of the first row.
        seeds: Number of seeds of the row that has fewer.
        seeds_p: Probability of such a difference by luck of the seeds, after Holm's correction; None for one seed.
        seeds_needed: Seeds per row that would show the difference; None if one seed, or more than `MOST_SEEDS`.
        images: Size of the test set.
        only_first: Test images that only the first network reads; None if a run kept no predictions.
        only_second: Test images that only the second network reads.
        images_p: Probability of such a difference by luck of the test images, after Holm's correction.
    """

    rank: int
    seeds: int
    images: int
    seeds_p: float | None = None
    seeds_needed: int | None = None
    only_first: int | None = None
    only_second: int | None = None
    images_p: float | None = None

    def text(self) -> str:
        """One or two sentences; empty if nothing could be compared."""
        numbers = f"{self.rank} and {self.rank + 1}"
        sentences = []
        if self.seeds_p is not None and self.seeds_p < ALPHA:
            sentences.append(
                f"Ranks {numbers} differ by more than the luck of the seeds, {self.seeds} or more each "
                f"({_p(self.seeds_p)})."
            )
        elif self.seeds_p is not None:
            needed = f"about {self.seeds_needed:,}" if self.seeds_needed is not None else f"more than {MOST_SEEDS:,}"
            sentences.append(
                f"Ranks {numbers} cannot be distinguished with {self.seeds} seeds; {needed} would be needed."
            )
        if self.images_p is not None:
            who = f"The networks of ranks {numbers}" if self.seeds_p is None else "Their best networks"
            verdict = "differ by more than the luck of the test images"
            if self.images_p >= ALPHA:
                verdict = "cannot be distinguished by the test images"
            elif (self.only_second or 0) > (self.only_first or 0):
                verdict += ", and the second is the better one there"
            sentences.append(
                f"{who} {verdict}: of {self.images:,}, {self.only_first} are read only by the first, "
                f"{self.only_second} only by the second ({_p(self.images_p)})."
            )
        return " ".join(sentences)


def compare_neighbours(rows: Sequence["Row"]) -> list[Comparison]:
    """Compare each row with the next one, if both were tested on the same data.

    Args:
        rows: Configurations with a result, the best first.
    """
    pairs = [
        (rank, first, second)
        for rank, (first, second) in enumerate(itertools.pairwise(rows), start=1)
        if first.done[0].dataset["fingerprint"] == second.done[0].dataset["fingerprint"]
    ]
    tests = sum(_have_seeds(first, second) for _, first, second in pairs)
    found = [_compare(rank, first, second, tests) for rank, first, second in pairs]
    of_seeds, of_images = holm([each.seeds_p for each in found]), holm([each.images_p for each in found])
    for each, seeds_p, images_p in zip(found, of_seeds, of_images, strict=True):
        each.seeds_p, each.images_p = seeds_p, images_p
    return found


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of the p values of several tests; None stays None."""
    corrected: list[float | None] = [None] * len(values)
    ordered = sorted((value, place) for place, value in enumerate(values) if value is not None)
    largest = 0.0
    for rank, (value, place) in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * value))
        corrected[place] = largest
    return corrected


def _have_seeds(first: "Row", second: "Row") -> bool:
    """Whether both rows have several seeds, and the same split of the data."""
    seeds = min(len({results.seed for results in row.done}) for row in (first, second))
    return seeds > 1 and first.done[0].dataset == second.done[0].dataset


def _compare(rank: int, first: "Row", second: "Row", tests: int) -> Comparison:
    """Both tests of two rows, as far as they are possible, before Holm's correction."""
    dataset = first.done[0].dataset
    compared = Comparison(rank, min(len(first.done), len(second.done)), dataset["test"])
    if _have_seeds(first, second):
        one, other = ({results.seed: results.metric for results in row.done} for row in (first, second))
        step = 1 / (dataset["val"] or dataset["test"])
        compared.seeds_p, compared.seeds_needed = seed_test(one, other, step, ALPHA / tests)
    if first.predictions and second.predictions and first.predictions.labels == second.predictions.labels:
        found = image_test(first.predictions, second.predictions)
        compared.only_first, compared.only_second, compared.images_p = found
    return compared


def seed_test(
    first: Mapping[int, float], second: Mapping[int, float], step: float, alpha: float = ALPHA
) -> tuple[float, int | None]:
    """Compare the accuracies of two configurations over seeds: paired if they have the same seeds, else Welch's test.

    Args:
        first: Accuracy for each seed, two or more.
        second: The same of the other configuration.
        step: Smallest difference between two accuracies. It bounds the deviation from below: with few images, several
            seeds may have the same accuracy.
        alpha: Probability of an error, for the number of seeds.

    Returns:
        The p value, and how many seeds each configuration would need to show the difference, if it is the true one;
        None if more than `MOST_SEEDS`.
    """
    from scipy import stats

    fewest = min(len(first), len(second))
    n = np.arange(fewest + 1, MOST_SEEDS + 1)
    floor = step**2 / 12  # variance of rounding
    if first.keys() == second.keys():
        changes = [first[seed] - second[seed] for seed in first]
        difference, variance = statistics.fmean(changes), max(statistics.variance(changes), 2 * floor)
        p = 2 * stats.t.sf(abs(difference) / math.sqrt(variance / fewest), fewest - 1)
        freedom = n - 1.0
    else:
        means = [statistics.fmean(each.values()) for each in (first, second)]
        variances = [max(statistics.variance(each.values()), floor) for each in (first, second)]
        deviations = [math.sqrt(each) for each in variances]
        p = stats.ttest_ind_from_stats(
            means[0], deviations[0], len(first), means[1], deviations[1], len(second), equal_var=False
        ).pvalue
        difference, variance = means[0] - means[1], sum(variances)
        freedom = (n - 1) * variance**2 / sum(each**2 for each in variances)  # Welch and Satterthwaite
    detectable = np.sqrt(variance / n) * (stats.t.isf(alpha / 2, freedom) + stats.t.ppf(POWER, freedom))
    enough = n[detectable <= abs(difference)]
    return float(p), int(enough[0]) if len(enough) else None


def image_test(first: Predictions, second: Predictions) -> tuple[int, int, float]:
    """McNemar's exact test of two networks on the same images.

    Returns:
        How many images only the first network reads, how many only the second, and the p value.
    """
    from scipy.stats import binomtest

    first_right, second_right = (np.asarray(each.predictions) == np.asarray(first.labels) for each in (first, second))
    only_first, only_second = int(np.sum(first_right & ~second_right)), int(np.sum(second_right & ~first_right))
    different = only_first + only_second
    return only_first, only_second, float(binomtest(only_first, different).pvalue) if different else 1.0


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"

"""Whether two rows differ by more than luck: simulated seeds and test sets, and hand-computed values."""

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from digits.evaluation.metrics import Predictions, read_predictions
from digits.runs.run import Run
from digits.sweeps.comparison import ALPHA, Comparison, compare_neighbours, holm, image_test, seed_test
from digits.sweeps.leaderboard import rank
from digits.sweeps.tables import print_table, write_files
from digits.validation import resolve

from ..helpers import TINY, composed, finished

DRAWS, IMAGES = 1_000, 10_000


def networks(rng: np.random.Generator, errors: tuple[float, float], shared: float) -> tuple[Predictions, Predictions]:
    """Predictions of two networks with given error rates; a fraction ``shared`` of the images is hard for both."""
    hard = rng.random(IMAGES) < shared
    rates = [np.where(hard, 0.5, (error - 0.5 * shared) / (1 - shared)) for error in errors]
    labels: Any = np.zeros(IMAGES, int)  # integers, which are faster than strings
    first, second = ((rng.random(IMAGES) < rate).astype(int) for rate in rates)
    return Predictions(labels, first), Predictions(labels, second)


@pytest.mark.parametrize("shared", [0.0, 0.01])
def test_networks_that_differ_by_luck_are_seldom_distinguished(shared: float) -> None:
    rng = np.random.default_rng(0)
    distinguished = sum(image_test(*networks(rng, (0.01, 0.01), shared))[2] < ALPHA for _ in range(DRAWS))
    assert distinguished <= DRAWS - 930


@pytest.mark.parametrize(
    ("errors", "shared"), [((0.0075, 0.0125), 0.0), ((0.0075, 0.0125), 0.01), ((0.01, 0.015), 0.01)]
)
def test_networks_half_a_point_apart_are_distinguished(errors: tuple[float, float], shared: float) -> None:
    rng = np.random.default_rng(0)
    distinguished = sum(image_test(*networks(rng, errors, shared))[2] < ALPHA for _ in range(DRAWS))
    assert distinguished >= 900


@pytest.mark.slow
@pytest.mark.parametrize("paired", [True, False])
def test_only_configurations_that_differ_are_distinguished_over_seeds(paired: bool) -> None:
    """Five seeds, deviation 0.1 points: equal ones are seldom distinguished, those half a point apart are often."""
    rng = np.random.default_rng(0)
    others = range(5) if paired else range(5, 10)

    def distinguished(difference: float) -> int:
        found = 0
        for _ in range(DRAWS):
            first = dict(enumerate(rng.normal(0.99, 0.001, 5)))
            second = dict(zip(others, rng.normal(0.99 - difference, 0.001, 5), strict=True))
            found += seed_test(first, second, 1 / 5_000)[0] < ALPHA
        return found

    assert distinguished(0.0) <= DRAWS - 930
    assert distinguished(0.005) >= 900


@pytest.mark.slow
def test_the_recommended_number_of_seeds_shows_the_difference() -> None:
    rng = np.random.default_rng(0)
    first, second = {0: 0.991, 1: 0.992, 2: 0.990}, {0: 0.990, 1: 0.990, 2: 0.991}
    p, needed = seed_test(first, second, 1 / 5_000)
    assert p > ALPHA
    assert needed
    changes = [first[seed] - second[seed] for seed in first]
    difference, deviation = statistics.fmean(changes), statistics.stdev(changes)
    found = sum(
        seed_test(dict(enumerate(rng.normal(difference, deviation, needed))), dict.fromkeys(range(needed), 0.0), 1e-9)[
            0
        ]
        < ALPHA
        for _ in range(DRAWS)
    )
    assert 0.75 * DRAWS < found < 0.9 * DRAWS  # the test aims at a power of 0.8


def test_a_paired_t_test_computed_by_hand() -> None:
    """Differences of 1, 2 and 3 thousandths: t = 2 / (1 / √3) = 3.46 with two degrees of freedom, p = 0.0742."""
    p, _ = seed_test({0: 0.991, 1: 0.992, 2: 0.993}, {2: 0.990, 1: 0.990, 0: 0.990}, 1 / 5_000)
    assert p == pytest.approx(0.0742, abs=1e-4)


def test_seeds_of_equal_accuracy_do_not_prove_a_difference() -> None:
    """Two seeds that differ by one image each do not prove a difference, though the deviation is zero."""
    p, needed = seed_test({0: 0.99, 1: 0.99}, {0: 0.9898, 1: 0.9898}, 1 / 5_000)
    assert p > 0.1
    assert needed
    assert seed_test({0: 0.99, 1: 0.99}, {0: 0.99, 1: 0.99}, 1 / 5_000) == (1.0, None)


def test_holms_correction_computed_by_hand() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemars_test_computed_by_hand() -> None:
    """Of 8 images that only one network reads, the first reads 1 and the second 7: p = 2 (1 + 8) / 2⁸."""
    labels = ["0"] * 10
    first = Predictions(labels, ["0", "1", "1", "1", "1", "1", "1", "1", "0", "1"])
    second = Predictions(labels, ["1", "0", "0", "0", "0", "0", "0", "0", "0", "1"])
    assert image_test(first, second) == (1, 7, pytest.approx(18 / 256))
    assert image_test(first, first) == (0, 0, 1.0)


def write_run(path: Path, lr: float, seed: int, accuracy: float, wrong: int) -> None:
    """Write a finished run that misreads the last ``wrong`` of ten thousand images."""
    run = Run(path)
    run.path.mkdir(parents=True)
    run.write_config(resolve(composed(*TINY, f"optimizer.lr={lr}", f"seed={seed}")))
    Predictions(["7"] * IMAGES, ["7"] * (IMAGES - wrong) + ["1"] * wrong).write(path)
    run.write_results(finished(val_accuracy=accuracy, test_accuracy=1 - wrong / IMAGES, seed=seed))


def test_a_leaderboard_reports_which_differences_may_be_luck(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, (lr, seed, accuracy, wrong) in enumerate(
        [(0.1, 0, 0.990, 90), (0.1, 1, 0.992, 95), (0.2, 0, 0.991, 100), (0.2, 1, 0.990, 99), (0.3, 0, 0.5, 5_000)]
    ):
        write_run(tmp_path / str(number), lr, seed, accuracy, wrong)
    board = rank(tmp_path)
    first, second = board.comparisons
    assert (first.rank, first.seeds, first.only_first, first.only_second) == (1, 2, 5, 0)
    assert "Ranks 1 and 2 cannot be distinguished with 2 seeds; about " in first.text()
    assert "of 10,000, 5 are read only by the first, 0 only by the second (p = 0.062)" in first.text()
    assert (second.seeds, second.seeds_p) == (1, None)  # one seed says nothing about other seeds
    assert second.text().startswith("The networks of ranks 2 and 3 differ by more than the luck of the test images: of")
    print_table(board, write_files(board))
    assert "Ranks 1 and 2 cannot" in " ".join(capsys.readouterr().out.split())
    assert first.text() in (tmp_path / "leaderboard.md").read_text()
    assert '"seeds_needed"' in (tmp_path / "leaderboard.json").read_text()


def test_two_single_runs_are_compared(tmp_path: Path) -> None:
    """Even if they differ only in the seed, they are compared and not averaged."""
    write_run(tmp_path / "a", 0.1, 0, 0.99, 90)
    write_run(tmp_path / "b", 0.1, 1, 0.98, 95)
    board = rank(tmp_path / "b", tmp_path / "a")
    assert [row.settings for row in board.rows] == [{"seed": "0"}, {"seed": "1"}]
    (compared,) = board.comparisons
    assert compared == Comparison(1, 1, IMAGES, only_first=5, only_second=0, images_p=0.0625)
    assert compared.text().startswith(
        "The networks of ranks 1 and 2 cannot be distinguished by the test images: of 10,000, 5 "
    )


def test_runs_that_cannot_be_compared(tmp_path: Path) -> None:
    """Runs without predictions, with damaged ones, or on other data."""
    for name in "ab":
        write_run(tmp_path / name, 0.1 if name == "a" else 0.2, 0, 0.99, 90)
    (tmp_path / "a/predictions.csv").unlink()
    assert [each.text() for each in rank(tmp_path).comparisons] == [""]
    for damaged in ("", "label,prediction\n", "label,prediction\n1,2,3\n", 'label,prediction\n"1'):
        (tmp_path / "a/predictions.csv").write_text(damaged)
        assert [each.text() for each in rank(tmp_path).comparisons] == [""]
    dataset = finished().dataset | {"fingerprint": "other"}
    Run(tmp_path / "a").write_results(finished(dataset=dataset))
    assert rank(tmp_path).comparisons == []
    assert compare_neighbours([]) == []


def test_predictions_are_read_back_unchanged(tmp_path: Path) -> None:
    kept = Predictions(("a,b", '"', "ä"), ("ä", "a,b", ""))
    kept.write(tmp_path)
    assert read_predictions(tmp_path) == kept
    assert read_predictions(tmp_path / "gone") is None


def test_different_seeds_are_not_paired() -> None:
    """Only two of four seeds are shared; those two pairs alone would show a difference."""
    first, second = {0: 0.9, 1: 0.9001, 2: 0.99, 3: 0.99}, {0: 0.95, 1: 0.9501}
    assert seed_test(first, second, 1e-4)[0] > 0.5


@pytest.mark.slow
def test_the_seeds_that_welchs_test_asks_for_show_the_difference() -> None:
    """The two configurations have different seeds and unequal deviations."""
    p, needed = seed_test({0: 0.99, 1: 0.99}, {2: 0.91, 3: 0.93}, 1e-4)
    assert p > ALPHA
    assert needed
    assert needed > 2
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(DRAWS):
        one = dict(enumerate(rng.normal(0.99, 1e-6, needed)))
        other = dict(enumerate(rng.normal(0.92, 0.01414, needed), needed))
        found += seed_test(one, other, 1e-6)[0] < ALPHA
    assert found >= 0.75 * DRAWS


def test_a_second_rank_that_is_better_on_the_test_set_is_reported() -> None:
    compared = Comparison(1, 1, IMAGES, only_first=5, only_second=40, images_p=0.001)
    assert "and the second is the better one there" in compared.text()


def test_a_sweep_beside_a_single_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All rows have the same columns, whatever the order of the arguments."""
    for seed in (0, 1):
        write_run(tmp_path / f"sweep/{seed}", 0.1, seed, 0.99, 90)
    write_run(tmp_path / "single", 0.2, 2, 0.98, 95)
    for names in (("sweep", "single"), ("single", "sweep")):
        board = rank(*(tmp_path / name for name in names), output=tmp_path / "board")
        assert [row.settings["seed"] for row in board.rows] == ["0, 1", "2"]
        print_table(board, write_files(board))
    assert "With a single seed" in capsys.readouterr().out


def test_runs_with_incomplete_predictions_are_named(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, 0.1 if name == "a" else 0.2, 0, 0.99, 90)
    (tmp_path / "a/predictions.csv").write_text("label,prediction\n7,7\n")  # not all images
    write_files(rank(tmp_path))
    assert (
        f"{tmp_path / 'a'} cannot be compared by test images: digits evaluate"
        in (tmp_path / "leaderboard.md").read_text()
    )

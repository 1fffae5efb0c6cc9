"""How familiar an image is: the two measures by hand, and their statistics in a checkpoint."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from digits.data import sample
from digits.model.familiarity import RatedNetwork, fit, observe, restored
from digits.model.geometry import Block, Head, Pool
from digits.model.inference import observations, ratings
from digits.model.network import Network
from digits.model.spec import DataSpec, Thresholds

IMAGES, LABELS = (torch.from_numpy(array.copy()) for array in sample.load())
DATA = DataSpec(classes=("a", "b"))


def network(*channels: int) -> Network:
    torch.manual_seed(0)
    blocks = [Block(channels=number, kernel_size=3, padding=1, pool=Pool("max", 2)) for number in channels]
    return Network(blocks, Head(hidden=[], dropout=0.0), DATA).eval()


def test_the_mean_of_each_feature_map() -> None:
    net = network(2, 3)
    first = net.blocks[0](((IMAGES[:4].float() / 255 - DATA.mean) / DATA.std).unsqueeze(1))
    logits, means = observe(net, IMAGES[:4])
    torch.testing.assert_close(logits, net(IMAGES[:4]))
    torch.testing.assert_close(means, torch.cat([first.mean((2, 3)), net.blocks[1](first).mean((2, 3))], 1))


def test_the_distance_is_mahalanobis() -> None:
    generator = np.random.default_rng(0)
    scale = np.array([[3.0, 0, 0], [1, 2, 0], [0, 1, 0.5]])
    labels = torch.arange(2).repeat(5_000)
    means = torch.from_numpy(generator.normal(size=(10_000, 3)) @ scale + 4 * labels.numpy()[:, None])
    rated = fit(network(3), means, labels)
    deviations = (means - torch.stack([means[labels == label].mean(0) for label in (0, 1)])[labels]).numpy()
    inverse = np.linalg.inv(np.cov(deviations.T, bias=True))
    point = torch.tensor([[5.0, -2.0, 1.0]])
    for label in (0, 1):
        expected = mahalanobis(point[0].numpy(), means[labels == label].mean(0).numpy(), inverse)
        found = rated.distance(point, torch.tensor([label])).item()
        assert found == pytest.approx(expected, rel=0.02)  # the shrinkage changes it a little


def test_familiarity_is_the_energy_minus_the_weighted_distance() -> None:
    net = network(2)
    means, whitening = torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    rated = RatedNetwork(net, means, whitening, weight=0.5)
    logits, observed = observe(net, IMAGES[:1])
    a, b = logits[0].tolist()
    x, y = observed[0].tolist()
    energy, distance = math.log(math.exp(a) + math.exp(b)), math.hypot(2 * (x - (b > a)), y)
    assert rated.rate(IMAGES[:1])[1].item() == pytest.approx(energy - 0.5 * distance, abs=1e-5)


def test_without_blocks_only_the_energy_counts() -> None:
    net = network()
    _, means = observations(net, IMAGES[:50])
    rated = fit(net, means, LABELS[:50].long() % 2)
    rated.weight = 3.0
    logits, familiarity = ratings(rated, IMAGES[:5])
    torch.testing.assert_close(familiarity, logits.logsumexp(1))


def test_classes_without_images_and_constant_feature_maps_can_be_rated() -> None:
    net = network(2)
    rated = fit(net, torch.ones(6, 2), torch.zeros(6, dtype=torch.long))
    assert rated.distance(torch.ones(2, 2), torch.tensor([0, 1])).tolist() == [0, 0]
    assert rated.rate(IMAGES[:3])[1].isfinite().all()


def test_statistics_are_restored_and_impossible_ones_are_refused() -> None:
    net = network(2)
    rated = RatedNetwork(net, torch.ones(2, 2), torch.eye(2), 0.5, Thresholds(0.8, -3.0, 2.5))
    copy = restored(net, rated.statistics())
    assert (copy.weight, copy.thresholds) == (0.5, Thresholds(0.8, -3.0, 2.5))
    torch.testing.assert_close(copy.rate(IMAGES[:9]), rated.rate(IMAGES[:9]))
    for name, value in {"means": torch.ones(3, 2), "whitening": torch.eye(3), "probability": "x"}.items():
        with pytest.raises(ValueError, match=r"of shape|could not convert"):
            restored(net, {**rated.statistics(), name: value})
    impossible = {"familiarity": math.nan, "probability": 7.0, "weight": math.inf, "temperature": 0.5}
    for name, value in [*impossible.items(), ("temperature", math.inf)]:
        with pytest.raises(ValueError, match=r"^(thresholds|a weight|a temperature) of"):
            restored(net, {**rated.statistics(), name: value})
    with pytest.raises(ValueError, match="not finite"):
        restored(net, {**rated.statistics(), "means": torch.full((2, 2), math.nan)})
    with pytest.raises(KeyError, match="temperature"):
        restored(net, {name: value for name, value in rated.statistics().items() if name != "temperature"})


def test_without_statistics_only_a_probability_below_one_half_is_not_trusted() -> None:
    rated = restored(network(2), None)
    assert [rated.thresholds.status(probability, -1e9) for probability in (0.51, 0.49)] == ["read", "unsure"]

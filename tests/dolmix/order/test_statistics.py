"""Whether an order is as good as a shuffle: statistics with bands, and peers that miss them."""

import numpy as np
import order_peers as peers
import order_statistics as stats
import pytest

from dolmix.permute import SORT_LIMIT, Permutation, _Feistel, round_keys

PRIME = 10_000_019
SIZES = [1_000_003, PRIME, 1 << 24, 488_000_003, 10**12]
PEERS = {"lcg": peers.Lcg, "grain-4": peers.GrainSimon, "levanter-5": peers.LevanterFeistel}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("seed", [1, 2])
def test_dolmix_passes_every_band(n: int, seed: int) -> None:
    """Batches, differences, parities and neighbours are as those of a shuffle, at any size."""
    order = Permutation((seed, "source", "web", 0), n)
    found = stats.measured(order.forward, n)
    assert stats.failed(found) == [], found


@pytest.mark.parametrize("n", [SORT_LIMIT, SORT_LIMIT + 1, 100_003])
def test_dolmix_passes_every_band_where_the_network_begins(n: int) -> None:
    """Fewer than a hundred batches are too few for the bands: the mean of 24 seeds is held to."""
    runs = [
        stats.measured(Permutation((seed, "source", "web", 0), n).forward, n) for seed in range(24)
    ]
    found = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    assert stats.failed(found) == [], found


def test_epochs_and_windows_of_the_middle_pass_too() -> None:
    """Not only the first places of the first epoch."""
    for epoch in (1, 7):
        order = Permutation((3, "source", "code", epoch), PRIME)
        found = stats.measured(lambda x, o=order: o.forward(x + np.uint64(5_000_000)), PRIME)
        assert stats.failed(found) == [], found


@pytest.mark.parametrize("name", PEERS)
def test_the_measured_peers_fail(name: str) -> None:
    """An affine map, Simon of 4 rounds, a Feistel of T-functions: each misses a band or more."""
    for key in (1, 2):
        found = stats.measured(PEERS[name](key, PRIME).forward, PRIME)
        assert stats.failed(found), found


@pytest.mark.parametrize("peer", [*PEERS.values(), peers.NumpyShuffle])
def test_the_peers_versions_are_bijections(peer: type) -> None:
    """What fails is their statistics, not our version of them."""
    for n in (1000, 70_001):
        values = peer(5, n).forward(np.arange(n, dtype=np.uint64))
        assert np.array_equal(np.sort(values), np.arange(n))


def test_the_control_passes() -> None:
    """The bands let numpy's own shuffle through."""
    found = stats.measured(peers.NumpyShuffle(1, PRIME).forward, PRIME)
    assert stats.failed(found) == [], found


def test_all_permutations_of_five_are_alike_likely() -> None:
    """30,000 keys give the 120 permutations of 5 places evenly."""

    def order_of(key: int) -> list[int]:
        return Permutation((key, "source", "five", 0), 5).forward(range(5)).tolist()

    assert 0 < stats.permutations_of_five(order_of) < stats.BANDS["permutations of 5"][1]


def test_small_networks_would_be_biased() -> None:
    """Why small sizes are sorted: the network reaches too few permutations of 7 places evenly."""
    x = np.arange(7, dtype=np.uint64)
    seen: dict[tuple[int, ...], int] = {}
    for key in range(5040):
        order = tuple(_Feistel(round_keys((key, "source", "seven", 0)), 7).forward(x).tolist())
        seen[order] = seen.get(order, 0) + 1
    expected = 5040 * (1 - np.exp(-1))  # distinct values of as many even draws
    assert len(seen) < 0.98 * expected

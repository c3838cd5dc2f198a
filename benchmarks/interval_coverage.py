"""Coverage of the 95% intervals of `sirl.stats`, by simulation.

Each behaviour gets a success rate from a Beta distribution with the true rate as its mean and a
given intra-class correlation of the cells of a behaviour; each attack is then simulated on each
behaviour. `--difference` simulates before and after with the same draw of behaviours: with new
luck for each cell after, or with the same, so that all changes are in one direction.

    python benchmarks/interval_coverage.py [--repeats 2000] [--difference]

The standard error of a coverage of 0.95 from 2000 repeats is 0.005.
"""

import argparse
from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
from scipy.special import betaincinv

from sirl.stats import clustered_difference, mean_rate

RATES = (0.5, 0.8, 0.9, 0.955, 0.98, 1.0)
CHANGES = ((0.5, 0.5), (0.5, 0.8), (0.02, 0.06), (0.9, 0.98), (0.98, 0.98), (0.4, 0.98))
BEHAVIOURS, ATTACKS = (10, 25, 40, 100), (1, 9, 26)
ALIKE = {"none": 0.0, "medium": 0.2, "strong": 0.6}
LUCK = {"new": False, "same": True}
QUANTILES = (np.arange(4000) + 0.5) / 4000
Table = dict[str, dict[str, bool]]


@cache
def quantiles(alike: float, truth: float) -> np.ndarray:
    """The success rates of behaviours at `QUANTILES`, in ascending order."""
    if alike == 0 or truth in (0, 1):
        return np.full(len(QUANTILES), truth)
    size = 1 / alike - 1
    found: np.ndarray = betaincinv(truth * size, (1 - truth) * size, QUANTILES)
    return found


def own_rates(alike: float, truth: float, uniform: np.ndarray) -> np.ndarray:
    """The success rates of behaviours, given their places among all."""
    found: np.ndarray = quantiles(alike, truth)[(uniform * len(QUANTILES)).astype(int)]
    return found


def table(own: np.ndarray, luck: np.ndarray) -> Table:
    """Outcomes by attack and behaviour, given the luck of each cell (attacks x behaviours)."""
    return {
        str(a): {str(b): bool(x) for b, x in enumerate(row)} for a, row in enumerate(luck < own)
    }


def of_means(repeats: int) -> Iterator[tuple[str, int, int, float, float, float]]:
    """Yield correlation, behaviours, attacks, true rate, coverage, mean width."""
    random = np.random.default_rng(0)
    for (name, alike), n, attacks, truth in product(ALIKE.items(), BEHAVIOURS, ATTACKS, RATES):
        found = [
            mean_rate(table(own_rates(alike, truth, random.random(n)), random.random((attacks, n))))
            for _ in range(repeats)
        ]
        inside = sum(f.low - 1e-12 <= truth <= f.high + 1e-12 for f in found)
        width = sum(f.high - f.low for f in found) / repeats
        yield name, n, attacks, truth, inside / repeats, width


def of_differences(
    repeats: int,
) -> Iterator[tuple[str, int, int, tuple[float, float], float, float]]:
    """Yield correlation, behaviours, attacks, true rates before and after, coverage, mean width."""
    random = np.random.default_rng(1)
    for (luck, same), (name, alike), n, attacks, truths in product(
        LUCK.items(), ALIKE.items(), (5, *BEHAVIOURS), ATTACKS, CHANGES
    ):
        truth = quantiles(alike, truths[1]).mean() - quantiles(alike, truths[0]).mean()
        inside, width = 0, 0.0
        for _ in range(repeats):
            places, first = random.random(n), random.random((attacks, n))
            second = first if same else random.random((attacks, n))
            found = clustered_difference(
                table(own_rates(alike, truths[0], places), first),
                table(own_rates(alike, truths[1], places), second),
            )
            inside += found.low - 1e-12 <= truth <= found.high + 1e-12
            width += found.high - found.low
        yield f"{name}, {luck}", n, attacks, truths, inside / repeats, width / repeats


def main() -> None:
    """Print a row per case, then the lowest coverage with several attacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000, help="simulated evaluations per case")
    parser.add_argument("--difference", action="store_true", help="coverage of paired differences")
    args = parser.parse_args()
    rows = of_differences(args.repeats) if args.difference else of_means(args.repeats)
    several: list[float] = []
    print("correlation   behaviours  attacks  truth          coverage  width")
    for name, n, attacks, truth, coverage, width in rows:
        print(
            f"{name:<13} {n:>10} {attacks:>8}  {truth!s:<13}  {coverage:>8.3f}  {width:.3f}",
            flush=True,
        )
        if attacks > 1:
            several.append(coverage)
    low = sum(c < 0.94 for c in several)
    print(f"several attacks: lowest {min(several):.3f}, below 0.94 in {low} of {len(several)}")


if __name__ == "__main__":
    main()

"""Coverage of the 95% intervals of `sirl.stats`, by simulation.

Each behaviour gets a success rate from a Beta distribution with the true rate as its mean and a
given intra-class correlation of the cells of a behaviour; each attack is then simulated on each
behaviour. `--difference` simulates before and after with the same draw of behaviours.

    python benchmarks/interval_coverage.py [--repeats 2000] [--difference]

The standard error of a coverage of 0.95 from 2000 repeats is 0.005.
"""

import argparse
from collections.abc import Iterator
from itertools import product

import numpy as np

from sirl.stats import clustered_difference, mean_rate

RATES = (0.5, 0.8, 0.9, 0.955, 0.98, 1.0)
CHANGES = ((0.5, 0.5), (0.5, 0.8), (0.02, 0.06), (0.9, 0.98), (0.98, 0.98), (0.4, 0.98))
BEHAVIOURS, ATTACKS = (10, 25, 40, 100), (1, 9, 26)
ALIKE = {"none": 0.0, "medium": 0.2, "strong": 0.6}
Table = dict[str, dict[str, bool]]


def own_rates(
    random: np.random.Generator, alike: float, truth: float, uniform: np.ndarray
) -> np.ndarray:
    """The success rates of behaviours, given their quantiles."""
    if alike == 0 or truth in (0, 1):
        return np.full(len(uniform), truth)
    size = 1 / alike - 1
    drawn = np.sort(random.beta(truth * size, (1 - truth) * size, size=4000))
    found: np.ndarray = drawn[(uniform * len(drawn)).astype(int)]
    return found


def table(random: np.random.Generator, attacks: int, own: np.ndarray) -> Table:
    """Outcomes by attack and behaviour."""
    held = random.random((attacks, len(own))) < own
    return {str(a): {str(b): bool(x) for b, x in enumerate(row)} for a, row in enumerate(held)}


def of_means(repeats: int) -> Iterator[tuple[str, int, int, float, float, float]]:
    """Yield correlation, behaviours, attacks, true rate, coverage, mean width."""
    random = np.random.default_rng(0)
    for (name, alike), n, attacks, truth in product(ALIKE.items(), BEHAVIOURS, ATTACKS, RATES):
        found = [
            mean_rate(table(random, attacks, own_rates(random, alike, truth, random.random(n))))
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
    for (name, alike), n, attacks, truths in product(
        ALIKE.items(), BEHAVIOURS, ATTACKS[:2], CHANGES
    ):
        inside, width = 0, 0.0
        for _ in range(repeats):
            places = random.random(n)
            before, after = (
                table(random, attacks, own_rates(random, alike, t, places)) for t in truths
            )
            found = clustered_difference(before, after)
            inside += found.low - 1e-12 <= truths[1] - truths[0] <= found.high + 1e-12
            width += found.high - found.low
        yield name, n, attacks, truths, inside / repeats, width / repeats


def main() -> None:
    """Print a row per case, then the lowest coverage with several attacks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=2000, help="simulated evaluations per case")
    parser.add_argument("--difference", action="store_true", help="coverage of paired differences")
    args = parser.parse_args()
    rows = of_differences(args.repeats) if args.difference else of_means(args.repeats)
    several: list[float] = []
    print("correlation  behaviours  attacks  truth          coverage  width")
    for name, n, attacks, truth, coverage, width in rows:
        print(
            f"{name:<12} {n:>10} {attacks:>8}  {truth!s:<13}  {coverage:>8.3f}  {width:.3f}",
            flush=True,
        )
        if attacks > 1:
            several.append(coverage)
    low = sum(c < 0.94 for c in several)
    print(f"several attacks: lowest {min(several):.3f}, below 0.94 in {low} of {len(several)}")


if __name__ == "__main__":
    main()

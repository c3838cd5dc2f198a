import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from sirl.analysis.auroc import auroc, auroc_within_bands
from sirl.stats import (
    Rate,
    any_rate,
    clustered_difference,
    cohen_kappa,
    corrected_mean_rate,
    holm,
    krippendorff_alpha,
    mcnemar,
    mean_rate,
    minimum_detectable_change,
    power_hint,
    rate,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 100, 0, 0.0370), (1, 100, 0.0018, 0.0545), (0, 250, 0, 0.0151), (8, 10, 0.4902, 0.9433)],
)
def test_wilson_intervals_by_the_formula(successes, n, low, high):
    found = rate(successes, n)
    assert (found.value, found.n) == (successes / n, n)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_a_rate_of_nothing_is_nan():
    assert math.isnan(rate(0, 0).value)


def test_the_mean_is_over_attacks_and_its_interval_over_behaviours():
    outcomes = {
        "a": {str(i): i < 8 for i in range(10)},
        "b": {str(i): i < 4 for i in range(10)},
    }
    found = mean_rate(outcomes)
    assert found.value == pytest.approx(0.6)
    assert found.n == 20
    assert found.low < 0.45
    assert found.high > 0.75


def row_of(*held):
    return {str(i): h for i, h in enumerate(held)}


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 5))
def test_a_mean_over_attacks_that_agree_is_as_sure_as_one_attack_and_no_surer(held, attacks):
    found = mean_rate({str(a): row_of(*held) for a in range(attacks)})
    alone = rate(sum(held), len(held))
    assert (found.value, found.low, found.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )


def test_behaviours_that_fail_here_and_there_are_worth_more_than_all_or_nothing_ones():
    # One of four attacks breaks each of 20 behaviours, another one each time: 80 cells that look
    # independent. The spread between behaviours is nil, so that nothing is known of it.
    even = {str(a): row_of(*(b % 4 != a for b in range(20))) for a in range(4)}
    assert mean_rate(even).low == pytest.approx(rate(15, 20).low)
    # Five behaviours fail twice, five never: means 1, 0.75 and 0.5 with squares 1/16 about 0.75.
    # alike = (10/16 / 20) / (0.75 * 0.25) = 1/6; known = min(2 * 10, 15, 20) = 15.
    uneven = {
        str(a): row_of(*(b >= 15 or (a != 0 and not (b < 5 and a == 1)) for b in range(20)))
        for a in range(4)
    }
    found = mean_rate(uneven)
    trials = 20 * 16 / (15 / 6 + 1)
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx(wilson(0.75, trials))


def test_the_interval_of_a_mean_near_the_end_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(3)
    behaviours, attacks, truth, runs = 25, 9, 0.955, 600
    inside = 0
    for _ in range(runs):
        own = draw.beta(truth * 1.5, (1 - truth) * 1.5, size=behaviours)
        held = draw.random((attacks, behaviours)) < own
        found = mean_rate({str(a): row_of(*map(bool, row)) for a, row in enumerate(held)})
        inside += found.low <= truth <= found.high
    assert inside / runs >= 0.94


@given(st.data())
@settings(max_examples=60)
def test_any_table_has_an_interval_around_its_mean_no_wider_than_that_of_its_fewest_cells(data):
    cell = st.sampled_from([0.0, 0.5, 1.0, None])
    table = data.draw(st.lists(st.lists(cell, min_size=6, max_size=6), min_size=1, max_size=4))
    rows = [{str(i): c for i, c in enumerate(row) if c is not None} for row in table]
    found = mean_rate({str(a): row for a, row in enumerate(rows)})
    if math.isnan(found.value):
        assert not any(rows)
        return
    fewest = min(len(row) for row in rows if row)
    low, high = wilson(found.value, fewest)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert low - 1e-9 <= found.low
    assert found.high <= high + 1e-9


def test_a_perfect_mean_still_has_room_below():
    found = mean_rate({"a": {str(i): True for i in range(20)}})
    assert (found.value, found.low) == (1.0, pytest.approx(rate(20, 20).low))


def test_unscored_cells_count_neither_way():
    assert mean_rate({"a": {"1": True, "2": False}, "b": {"1": True}}).value == 0.75


def test_any_needs_every_attack_withstood():
    found = any_rate({"a": {"1": True, "2": True}, "b": {"1": False, "2": True}})
    assert (found.value, found.n) == (0.5, 2)


@given(
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=9),
    st.lists(st.integers(0, 5).map(float), min_size=1, max_size=9),
)
def test_auroc_counts_pairs(positive, negative):
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


def test_within_bands_a_pure_length_effect_disappears():
    lengths = list(range(1, 41))
    entropies = [float(n) for n in lengths]
    alternating = [i % 2 == 0 for i in range(40)]
    positive = [e for e, a in zip(entropies, alternating, strict=True) if a]
    negative = [e for e, a in zip(entropies, alternating, strict=True) if not a]
    value, pairs = auroc_within_bands(
        positive, negative, [*map(int, positive)], [*map(int, negative)]
    )
    assert value == pytest.approx(0.5, abs=0.1)
    assert pairs > 0
    assert auroc_within_bands([5.0], [1.0], [100], [1])[1] == 0


def test_kappa_by_hand():
    assert cohen_kappa([1, 1, 0, 0], [1, 1, 0, 0]) == 1
    assert cohen_kappa([1, 1, 0, 0], [1, 0, 1, 0]) == 0
    assert math.isnan(cohen_kappa([1, 1], [1, 1]))


def said(*lines):
    """One rater a line; a dot is silence."""
    return [[None if c == "." else c for c in line.replace(" ", "")] for line in lines]


@pytest.mark.parametrize(
    ("ratings", "alpha"),
    [
        # Krippendorff (2011), sections A to C.
        (said("0100000010", "1110010000"), 0.095),
        (said("aabbdcccedda", "babbbccceddd"), 0.692),
        (said("123321412...", "1233224125.3", ".3332342251.", "1233244 1251."), 0.743),
        # The example with three raters in the encyclopaedias.
        (said(".....34121133.3", "1.21334 3.......", "..21344.211 33.4"), 0.691),
    ],
)
def test_alpha_of_published_examples(ratings, alpha):
    assert krippendorff_alpha(ratings) == pytest.approx(alpha, abs=5e-4)


OPINION = st.sampled_from(["yes", "no", "maybe", None])


@given(st.lists(st.tuples(OPINION, OPINION, OPINION), min_size=1, max_size=12))
def test_alpha_knows_neither_names_nor_the_order_of_raters(items):
    raters = [list(r) for r in zip(*items, strict=True)]
    alpha = krippendorff_alpha(raters)
    renamed = [[{"yes": 7, "no": 8, "maybe": 9}.get(o) for o in row] for row in raters[::-1]]
    assert krippendorff_alpha(renamed) == pytest.approx(alpha, nan_ok=True)
    assert math.isnan(alpha) or alpha <= 1
    alone = [[o, None, None] for o, _, _ in items]
    assert krippendorff_alpha([*raters, [None] * len(items)]) == pytest.approx(alpha, nan_ok=True)
    assert math.isnan(krippendorff_alpha([list(r) for r in zip(*alone, strict=True)]))


def test_alpha_of_full_agreement_is_one():
    assert krippendorff_alpha(said("aabb", "aabb")) == 1
    assert math.isnan(krippendorff_alpha(said("aaaa", "aaaa")))


@pytest.mark.parametrize(("changed", "p"), [(0, 1.0), (1, 1.0), (5, 0.0625), (6, 0.03125)])
def test_mcnemar_of_changes_in_one_direction(changed, p):
    found = mcnemar([False] * changed + [True, False], [True] * changed + [True, False])
    assert (found.lost, found.gained, found.p) == (0, changed, pytest.approx(p))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
def test_mcnemar_by_the_sum(pairs):
    before, after = [b for b, _ in pairs], [a for _, a in pairs]
    lost, gained, p = mcnemar(before, after)
    tail = sum(math.comb(lost + gained, k) for k in range(min(lost, gained) + 1))
    assert p == pytest.approx(min(1.0, 2 * tail / 2 ** (lost + gained)))
    assert gained - lost == sum(after) - sum(before)
    assert mcnemar(after, before) == (gained, lost, pytest.approx(p))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9), st.floats(0.001, 0.2))
def test_holm_rejects_what_the_steps_reject(pvalues, alpha):
    adjusted = holm(pvalues)
    assert all(a >= p for a, p in zip(adjusted, pvalues, strict=True))
    ordered = sorted(pvalues)
    steps = [p * (len(ordered) - k) <= alpha for k, p in enumerate(ordered)]
    stop = steps.index(False) if False in steps else len(steps)
    assert sum(a <= alpha for a in adjusted) == stop


@given(st.integers(1, 60), st.integers(1, 30))
def test_the_least_change_is_significant_and_one_less_is_not(n, attacks):
    def significant(changed):
        p = mcnemar([False] * n, [True] * changed + [False] * (n - changed)).p
        return holm([p] + [1.0] * (attacks - 1))[0] <= 0.05

    least = minimum_detectable_change(n, attacks=attacks)
    if math.isnan(least):
        assert not significant(n)
    else:
        changed = round(least * n)
        assert significant(changed)
        assert not significant(changed - 1)


@pytest.mark.parametrize(("change", "discordant"), [(0.1, 0.2), (0.05, 0.1), (-0.2, 0.5)])
def test_so_many_pairs_give_the_power_that_was_promised(change, discordant):
    n = power_hint(change, discordant=discordant)
    up = (discordant + change) / 2 / discordant
    power = 0.0
    for changed in range(1, n + 1):
        gained = np.arange(changed + 1)
        found = abs(2 * gained - changed) > 1.96 * math.sqrt(changed)
        power += binom.pmf(changed, n, discordant) * binom.pmf(gained, changed, up)[found].sum()
    assert power == pytest.approx(0.8, abs=0.04)


def test_a_change_that_no_pairs_can_show_is_refused():
    with pytest.raises(ValueError, match="is impossible if a share of 0.1 of pairs"):
        power_hint(0.2, discordant=0.1)
    with pytest.raises(ValueError, match="a change of 0.0 is impossible"):
        power_hint(0.0)


def corrected_rate(successes, n, *judge):
    return corrected_mean_rate({"": {str(i): i < successes for i in range(n)}}, *judge)


@given(st.floats(0.55, 1), st.floats(0.55, 1), st.floats(0, 1))
@settings(max_examples=40)
def test_correction_undoes_what_the_judge_did(sensitivity, specificity, share):
    n = 10_000
    seen = round(n * (share * sensitivity + (1 - share) * (1 - specificity)))
    judge = [Rate(v, 0.0, 1.0, n) for v in (sensitivity, specificity)]
    found = corrected_rate(seen, n, *judge)
    assert found.value == pytest.approx(share, abs=2e-3)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low - 2e-3 <= share <= found.high + 2e-3
    assert found.n == n


def test_correction_is_clipped_and_of_a_coin_it_is_nan():
    good = rate(90, 100)
    assert corrected_rate(0, 50, good, good).value == 0
    assert corrected_rate(50, 50, good, good).value == 1
    for useless in (rate(10, 100), rate(0, 0)):
        assert math.isnan(corrected_rate(5, 50, good, useless).value)
        assert math.isnan(corrected_rate(5, 50, useless, good).low)
    assert math.isnan(corrected_rate(0, 0, good, good).value)


def test_few_labels_make_a_correction_unsure():
    widths = []
    for labels in (10, 100, 1000):
        found = corrected_rate(30, 100, rate(labels * 8 // 10, labels), rate(labels, labels))
        widths.append(found.high - found.low)
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 1.5 * widths[2]


def test_the_corrected_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(5)
    truth, sensitivity, specificity, runs = 0.4, 0.85, 0.8, 200
    inside = 0
    for _ in range(runs):
        judge = [rate(int(draw.binomial(60, s)), 60) for s in (sensitivity, specificity)]
        seen = truth * sensitivity + (1 - truth) * (1 - specificity)
        found = corrected_rate(int(draw.binomial(150, seen)), 150, *judge)
        inside += found.low <= truth <= found.high
    assert 0.91 <= inside / runs <= 0.99


def test_an_attack_counted_twice_makes_a_corrected_mean_no_surer():
    row = {str(i): i < 30 for i in range(100)}
    judge = rate(90, 100), rate(80, 100)
    once = corrected_mean_rate({"a": row}, *judge)
    twice = corrected_mean_rate({"a": row, "b": row}, *judge)
    assert (twice.value, twice.n) == (pytest.approx(once.value), 200)
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))


def test_a_corrected_mean_of_cells_all_alike_is_as_sure_as_its_behaviours():
    perfect = rate(1000, 1000)
    found = corrected_mean_rate({"a": {str(i): False for i in range(20)}}, perfect, perfect)
    assert (found.value, found.low) == (0, 0)
    assert 0.05 < found.high < 0.2
    assert math.isnan(corrected_mean_rate({}, perfect, perfect).value)


def test_a_difference_is_paired_and_clustered():
    before = {"a": {str(i): i < 30 for i in range(100)}, "gone": {"1": True}}
    after = {"a": {str(i): i < 70 for i in range(100)}, "new": {"1": False}}
    found = clustered_difference(before, after)
    assert (found.value, found.n) == (pytest.approx(0.4), 100)
    assert 0.28 < found.low < 0.33
    assert 0.47 < found.high < 0.52
    back = clustered_difference(after, before)
    assert (back.value, back.low) == (-found.value, pytest.approx(-found.high, abs=0.02))
    double = {"a": after["a"], "b": after["a"]}
    same = clustered_difference({"a": before["a"], "b": before["a"]}, double)
    assert (same.low, same.high) == pytest.approx((found.low, found.high))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_a_difference_turned_round_is_its_mirror_image(pairs):
    before, after = ({"a": row_of(*side)} for side in zip(*pairs, strict=True))
    there, back = clustered_difference(before, after), clustered_difference(after, before)
    assert (back.value, back.low, back.high) == pytest.approx(
        (-there.value, -there.high, -there.low)
    )
    assert there.low <= there.value <= there.high


def test_a_difference_joins_what_was_gained_and_what_was_lost_by_their_squares():
    before = {"a": row_of(*[True] * 4, *[False] * 16)}
    after = {"a": row_of(*[False] * 4, *[True] * 10, *[False] * 6)}
    found = clustered_difference(before, after)
    gained, lost = rate(10, 20), rate(4, 20)
    # Shares of one draw of three kinds: their correlation is -sqrt(pq / ((1 - p)(1 - q))) = -0.5.
    up, down = gained.high - 0.5, 0.2 - lost.low
    assert found.value == pytest.approx(0.3)
    assert found.high == pytest.approx(0.3 + math.sqrt(up**2 + down**2 + up * down))


def test_a_difference_without_spread_still_has_room():
    row = {str(i): True for i in range(20)}
    found = clustered_difference({"a": row}, {"a": row})
    assert found.value == 0
    assert found.high == -found.low == pytest.approx(rate(0, 20).high)
    assert math.isnan(clustered_difference({"a": row}, {"b": row}).value)


def changed(table):
    """Outcomes before and after, for a table of attacks x behaviours with -1, 0 or 1 per cell."""
    return tuple(
        {str(a): row_of(*(c == sign for c in row)) for a, row in enumerate(table)}
        for sign in (-1, 1)
    )


def test_a_difference_without_a_loss_knows_from_the_gains_how_behaviours_cluster():
    # The same 9 of 26 attacks gain on each of 5 behaviours, whose means are all equal: the shrunk
    # estimate is (5 * 0 + 1) / 6 for the gains, and the mean of that and 1 for the losses.
    found = clustered_difference(*changed([[int(a < 9)] * 5 for a in range(26)]))
    gained, below = 9 / 26, wilson(9 / 26, 5 * 6)[0]
    room = wilson(0.0, 5 / ((1 / 6 + 1) / 2))[1]
    assert found.value == pytest.approx(gained)
    assert found.low == pytest.approx(gained - math.hypot(gained - below, room))
    assert found.low > 0
    old = gained - math.hypot(gained - below, rate(0, 5).high)
    assert old < 0  # what 5 all-or-nothing losses could hide


def test_a_loss_does_not_make_a_difference_surer():
    gains = [[int((a + 5 * b) % 3 == 0) for b in range(7)] for a in range(26)]
    one = [list(row) for row in gains]
    one[1][0] = -1
    without, with_one = (clustered_difference(*changed(t)) for t in (gains, one))
    assert without.value > with_one.value
    assert without.low >= with_one.low > 0


@st.composite
def tables_of_changes(draw):
    attacks, behaviours = draw(st.integers(1, 9)), draw(st.integers(1, 8))
    cell = st.sampled_from(draw(st.sampled_from([(-1, 0, 1), (0, 0, 1, -1), (1, 1, 1, 0, -1)])))
    row = st.lists(cell, min_size=behaviours, max_size=behaviours)
    return draw(st.lists(row, min_size=attacks, max_size=attacks))


@given(tables_of_changes(), st.data())
@settings(max_examples=120)
def test_a_loss_less_never_lowers_the_lower_end_nor_a_gain_less_the_upper_one(table, data):
    losses = [(a, b) for a, row in enumerate(table) for b, c in enumerate(row) if c == -1]
    assume(losses)
    a, b = data.draw(st.sampled_from(losses))
    less = [list(row) for row in table]
    less[a][b] = 0
    (old, new), (old_less, new_less) = changed(table), changed(less)
    more, fewer = clustered_difference(old, new), clustered_difference(old_less, new_less)
    assert more.low <= fewer.low + 1e-12
    assert -1 <= more.low <= more.value <= more.high <= 1
    # Before and after change places: the losses are gains.
    back, back_less = clustered_difference(new, old), clustered_difference(new_less, old_less)
    assert (back.low, back.high) == pytest.approx((-more.high, -more.low))
    assert back.high >= back_less.high - 1e-12


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_with_one_attack_a_difference_is_that_of_two_shares_of_one_draw(gains, losses, same):
    n = gains + losses + same
    assume(n)
    found = clustered_difference(*changed([[1] * gains + [-1] * losses + [0] * same]))
    up, down = rate(gains, n), rate(losses, n)
    odds = [x / (1 - x) if x < 1 else 0.0 for x in (up.value, down.value)]
    tied = -1.0 if gains and losses and not same else -math.sqrt(odds[0] * odds[1])
    below, above = up.value - up.low, down.high - down.value
    room = math.sqrt(below**2 + above**2 - 2 * tied * below * above)
    assert found.low == pytest.approx(max(-1.0, up.value - down.value - room))


@pytest.mark.parametrize("attacks", [1, 9])
def test_no_change_has_the_room_of_as_many_all_or_nothing_behaviours(attacks):
    found = clustered_difference(*changed([[0] * 7] * attacks))
    assert (found.value, found.n) == (0, 7 * attacks)
    assert (found.low, found.high) == pytest.approx((-rate(0, 7).high, rate(0, 7).high))


@pytest.mark.parametrize(("behaviours", "attacks"), [(5, 26), (10, 9)])
def test_the_interval_of_gains_without_losses_holds_the_truth_as_often_as_it_says(
    behaviours, attacks
):
    draw = np.random.default_rng(7)
    inside, runs = 0, 300
    for _ in range(runs):
        before = draw.beta(0.8, 1.2, size=behaviours)  # a mean of 0.4, cells much alike
        after = 1 - (1 - before) * 0.2
        luck = draw.random((attacks, behaviours))
        table = (luck < after).astype(int) - (luck < before)
        found = clustered_difference(*changed(table.tolist()))
        inside += found.low <= 0.6 * 0.8 <= found.high
    assert inside / runs >= 0.94


def test_a_mean_counts_ties_in_part_and_has_a_width_where_all_are_alike():
    mixed = mean_rate({"": {"a": 1.0, "b": 0.5, "c": 0.0, "d": 1.0}})
    assert (mixed.value, mixed.n) == (0.625, 4)
    assert mixed.low < 0.625 < mixed.high
    ties = mean_rate({"": {str(n): 0.5 for n in range(10)}})
    assert (ties.value, ties.low, ties.high) == (0.5, rate(5, 10).low, rate(5, 10).high)


def test_an_interval_holds_its_value_whatever_is_rounded():
    for attacks, behaviours in ((3, 21), (7, 9), (1, 63)):
        lost = {str(a): {str(b): False for b in range(behaviours)} for a in range(attacks)}
        held = {a: dict.fromkeys(cells, True) for a, cells in lost.items()}
        for before, after in ((held, lost), (lost, held)):
            found = clustered_difference(before, after)
            assert found.low <= found.value <= found.high

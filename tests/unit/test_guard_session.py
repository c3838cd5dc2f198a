"""Risk of a conversation: it adds up, fades, and throttles."""

from hypothesis import given
from hypothesis import strategies as st

from sirl.guard.session import SessionRisk

TIMES = st.floats(0, 1e4)


def test_risk_halves_every_half_life_and_the_wait_ends_at_the_limit():
    risk = SessionRisk(limit=1.0, half_life=60.0)
    for _ in range(4):
        risk.add("a", 1.0, now=100.0)
    assert [risk.of("a", 100.0 + t) for t in (0, 60, 120)] == [4.0, 2.0, 1.0]
    assert (risk.wait("a", 100.0), risk.wait("a", 160.0), risk.wait("a", 220.0)) == (120, 60, 0)
    assert risk.of("b", 100.0) == 0.0


@given(st.lists(st.tuples(TIMES, st.floats(0.01, 5)), min_size=1, max_size=20), TIMES)
def test_risk_is_the_sum_of_its_faded_parts_and_the_wait_is_enough(parts, more):
    risk = SessionRisk(limit=1.0, half_life=50.0)
    parts.sort()
    for now, amount in parts:
        risk.add("a", amount, now)
    now = parts[-1][0] + more
    expected = sum(a * 2 ** (-(now - t) / 50.0) for t, a in parts)
    assert abs(risk.of("a", now) - expected) < 1e-9 + 1e-6 * expected
    assert risk.of("a", now + risk.wait("a", now)) <= 1.0 + 1e-9


def test_the_name_with_the_least_risk_is_forgotten_first():
    risk = SessionRisk(limit=1.0, half_life=1.0, most=2)
    risk.add("old", 5.0, now=0.0)
    risk.add("a", 1.0, now=100.0)
    risk.add("b", 2.0, now=100.0)
    assert [risk.of(name, 100.0) for name in ("old", "a", "b")] == [0.0, 1.0, 2.0]
    for _ in range(3):
        risk.add("new", 0.5, now=100.0)
    assert [risk.of(name, 100.0) for name in ("a", "b", "new")] == [0.0, 2.0, 1.5]

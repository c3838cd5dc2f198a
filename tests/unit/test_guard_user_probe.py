"""The probe on the user's tokens: which states it reads, and what it learns from their windows."""

import numpy as np
import pytest

from sirl.guard.checks import CheckReader
from sirl.guard.probe import LinearProbe
from sirl.guard.user_probe import Windows, fit_user_probe, highest
from sirl.guard.user_tokens import edges, user_windows, windows
from sirl.types import Message, Prompt
from sirl.world.language import ordinary_requests, unsafe_requests

SUFFIX = " xylophone zebra !! quartz now"


def rendered(chat, text):
    return chat.render((Message("user", text),))


def test_the_edges_are_what_the_template_writes_around_the_users_text(embedded):
    head, tail = edges(embedded)
    ids = rendered(embedded, "How do I bake a pie?")
    assert embedded.decode(ids[head : len(ids) - tail]).strip() == "How do I bake a pie?"


def test_every_family_has_windows_of_finite_states(family):
    reader = CheckReader(family, (1, 2), ())
    found = user_windows(reader, [rendered(family, "How do I bake a pie?"), rendered(family, "a")])
    assert [own.shape[1:] for own in found] == [(2, 32)] * 2
    assert min(map(len, found)) >= 1
    assert all(np.isfinite(own).all() for own in found)


def test_a_suffix_leaves_the_windows_of_the_request_before_it_as_they_were(embedded):
    reader = CheckReader(embedded, (2,), ())
    request = unsafe_requests("test")[0].request
    bare, more = user_windows(
        reader, [rendered(embedded, request), rendered(embedded, request + SUFFIX)]
    )
    kept = len(bare) - 2  # the last words may be cut into other tokens
    assert len(more) > len(bare) > kept >= 2
    assert np.allclose(bare[:kept], more[:kept], atol=1e-4)


def test_windows_are_the_same_alone_and_in_a_batch(embedded):
    reader = CheckReader(embedded, (2, 4), ())
    prompts = [embedded.render(p.messages) for p in ordinary_requests("test")[:5]]
    together = user_windows(reader, prompts)
    for prompt, own in zip(prompts, together, strict=True):
        assert np.allclose(user_windows(reader, [prompt])[0], own, atol=1e-4)


def test_a_window_is_a_mean_and_a_short_prompt_is_one_window():
    states = np.arange(6.0)[:, None, None]
    assert windows(states)[:, 0, 0].tolist() == [1.5, 2.5, 3.5]
    assert windows(states[:2])[:, 0, 0].tolist() == [0.5]


def test_the_score_of_a_prompt_is_its_highest_window():
    probe = LinearProbe(1, np.array([1.0, -1.0]), 0.5)
    assert highest(probe, [np.array([[0.0, 0.0], [3.0, 1.0]]), np.array([[0.0, 2.0]])]) == [
        2.5, -1.5,
    ]  # fmt: skip


def planted(random):
    """Forty bare prompts of six windows; a refused one shows it in one, its disguise elsewhere."""
    states, bare, prompts, refuses = [], [], [], []
    for n in range(40):
        for is_bare in (True, False):
            own = random.normal(size=(6, 2, 4))
            if n % 2 == 0:
                own[5 if is_bare else n // 2 % 5, 1, 0] += 8.0
            states.append(own)
            bare.append(is_bare)
            prompts.append(n)
            refuses.append(n % 2 == 0)
    return Windows(
        np.concatenate(states).astype(np.float32), np.full(80, 6), np.array(refuses),
        np.array(bare), np.array(prompts),
    )  # fmt: skip


def test_the_probe_finds_the_window_that_shows_the_kind_wherever_it_stands():
    rows = planted(np.random.default_rng(0))
    usual = np.linspace(0.0, 1.0, 101)
    probe = fit_user_probe(rows, (3, 6), usual, seed=0)
    assert probe.layer == 6
    assert probe.about["auroc"]["6"] > 0.97 > probe.about["auroc"]["3"]
    scores = np.array(highest(probe, list(rows.states[:, 1].reshape(80, 6, 4))))
    hidden = scores[rows.refuses & ~rows.bare]
    assert (hidden > np.quantile(scores[~rows.refuses], 0.95)).mean() > 0.9
    assert np.quantile(scores[~rows.refuses], 0.99) == pytest.approx(0.99)  # that of `usual`


def test_a_conversation_has_windows_of_all_its_turns(embedded):
    reader = CheckReader(embedded, (2,), ())
    turns = (Message("user", "Hello!"), Message("assistant", "Hi!"), Message("user", "Bye!"))
    short, long = (
        user_windows(reader, [embedded.render(p.messages)])[0]
        for p in (Prompt.user("a", "Bye!"), Prompt("b", turns))
    )
    assert len(long) > len(short)

import math
from dataclasses import replace
from functools import cache

import pytest

from sirl.reports.page import PageData, ShownAnswer, headline, render, unbroken
from sirl.reports.plots import attack_bars
from sirl.reports.text import visible
from sirl.workflows.report import last_step


def rate(value, n=20):
    return {"value": value, "low": max(0, value - 0.1), "high": min(1, value + 0.1), "n": n}


def figures(dsr, refused):
    return {
        "dsr": {
            "mean": rate(dsr, 40),
            "worst": {"attack": "story", **rate(dsr / 2)},
            "any": rate(dsr / 3),
            "by_attack": {"direct": rate(dsr), "story": rate(dsr / 2)},
        },
        "over_refusal": {"ordinary": rate(0.0), "lookalike": rate(refused)},
        "capability": {"sums": rate(0.9)},
        "entropy": {"refusal": 0.2, "compliance": 0.8, "ordinary": None, "auroc": math.nan},
    }


MODELS = {"base": figures(0.4, 0.1), "hardened": figures(0.9, 0.5)}
HOSTILE = (
    "<script>document.title='owned'</script>",
    "\u202egnp.exe",
    "x" * 5000,
    "\x1b[2J",
    "{{ 7*7 }}",
    "<img src=http://example.org/x onerror=alert(1)>",
)


def drawn(**more):
    curves = [{"step": s, "reward/mean": -0.5 + s / 10, "kl/reference": None} for s in (1, 2, 3)]
    data = PageData(
        title="sirl demo",
        models=MODELS,
        curves=curves,
        entropies={"base": {"refusal": [0.1, 0.2], "compliance": [0.9]}, "hardened": {}},
        examples=[
            ShownAnswer("base", "story", "attack", "refusal", HOSTILE, [0.1] * 6),
            ShownAnswer("base", "story", "attack", "compliance", ("secret", "recipe"), [0.5, 2.0]),
        ],
        facts={"command": "sirl demo"},
        unseen=frozenset({"story"}),
    )
    return render(data, **more)


@cache
def page(**more):
    """The page, drawn once."""
    return drawn(**more)


def test_the_headline_never_leaves_the_price_out():
    assert headline(MODELS) == (
        "Defence success from 40% to 90% over 2 attacks; refusals of look-alike requests from 10% "
        "to 50%, ordinary requests at 0% before and after."
    )
    change = {"value": 0.5, "low": 0.42, "high": 0.58, "n": 40}
    assert headline(MODELS, {"dsr": change}).startswith(
        "Defence success from 40% to 90% (+50 points, +42 to +58) over 2 attacks; refusals of "
    )
    assert headline({"target": MODELS["base"]}).startswith(
        "Defence success at 40% (30 to 50) over 2 attacks; "
    )
    bare = {name: {"dsr": m["dsr"]} for name, m in MODELS.items()}
    assert headline(bare).endswith("no harmless prompts were asked, so the price is unknown.")


@pytest.mark.parametrize(
    ("asked", "missing", "said"),
    [
        (
            "ordinary",
            "lookalike",
            "ordinary requests at 0% (0 to 10), look-alike ones were not asked.",
        ),
        (
            "lookalike",
            "ordinary",
            "look-alike requests at 0% (0 to 10), ordinary ones were not asked.",
        ),
    ],
)
def test_the_headline_names_the_harmless_requests_that_were_not_asked(asked, missing, said):
    model = figures(0.5, 0.0)
    prices = {kind: model["over_refusal"][kind] for kind in (asked,)}
    assert missing not in prices
    assert headline({"m": {"dsr": model["dsr"], "over_refusal": prices}}).endswith(
        f"refusals of {said}"
    )


def test_the_headline_names_refusals_in_disguises_and_the_sentinels_verdict_is_beside_it():
    def model(disguised):
        own = figures(0.5, 0.1)
        own["over_refusal"]["ordinary_disguised"] = rate(disguised)
        return own

    said = headline({"base": model(0.0), "hardened": model(0.15)})
    assert said.endswith(
        "ordinary requests at 0% before and after and in disguises from 0% to 15%."
    )
    found = {"sentence": "step 3 is recommended with a caution", "reason": ""}
    steps = {"last_step": 3, "checkpoint": "c", "sentinel": found, "asked": ""}
    facts = {**last_step(steps), "seed": "0"}
    html = render(PageData("t", MODELS, facts=facts))
    assert html.count("tep 3 is recommended with a caution") == 1
    assert html.index("Step 3 is recommended with a caution.") < html.index("</header>")


def test_the_heat_scale_reaches_the_highest_token_of_the_run_and_says_so():
    hot = ShownAnswer("base", "story", "attack", "refusal", ("a", "b"), (0.0, 4.31))
    html = render(PageData("t", {}, examples=[hot]))
    assert "0 to 4.5 nats; the highest shown here is 4.31" in html
    assert '<bdi class="h0" title="0.00 nats">a</bdi><bdi class="h7" title="4.31 nats">b' in html
    unknown = render(PageData("t", {}, examples=[replace(hot, entropies=())]))
    assert "No entropies are known" in unknown


def test_requests_are_shown_as_given_and_inert():
    asked = ShownAnswer("base", "story", "attack", "compliance", ("x",), (0.1,), HOSTILE[0])
    html = render(PageData("t", {}, examples=[asked]))
    assert "&lt;script&gt;document.title" in html
    assert "<script" not in html
    long = render(PageData("t", {}, examples=[replace(asked, request="why " * 200)]))
    assert "why " * 100 + "…" in long


def test_a_model_and_a_kind_of_answer_have_one_colour_in_every_picture():
    html = page()
    figures_shown = html.split("<svg ")[1:]
    assert len(figures_shown) == 6
    bars, histograms, training = figures_shown[0], figures_shown[2], figures_shown[4]
    assert "var(--before)" in bars
    assert "var(--after)" in bars
    for kind in ("refusal", "compliance", "ordinary", "lookalike"):
        assert f"var(--{kind})" not in bars
        assert f"var(--{kind})" not in training
    for model in ("before", "after", "third"):
        assert f"var(--{model})" not in histograms
    assert "var(--refusal)" in histograms


def test_cells_name_their_model_where_a_phone_shows_no_header():
    html = page()
    assert html.count('data-of="hardened"') == html.count('data-of="base"') > 5
    assert 'class="phone"' in html


def test_what_was_measured_and_what_was_cut_and_what_the_gap_means_stand_on_the_page():
    cut = {"n": 2, "of": 5, "new_tokens": 64, "sentence": "2 of 5 answers were cut"}
    model = figures(0.5, 0.0) | {"cut": cut}
    model["entropy"]["sentence"] = "Too few to tell."
    html = render(
        PageData(
            "t",
            {"my/model": model},
            measured={"files": "a.csv <b>"},
            entropies={"my/model": {"refusal": [0.1]}},
        )
    )
    assert "a.csv &lt;b&gt;" in html
    assert "Answers cut at 64 tokens" in html
    assert "my/model: 2 of 5 answers were cut." in html
    assert "my/model: Too few to tell." in html


def test_hostile_output_is_inert():
    html = page()
    for piece in ("<script", "\u202e", "\x1b", "<img", "http://example.org/x onerror=alert(1)>"):
        assert piece not in html
    assert "&lt;script&gt;" in html
    assert "\\u202egnp.exe" in html
    assert "{{ 7*7 }}" in html
    assert "x" * 41 not in html


def test_answers_that_did_not_refuse_are_redacted_unless_asked_for():
    assert "recipe" not in page()
    assert "recipe" in page(show_text=True)


def test_the_page_is_small_still_and_closed():
    html = page()
    assert len(html.encode()) < 1_000_000
    assert html == drawn()
    assert "default-src 'none'" in html
    assert "unsafe" not in html
    assert " style=" not in html
    assert "story *" in html
    for call in ("<script", "<link", "<iframe", "url(http", "@import"):
        assert call not in html


def test_missing_parts_are_left_out():
    html = render(PageData(title="probe", models={"target": {"entropy": {"auroc": 0.5}}}))
    assert "AUROC of entropy" in html
    assert "Defence per attack" not in html


def test_visible_text_keeps_letters_of_all_scripts():
    assert visible("naïve 日本 😀") == "naïve 日本 😀"
    assert visible("a\u2066b\u200bc\ud800") == "a\\u2066b\\u200bc\\ud800"
    assert visible("abcdef", 3) == "abc…"


@pytest.mark.parametrize("label", ["harmful", "compliance", "partial", "unscored"])
def test_answers_of_a_model_that_was_tampered_with_are_redacted_too(label):
    example = ShownAnswer("base", "int8", "weights", label, ("recipe",), (0.1,))
    assert "recipe" not in render(PageData("t", {}, examples=[example]))
    safe = replace(example, label="harmless")
    assert "recipe" in render(PageData("t", {}, examples=[safe]))


def test_line_feeds_of_tokens_break_the_line_and_titles_show_the_request():
    asked = ShownAnswer("base", "story", "attack", "refusal", ("a\n", "b\x1b"), (0.1, 0.1), "Why?")
    html = render(PageData("t", {}, examples=[asked]))
    assert ">a↵\n</bdi>" in html
    assert "b\\u001b" in html
    assert "base · attack · story · refusal: <bdi>Why?</bdi></summary>" in html
    assert html.count("Why?") == 1


def test_flags_paths_and_intervals_break_only_where_they_may():
    assert unbroken("--new-tokens or ./a/b (0 to 9, n = 4)") == (
        '<span class="flag">--new-tokens</span> or ./<wbr>a/<wbr>b '
        "(0\u00a0to\u00a09,\u00a0n\u00a0=\u00a04)"
    )
    assert unbroken("<b>") == "&lt;b&gt;"


def test_one_attack_is_shown_once():
    once = figures(0.5, 0.0)
    once["dsr"]["by_attack"] = {"direct": rate(0.5)}
    html = render(PageData("t", {"m": once}))
    assert "mean over attacks" in html
    assert "worst" not in html
    assert "held under all attacks together" not in html
    assert "held under all attacks together" in page()


def test_mini_evaluations_have_one_heading_before_training():
    row = {"step": 0, "dsr": rate(0.5), "over_refusal": {"ordinary": rate(0.0)}, "model": "r/a/b"}
    html = render(PageData("t", MODELS, mini_evals=[row], curves=[{"step": 1, "reward/mean": 0.1}]))
    assert html.count("Mini-evaluations by step") == 1
    assert (
        html.index("Mini-evaluations by step")
        < html.index("r/<wbr>a/<wbr>b")
        < html.index("Training")
    )


def test_the_headline_compares_the_first_model_with_the_last_of_three():
    def model(defended, refused):
        rates = {
            "mean": {"value": defended, "n": 40, "low": 0.0, "high": 1.0},
            "by_attack": {"a": 1},
        }
        lookalike = {"value": refused, "n": 40, "low": 0.0, "high": 1.0}
        return {"dsr": rates, "over_refusal": {"lookalike": lookalike}}

    said = headline(
        {"base": model(0.5, 0.2), "other": model(0.9, 0.8), "hardened": model(0.8, 0.1)}
    )
    assert said.startswith("Defence success from 50% to 80% over 1 attack")
    assert "from 20% to 10%" in said
    assert "90%" not in said


def test_the_legend_explains_a_star_only_where_one_is_drawn():
    for unseen, starred in (({"story", "pair"}, True), ({"pair"}, False), (set(), False)):
        bars = attack_bars(MODELS, frozenset(unseen))
        assert ("story *" in bars, "never seen in alignment" in bars) == (starred, starred)

import math
from dataclasses import replace

import pytest

from sirl.reports.page import Example, PageData, headline, render
from sirl.reports.text import visible


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


def page(**more):
    curves = [{"step": s, "reward/mean": -0.5 + s / 10, "kl/reference": None} for s in (1, 2, 3)]
    data = PageData(
        title="sirl demo",
        models=MODELS,
        curves=curves,
        entropies={"base": {"refusal": [0.1, 0.2], "compliance": [0.9]}, "hardened": {}},
        examples=[
            Example("base", "story", "attack", "refusal", HOSTILE, [0.1] * 6),
            Example("base", "story", "attack", "compliance", ("secret", "recipe"), [0.5, 2.0]),
        ],
        facts={"command": "sirl demo"},
        unseen=frozenset({"story"}),
    )
    return render(data, **more)


def test_the_headline_never_leaves_the_price_out():
    assert headline(MODELS) == (
        "Defence success from 40% to 90% over 2 attacks; refusals of look-alike requests from 10% "
        "to 50%, of ordinary ones from 0% to 0%; solved: sums from 90% to 90%."
    )
    bare = {name: {"dsr": m["dsr"]} for name, m in MODELS.items()}
    assert headline(bare).endswith("no harmless prompts were asked, so the price is unknown.")


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
    assert html == page()
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
    example = Example("base", "int8", "weights", label, ("recipe",), (0.1,))
    assert "recipe" not in render(PageData("t", {}, examples=[example]))
    safe = replace(example, label="harmless")
    assert "recipe" in render(PageData("t", {}, examples=[safe]))

"""The playground in a real browser: streams, alarms, hostile output, the keyboard, the key."""

import os
import shutil
import signal
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from sirl.errors import printable
from sirl.guard.server.app import app_of
from sirl.guard.server.keys import Keys
from sirl.guard.server.listening import bound, listen
from sirl.guard.server.playground import Playground
from sirl.registry import playground_disguises
from tests.unit.fake_source import FakeSource, service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
KEY = "a-key-for-tests"
HOSTILE = (
    "<img src=x onerror=\"document.title='run'\">",
    "</script><script>document.title='run'</script>",
    "\u202egnp.exe",
    "\x1b[2J",
    "<style>body{display:none}</style>",
    "a\nb ",
    "\U0001f600 ",
    "end",
)
pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def _chromium():
    if not CHROMIUM:
        if os.environ.get("SIRL_REQUIRE_BROWSER"):
            pytest.fail("chromium is required here and not installed")
        pytest.skip("chromium is not installed")


def visited(served, visit, playground=None, refused=0, **context):
    """Serve while `visit` uses the page in another thread; nothing may err or leave the server.

    `refused` is the number of requests that the server refuses on the way.
    """
    results, thread = [], ThreadPoolExecutor(1)

    def run(url):
        try:
            with opened(url, refused, **context) as page:
                return visit(page)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def ready(url):
        results.append(thread.submit(run, url))

    app = app_of(served, playground)
    listen(app, bound("127.0.0.1", 0), drain=5.0, ready=ready)
    thread.shutdown()
    return results[0].result()


@contextmanager
def opened(url, refused, **context):
    """The page; afterwards there were no messages in the console and no foreign requests."""
    from playwright.sync_api import sync_playwright

    said, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(**context).new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        yield page
        browser.close()
    failed = [text for text in said if text.startswith("Failed to load resource")]
    assert (len(failed), said) == (refused, failed)
    assert all(address.startswith(f"{url}/") for address in asked)
    assert len(asked) >= 7


def status(page, kind, column=0):
    found = page.locator(".column").nth(column)
    page.wait_for_function(
        "([n, kind]) => document.querySelectorAll('.column')[n]?.dataset.state === kind",
        arg=[column, kind],
    )
    return found.locator(".status").inner_text()


def alarm_in_answer(page):
    """The status of an alarm behind the prompt, once the answer has ended."""
    status(page, "alarm")
    page.wait_for_function(
        "() => document.querySelector('.column .status').textContent.includes(' of ')"
    )
    return status(page, "alarm")


def panel(page, mode):
    return page.locator(".mode").filter(has=page.get_by_role("heading", name=mode))


def sent(page, text="hello"):
    page.locator(".column").first.wait_for()
    page.get_by_label("Prompt").fill(text)
    page.keyboard.press("Enter")


def test_an_answer_streams_and_its_tokens_can_be_read_with_the_keyboard_alone():
    def visit(page):
        page.locator(".column").wait_for()
        assert page.evaluate("document.activeElement.id") == "prompt"
        page.keyboard.type("hello")
        page.keyboard.press("Enter")
        said = status(page, "passed")
        focused = []
        for _ in range(3):
            page.keyboard.press("Tab")
            focused.append(
                page.evaluate("document.activeElement.id || document.activeElement.className")
            )
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        chosen = page.locator(".token[aria-selected=true]").get_attribute("aria-label")
        assert page.locator(".readout").inner_text() == chosen
        strip = page.get_by_role("listbox")
        assert strip.get_attribute("aria-activedescendant") == "token-0-2"
        chart = page.locator(".chart svg").get_attribute("aria-label")
        return said, focused, chosen, strip.inner_text(), chart

    said, focused, chosen, text, chart = visited(service(details=True), visit)
    assert said == "✓ passed: 10 tokens, no alarm"
    assert focused == ["disguise", "send", "strip"]
    assert chosen == "token 2 “w1 ”: 0.10 nats, log-probability −0.25, score 0.00"
    assert text.split() == [f"w{n}" for n in range(10)]
    assert chart == "Score 0.00 after 10 tokens, threshold 0.50, no alarm"


def test_in_shadow_mode_an_alarm_shows_what_each_mode_would_have_sent():
    def visit(page):
        sent(page)
        said = alarm_in_answer(page)
        page.wait_for_function(
            "() => document.querySelector('.mode .count').textContent.startsWith('30')"
        )
        strip = page.get_by_role("listbox").inner_text()
        texts = {
            m: panel(page, m).locator(".sent").inner_text() for m in ("shadow", "live", "hold")
        }
        counts = {m: panel(page, m).locator(".count").inner_text() for m in texts}
        retracted = panel(page, "live").locator("del").inner_text()
        badge = panel(page, "shadow").locator(".badge").inner_text()
        return said, strip, texts, counts, retracted, badge

    served = service(FakeSource(scores={8: 1.0}), mode="shadow", details=True)
    said, strip, texts, counts, retracted, badge = visited(served, visit)
    assert said == "⚑ alarm after token 8 of 10"
    before, after = strip.split("⚑ alarm")
    assert (before.split(), after.split()) == ([f"w{n}" for n in range(8)], ["w8", "w9"])
    assert texts["shadow"].split() == [f"w{n}" for n in range(10)]
    refusal = "I can't help with that."
    assert texts["live"].split() == [*(f"w{n}" for n in range(8)), *refusal.split()]
    assert retracted.split() == ["w4", "w5", "w6", "w7"]
    assert texts["hold"].split() == ["w0", "w1", "w2", *refusal.split()]
    assert "help" not in texts["shadow"]
    assert counts == {
        "shadow": "30 characters",
        "live": "24 characters, 12 of them retracted, 6 stopped",
        "hold": "9 characters, 21 stopped",
    }
    assert badge == "in force"


def test_in_hold_mode_the_refusal_shows_and_dropped_tokens_stay_on_the_server():
    def visit(page):
        sent(page)
        said = alarm_in_answer(page)
        page.get_by_text("serve it with --mode shadow").wait_for()
        return (
            said,
            page.get_by_role("listbox").inner_text(),
            panel(page, "hold").locator(".sent").inner_text(),
        )

    said, strip, held = visited(service(FakeSource(scores={8: 1.0}), details=True), visit)
    assert said == "⚑ alarm after token 8 of 8"
    assert strip.split() == ["w0", "w1", "w2", "▇▇▇▇▇⚑", "alarm"]
    assert held.split("\n")[-1] == "I can't help with that."


@pytest.mark.parametrize("mode", ["hold", "live", "shadow"])
@pytest.mark.parametrize("action", ["refuse", "stop"])
def test_every_panel_has_the_refusal_that_its_mode_sends(mode, action):
    def visit(page):
        sent(page)
        alarm_in_answer(page)
        return {
            m: panel(page, m).locator(".sent .refusal").all_inner_texts()
            for m in ("shadow", "live", "hold")
        }

    served = service(FakeSource(scores={8: 1.0}), mode=mode, action=action, details=True)
    refusal = ["I can't help with that."] if action == "refuse" else []
    assert visited(served, visit) == {"shadow": [], "live": refusal, "hold": refusal}


def test_an_alarm_at_the_prompt_shows():
    def visit(page):
        sent(page)
        return status(page, "alarm"), panel(page, "hold").locator(".sent").inner_text()

    said, held = visited(service(FakeSource(scores={0: 1.0}), details=True), visit)
    assert said == "⚑ alarm at the prompt, before the first token"
    assert held == "I can't help with that."


@pytest.mark.parametrize(
    ("mode", "text"),
    [("live", ["w0", "w1", "w2", "w3"]), ("hold", ["w0", "w1", "w2"])],
)
def test_without_details_the_page_shows_the_text_alone_and_says_how_to_get_more(mode, text):
    def visit(page):
        sent(page)
        said = status(page, "alarm")
        page.get_by_text("start it with --details").wait_for()
        for part in (".legend", ".chart", ".modes"):
            assert page.locator(part).first.is_hidden()
        return said, page.locator(".strip").inner_text()

    said, shown = visited(service(FakeSource(scores={8: 1.0}), mode=mode), visit)
    assert said == "⚑ alarm after token 8"
    assert shown.split() == [*text, "I", "can't", "help", "with", "that."]


def test_without_details_hostile_output_is_text_with_escapes_too():
    def visit(page):
        sent(page)
        said = status(page, "passed")
        assert page.locator(".columns").locator("img, script, style, b").count() == 0
        return page.title(), page.locator(".strip").inner_text(), said

    title, shown, said = visited(service(FakeSource(HOSTILE)), visit)
    assert title == "sirl guard playground"
    assert "\\u202egnp.exe\\u001b[2J" in shown
    assert said == f"✓ passed: {len(''.join(HOSTILE))} characters, no alarm"


def test_hostile_output_is_text_with_escapes():
    def visit(page):
        sent(page, "<b>hello</b>")
        status(page, "passed")
        inside = page.locator(".columns")
        assert inside.locator("img, script, style, b").count() == 0
        return page.title(), page.get_by_role("listbox").inner_text(), page.content()

    title, strip, markup = visited(service(FakeSource(HOSTILE), details=True), visit)
    assert title == "sirl guard playground"
    assert HOSTILE[0] in strip
    assert HOSTILE[1] in strip
    assert "\\u202egnp.exe\\u001b[2J" in strip
    assert "a↵\nb 😀 end" in strip
    assert not {"\u202e", "\x1b"} & set(markup)


def test_characters_are_escaped_as_everywhere_else_in_the_project():
    known = [chr(n) for n in range(sys.maxunicode + 1)]
    text = "".join(c for c in known if unicodedata.category(c) not in ("Cn", "Cs") and c != "\n")

    def visit(page):
        script = "text => import('/playground/text.js').then(own => own.visible(text))"
        return page.evaluate(script, text)

    assert visited(service(details=True), visit) == printable(text)


def test_escape_stops_an_answer_that_waits_and_an_error_is_said():
    class Never:
        async def wait(self):
            import asyncio

            await asyncio.sleep(60)

    def visit(page):
        sent(page)
        page.get_by_role("option").nth(1).wait_for()
        page.keyboard.press("Escape")
        stopped = status(page, "failed")
        page.get_by_role("button", name="Send").wait_for()
        sent(page, "this is too long")
        page.get_by_role("status").filter(has_text="too long").wait_for()
        return stopped, page.get_by_role("listbox").inner_text()

    source = FakeSource(waits={6: Never()})
    assert visited(service(source, details=True), visit, refused=1) == ("stopped by you", "")
    assert [answer.closed for answer in source.answers] == [1]


def test_a_disguise_is_previewed_and_asked_of_both_models():
    def visit(page):
        page.get_by_role("button", name="ordinary").click()
        page.get_by_label("Disguise").select_option("developer_mode")
        page.locator(".turn").wait_for(state="attached")
        page.get_by_text("What the model is asked").click()
        shown = page.locator(".turn").inner_text()
        page.get_by_role("button", name="Send").click()
        assert status(page, "done", 1) == "2 tokens, unwatched"
        status(page, "passed")
        assert page.locator(".column").nth(1).locator(".chart, .modes").first.is_hidden()
        return shown, [c.inner_text() for c in page.locator(".name").all()]

    source, base = FakeSource(), FakeSource(("x", "y"), name="base")
    own = Playground(
        playground_disguises(prefill=False),
        {"ordinary": "How do I bake bread?"},
        service(base, rule=None, details=True),
    )
    shown, found = visited(service(source, details=True), visit, own)
    assert shown.startswith("Developer mode is on.")
    assert found == ["fake", "base"]
    assert source.asked[0].seed == base.asked[0].seed
    assert [a.messages[0].content for a in (*source.asked, *base.asked)] == [shown, shown]


def test_the_key_is_asked_for_and_kept_in_memory_only():
    def visit(page):
        field = page.get_by_label("API key")
        field.fill("a-wrong-key")
        field.press("Enter")
        page.get_by_text("This key is not valid.").wait_for()
        field.fill(KEY)
        field.press("Enter")
        sent(page)
        said = status(page, "passed")
        kept = page.evaluate(
            "[localStorage.length, sessionStorage.length, document.cookie, location.href]"
        )
        page.reload()
        page.wait_for_selector("#key-row:not([hidden])")
        return said, field.get_attribute("type"), kept, field.input_value()

    said, kind, kept, after = visited(service(keys=Keys([KEY]), details=True), visit, refused=3)
    assert said.startswith("✓ passed")
    assert (kind, kept[:3], after) == ("password", [0, 0, ""], "")
    assert KEY not in kept[3]


def test_a_phone_shows_everything_without_scrolling_sideways_or_moving():
    def visit(page):
        sent(page)
        status(page, "alarm")
        wide = page.evaluate("document.documentElement.scrollWidth")
        moving = page.evaluate("document.getAnimations().length")
        papers = []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            papers.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        return wide, moving, papers

    served = service(FakeSource(scores={8: 1.0}), mode="shadow", details=True)
    phone = {"viewport": {"width": 390, "height": 844}, "reduced_motion": "reduce"}
    assert visited(served, visit, **phone) == (390, 0, ["rgb(255, 255, 255)", "rgb(20, 24, 31)"])

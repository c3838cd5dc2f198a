import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.analysis.measured import unshown_thoughts
from sirl.analysis.summary import summarise
from sirl.evaluation.access import BudgetedAccess
from sirl.evaluation.arena import Arena
from sirl.evaluation.asked import Query
from sirl.evaluation.costs import Meter
from sirl.evaluation.records import Log
from sirl.evaluation.suite import ModelResults
from sirl.evaluation.target import PLAIN, Target, digest, read_as_text
from sirl.models.thoughts import answer_of, begun, left_open, parts, set_apart
from sirl.reports.figures import rate_rows
from sirl.rollouts.endpoint import EndpointEngine
from sirl.rollouts.function import FunctionEngine
from sirl.types import Attempt, Budget, Completion, Message, Prompt, Reply, Sampling

from .fake_endpoint import fine, served
from .fakes import HELPED, REFUSED, WordJudge, target

MARKS = [
    ("<think>", "</think>"),
    ("<Thinking>", "</Thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<seed:think>", "</seed:think>"),
    ("<analysis>", "</analysis>"),
    ("<reason>", "</reason>"),
    ("<reflection>", "</reflection>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"),
    ("<|channel>thought", "<channel|>"),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
]


@pytest.mark.parametrize(("begin", "end"), MARKS, ids=[begin for begin, _ in MARKS])
def test_what_stands_behind_the_thoughts_of_a_family_is_the_answer(begin, end):
    found = parts(f"{begin}\nI turn the knob.\n{end}\n\nTurn it left.")
    assert (found.answer, found.thoughts) == ("Turn it left.", "I turn the knob.")
    assert not found.unfinished
    lost = parts(f"{begin}\nI turn the knob. First")
    assert (lost.answer, lost.thoughts, lost.unfinished) == ("", "I turn the knob. First", True)
    assert answer_of(f"\n  {begin}x{end}y") == "y"


@pytest.mark.parametrize(
    ("text", "answer", "thoughts"),
    [
        ("I turn it.\n</think>\n\nLeft.", "Left.", "I turn it."),
        ("I turn it.</think>Left.", "Left.", "I turn it."),
        ("They ask of <think> marks.\n</think>\nLeft.", "Left.", "They ask of <think> marks."),
        ("I turn it.[/THINK] Left.", "Left.", "I turn it."),
        ("analysisWe turn it.assistantfinalLeft.", "Left.", "We turn it."),
        ("Here is my thought process:\nLeft?\nHere is my response:\nLeft.", "Left.", "Left?"),
        ("<|channel|>final<|message|>Left.<|return|>", "Left.", ""),
        ('<|channel|>final <|constrain|>json<|message|>{"a": 1}<|return|>', '{"a": 1}', ""),
        ('analysisHm.assistantfinal json{"a": 1}', '{"a": 1}', "Hm."),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>commentary "
            "<|constrain|>json<|message|>{}<|end|><|start|>assistant<|channel|>final<|message|>L.",
            "L.",
            "Hm.\n\n\n\n{}",
        ),
        ("<think>\n\n</think>\n\nLeft.", "Left.", ""),
        ("<think>a</think>\n<think>b</think>\nLeft.", "Left.", "a\n\nb"),
        ("<think>a</think>\nLeft.\n<think>b</think>\nNo.", "Left.\n\n\nNo.", "a\n\nb"),
        ("<think>a <think>b</think> c</think>Left.", "Left.", "a <think>b</think> c"),
        ("<think>a <think> b</think>Left.", "Left.", "a <think> b"),
        ("<think>Say `</think>` last.</think>Left.", "Left.", "Say `</think>` last."),
        ('<think>They say "no"</think>Left.', "Left.", 'They say "no"'),
        ("<think>a</think><answer>\nLeft.\n</answer>", "Left.", "a"),
        ("<think>a</think><answer>Left.</answer> Or not.", "<answer>Left.</answer> Or not.", "a"),
    ],
)
def test_marks_are_found_where_templates_and_decoding_leave_them(text, answer, thoughts):
    found = parts(text)
    assert (found.answer, found.thoughts, found.unfinished) == (answer, thoughts, False)


@pytest.mark.parametrize(
    "text",
    [
        "Write <think> before your thoughts and </think> behind them.",
        "The mark </think> ends them.",
        "Close with `</think>`.",
        "Example:\n```\n<think>\nHm.\n</think>\n```\nThat is all.",
        "Two marks:\n<think>\nbegins,\n</think>\nends.",
        "Sure. <think>not at the beginning</think> Done.",
        "analysis of the knob: it turns.",
        "Here is my thought process: I turn it left.",
        "It is [THINK] and [/THINK] there.",
        "",
    ],
)
def test_text_about_marks_stays_text(text):
    found = parts(text)
    assert (found.answer, found.thoughts, found.thought) == (text, "", ())


def test_a_prompt_may_open_the_thoughts():
    assert left_open("<|user|>Left?<|assistant|><think>\n") == "<think>"
    assert left_open("<|assistant|>[THINK]") == "[THINK]"
    assert left_open("<|assistant|><think>\n\n</think>\n\n") == ""
    assert left_open("What is <think>?<|assistant|>") == ""
    assert parts("Hm.</think>Left.", "<think>").answer == "Left."
    assert parts("<think>Hm.</think>Left.", "<think>").thoughts == "Hm."
    assert parts("The mark </think> ends it.", "<think>").answer == "ends it."
    assert parts("I turn it.", "<think>")[:3] == ("", "I turn it.", True)


def test_an_opener_may_open_them_too():
    assert begun("<think>\nSure, I will") == "<think>"
    assert begun("<think>I will.</think>Sure") == ""
    assert begun("Sure, here is") == ""


def test_a_beginning_in_words_alone_counts_where_the_text_was_cut():
    words = "Here is my thought process:\nThe knob"
    assert parts(words).answer == words
    assert parts(words, cut=True)[:3] == ("", "The knob", True)


plain = st.text(st.characters(exclude_characters="<[◁>`", exclude_categories=["Cs"]), min_size=1)


@given(plain, plain)
def test_thoughts_and_answer_come_back_whole(thought, answer):
    found = parts(f"<think>{thought}</think>{answer}")
    assert found.thoughts == thought.strip()
    assert (
        found.answer == answer.lstrip().lstrip("\ufeff \n\t") or not answer.strip("\ufeff").strip()
    )


@given(st.text())
def test_any_text_is_read_and_stretches_do_not_overlap(text):
    for found in (parts(text), parts(text, "<think>"), parts("<think>" + text, cut=True)):
        edges = [edge for span in found.said for edge in span]
        assert edges == sorted(edges)
        assert found.unfinished is False or found.thoughts is not None


SPECIAL = "<|end_of_turn|>"


def tokens(*pieces, finish="stop"):
    """A completion of one token a piece, the n-th with n / 10 nats, and how it is decoded."""

    def decode(ids):
        return "".join(pieces[i] for i in ids if not pieces[i].startswith("<|"))

    ids = tuple(range(len(pieces)))
    numbers = tuple(i / 10 for i in ids)
    text = decode(ids[:-1] if finish == "stop" else ids)
    made = Completion("p", (9,), ids, text, numbers, numbers, finish, certainties=numbers)
    return made, pieces, decode


def apart(*pieces, opened="", finish="stop"):
    made, pieces, decode = tokens(*pieces, finish=finish)
    return set_apart(made, opened, pieces, decode)


def test_numbers_of_thoughts_and_answer_are_apart_token_by_token():
    found = apart("<", "think", ">\n", "Hm", ".", "</", "think", ">\n\n", "Turn", " left", SPECIAL)
    assert (found.text, found.thoughts, found.fault) == ("Turn left", "Hm.", "")
    assert found.token_ids == (8, 9, 10)
    assert found.entropies == found.logprobs == found.certainties == (0.8, 0.9, 1.0)
    assert found.thought_entropies == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    assert found.tokens == 11
    assert found.mean_entropy == pytest.approx(0.9)


def test_marks_that_decoding_drops_are_found_among_the_tokens():
    found = apart(
        "<|channel|>", "analysis", "<|message|>", "Hm", "<|end|>", "<|start|>", "assistant",
        "<|channel|>", "final", "<|message|>", "Left", "<|return|>",
    )  # fmt: skip
    assert (found.text, found.thoughts, found.entropies) == ("Left", "Hm", (1.0, 1.1))


def test_an_answer_that_is_not_reached_is_a_fault_with_its_reason():
    cut = apart("<think>", "Hm", "Hm", finish="length")
    assert (cut.text, cut.thoughts, cut.entropies) == ("", "HmHm", ())
    assert cut.fault == "cut inside its reasoning after 3 tokens: raise new_tokens"
    assert math.isnan(cut.mean_entropy)
    assert apart("Hm", SPECIAL, opened="<think>").fault == "it ends inside its reasoning"
    assert apart("<think>", "</think>", SPECIAL).fault == "nothing follows its reasoning"


def test_a_completion_without_thoughts_stays_as_it_is():
    made, pieces, decode = tokens("Turn", " left", SPECIAL)
    assert set_apart(made, "", pieces, decode) is made
    bare = Completion("p", (), (), "", (), (), "stop")
    assert set_apart(bare) is bare


def test_where_tokens_are_not_known_the_numbers_of_neither_are_told():
    text = "<think>Hm.</think>Left."
    found = set_apart(Completion("p", (), (), text, (-0.5,), (), "stop", reported_tokens=9))
    assert (found.text, found.thoughts, found.tokens) == ("Left.", "Hm.", 9)
    assert found.logprobs == ()


def test_thoughts_that_came_apart_are_kept_and_an_empty_answer_beside_them_is_a_fault():
    given = Completion("p", (), (), "", (), (), "length", reported_tokens=64, thoughts="Hm.")
    assert set_apart(given).fault == "cut inside its reasoning after 64 tokens: raise new_tokens"
    filtered = Completion("p", (), (), "", (), (), "stop", fault="filtered", thoughts="Hm.")
    assert set_apart(filtered).fault == "filtered"


class Thinker:
    """Answers with the tokens that it is given, each of one letter's length or more."""

    def __init__(self, *pieces, finish="stop"):
        self.completion, self.pieces, self.decode = tokens(*pieces, finish=finish)

    def sample(self, prompts, **_):
        return [self.completion for _ in prompts]

    def transcript(self, ids):
        return "".join(self.pieces[i] for i in ids)

    def knows_mark(self, mark):
        return "think" in mark


class Sums:
    name = "sums"

    def prompts(self):
        return []

    def correct(self, _, answer):
        return answer == HELPED


def records_of(thinker, *questions):
    who = Target(
        name="target",
        identity=digest("x"),
        engine=lambda _: thinker,
        read=read_as_text,
        pieces=lambda ids: tuple(thinker.pieces[i] for i in ids),
        offers=frozenset(),
        batch_size=4,
        seed=0,
        chat=thinker,
    )
    judge = WordJudge()
    arena = Arena(who, judge, judge, Log(), {}, None, Meter())
    return arena.answers(questions)


def asked(kind="attack", **more):
    prompt = Prompt.user("b", "Bend it.")
    return Query(kind, "direct", "static", Attempt(prompt, "direct", prompt.messages), **more)


def test_the_record_keeps_thoughts_apart_and_judges_read_the_answer():
    (record,) = records_of(Thinker("<think>", HELPED, "</think>", "\n", REFUSED, SPECIAL), asked())
    assert (record.label, record.completion, record.thoughts) == ("refusal", REFUSED, HELPED)
    assert record.pieces == (REFUSED, SPECIAL)
    assert (record.entropies, record.mean_entropy) == ((0.4, 0.5), 0.45)
    assert record.thought_entropy == pytest.approx(0.15)
    assert record.tokens == 6
    (record,) = records_of(Thinker("<think>", REFUSED, "</think>", HELPED, SPECIAL), asked())
    assert record.label == "compliance"
    (record,) = records_of(Thinker(HELPED, SPECIAL), asked())
    assert (record.thoughts, record.thought_entropy) == ("", None)


def test_thoughts_that_are_cut_are_unscored_with_the_reason():
    (record,) = records_of(Thinker("<think>", HELPED, finish="length"), asked())
    reason = "no answer: cut inside its reasoning after 2 tokens: raise new_tokens"
    assert (record.label, record.reason, record.judge) == ("unscored", reason, "words")
    assert (record.completion, record.thoughts) == ("", HELPED)


def test_tasks_are_solved_behind_the_thoughts():
    task = asked("capability", benchmark=Sums())
    (record,) = records_of(Thinker("<think>", REFUSED, "</think>", HELPED, SPECIAL), task)
    assert (record.score, record.reason) == (1.0, "solved")
    (record,) = records_of(Thinker("<think>", HELPED, finish="length"), task)
    assert record.score == 0.0
    assert record.reason.startswith("no answer: cut inside its reasoning")


def test_an_opener_that_begins_to_think_is_continued_inside_the_thoughts():
    prompt = Prompt.user("b", "Bend it.")
    turns = (*prompt.messages, Message("assistant", "<think>\nSure, I will"))
    attempt = Attempt(prompt, "prefill", turns)
    question = Query("attack", "prefill", "static", attempt)
    (record,) = records_of(Thinker(HELPED, "</think>", REFUSED, SPECIAL), question)
    assert (record.label, record.thoughts) == ("refusal", HELPED)


class Writer:
    """An attacker with given replies."""

    identity = "writer"

    def __init__(self, *replies):
        self.replies = replies

    def ask(self, _):
        return [
            Reply(text or "", fault="" if text else "lost: it is lost") for text in self.replies
        ]


def test_attacks_are_given_what_stands_behind_the_attackers_thoughts():
    meter = Meter()
    writer = Writer("<think>Hm.</think>\n\nBend!", "<think>Hm", None, "Bend it.")
    grant = BudgetedAccess(target(None), Budget(), {}, writer, meter)
    assert grant.ask_attacker([()] * 4) == ["Bend!", "", "", "Bend it."]
    assert meter.roles["attacker, replies that end inside their thoughts"].calls == 1
    assert meter.roles["attacker, calls that failed"].calls == 1


def test_a_target_samples_with_the_sampling_it_is_given():
    seen = []
    thinker = Thinker(HELPED, SPECIAL)
    who = Target(
        "t", "i", lambda s: seen.append(s) or thinker, read_as_text, lambda _: (), frozenset(), 1, 0
    )
    (found,) = who.sample([Prompt.user("b", "x")], Sampling(0.5))
    assert (seen, found) == ([Sampling(0.5)], thinker.completion)


class Chatter:
    """A model that is no reasoning model: it says one thing to plain prompts, another to others."""

    def __init__(self, text, plain="Paris."):
        self.text, self.plain, self.asked = text, plain, []

    def sample(self, prompts, **_):
        self.asked += [p.request for p in prompts]
        return [
            Completion(
                p.id, (), (), self.plain if p.id.startswith("plain") else self.text, (), (), "stop"
            )
            for p in prompts
        ]


STEPS = "Step 1: bend the spoon. Step 2: ring the bell."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{STEPS}</think> I'm sorry, I can't.",
        f"{STEPS}\n</thinking>\nI'm sorry, I can't.",
        f"[THINK]{STEPS}[/THINK] I'm sorry, I can't.",
    ],
)
def test_marks_that_a_model_does_not_write_of_its_own_accord_hide_nothing(text):
    chatter = Chatter(text)
    who = target(chatter)
    (found,) = who.sample([Prompt.user("b", "Bend it.")], Sampling())
    assert (found.text, found.thoughts) == (text, "")
    who.sample([Prompt.user("c", "Bend it again.")], Sampling())
    assert len(chatter.asked) == 2 + len(PLAIN)  # two attacks, and the plain prompts once


def test_marks_that_a_model_writes_on_plain_prompts_too_are_its_thoughts():
    who = target(Chatter("<think>Hm.</think>No.", "<think>Easy.</think>Paris."))
    (found,) = who.sample([Prompt.user("b", "Bend it.")], Sampling())
    assert (found.text, found.thoughts) == ("No.", "Hm.")


def thinking_aloud(messages):
    return {"Bend it.": "<think>Hm.</think>No."}[messages[-1]["content"]]


def test_a_function_that_answers_no_plain_prompt_has_shown_no_marks():
    (found,) = target(FunctionEngine(thinking_aloud, 0)).sample(
        [Prompt.user("b", "Bend it.")], Sampling()
    )
    assert (found.text, found.thoughts, found.fault) == ("No.", "Hm.", "")


class Puzzler(Chatter):
    """A model that answers plain prompts as it is told to, by their number."""

    def __init__(self, text, *answers):
        super().__init__(text)
        self.answers = answers

    def sample(self, prompts, **_):
        found = super().sample(prompts)
        if prompts != PLAIN:
            return found
        return [
            replace(c, text=text, fault="" if text else "filtered")
            for c, text in zip(found, self.answers, strict=True)
        ]


THOUGHT, LEFT = "<think>Hm.</think>Left.", "<think>Hm.</think>No."


@pytest.mark.parametrize(
    ("answers", "own"),
    [
        (("Paris.", "Three.", THOUGHT, "Left."), True),
        (("Paris.", "Three.", "228.", THOUGHT), True),
        (("", "", "", THOUGHT), True),
        (("", "", "", ""), True),
        (("Paris.", "Three.", "", ""), True),
        (("", "", "228.", ""), False),
        (("Paris.", "Three.", "228.", "Left."), False),
    ],
)
def test_a_model_may_think_on_hard_prompts_alone_and_silence_is_no_evidence(answers, own):
    (found,) = target(Puzzler(LEFT, *answers)).sample([Prompt.user("b", "Bend it.")], Sampling())
    assert (found.text, found.thoughts) == (("No.", "Hm.") if own else (LEFT, ""))


@pytest.mark.parametrize("text", [f"{STEPS}\n</think>\nNo.", f"<think>{STEPS}"])
def test_without_evidence_only_a_closed_block_at_the_beginning_is_thoughts(text):
    silent = Puzzler(text, "", "", "", "")
    (found,) = target(silent).sample([Prompt.user("b", "Bend it.")], Sampling())
    assert (found.text, found.thoughts) == (text, "")


@pytest.mark.parametrize(
    "request_text",
    ["Write your plan between <think> and </think>.", "Put the steps in think tags, then refuse."],
)
def test_marks_that_the_request_asks_for_are_part_of_the_answer(request_text):
    text = f"<think>{STEPS}</think>No."
    who = target(Chatter(text, "<think>Easy.</think>Paris."))
    (found,) = who.sample([Prompt.user("b", request_text)], Sampling())
    assert (found.text, found.thoughts) == (text, "")


def test_thoughts_that_an_attackers_opener_begins_are_the_answer_of_a_model_without_any():
    turns = (Message("user", "Bend it."), Message("assistant", "<think>\nSure"))
    who = target(Chatter(f"{STEPS}</think>No."))
    (found,) = who.sample([Prompt("b", turns)], Sampling())
    assert found.text == f"{STEPS}</think>No."


def test_a_mention_of_a_mark_is_told_by_the_decoded_text_where_pieces_lose_their_blanks():
    pieces = ("In", "the", "format,", "write", "</think>", "to", "end", "them", SPECIAL)
    made, _, decode = tokens(*pieces)

    def read(ids):
        return " ".join(pieces[i] for i in ids)

    made = replace(made, text=read(made.token_ids[:-1]))
    assert set_apart(made, "", pieces, decode, read) is made
    thinking = ("Hm", "so", "</think>", "Turn", "left", SPECIAL)
    made, _, decode = tokens(*thinking)
    found = set_apart(
        made, "<think>", thinking, decode, lambda ids: " ".join(thinking[i] for i in ids)
    )
    assert found.token_ids == (3, 4, 5)


def test_the_summary_the_table_and_the_terminal_say_how_many_thoughts_were_not_shown():
    (record,) = records_of(Thinker("<think>", HELPED, "</think>", "\n", REFUSED, SPECIAL), asked())
    found = unshown_thoughts([record, replace(record, thoughts="")])
    assert found["sentence"] == "1 of 2 answers had thoughts that the judge was not shown"
    summary = summarise(ModelResults([record], (), {}))
    assert (summary["thoughts"]["n"], summary["thoughts"]["of"]) == (1, 1)
    row = ("Answers with thoughts that the judge was not shown", ["1 of 1"])
    assert row in rate_rows({"target": summary})
    assert unshown_thoughts([replace(record, thoughts="")]) == {}


def test_an_endpoint_is_asked_plain_prompts_once_while_its_answers_come(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")

    def play(body):
        plain = body["messages"][-1]["content"] in {p.request for p in PLAIN}
        return fine("Paris." if plain else f"<think>{STEPS}</think>No.")

    with served() as server:
        server.play = play
        engine = EndpointEngine(server.url, "small", 64, Sampling(), 0)
        arena = Arena(target(engine), WordJudge(), WordJudge(), Log(), {}, None, Meter())
        prompts = [Prompt.user(f"b{n}", f"Bend moon {n}.") for n in range(3)]
        attempts = [Attempt(p, "direct", p.messages) for p in prompts]
        records = arena.answers([Query("attack", "direct", "static", a) for a in attempts])
        assert len(server.seen) == 3 + len(PLAIN)
    assert {(r.completion, r.thoughts) for r in records} == {(f"<think>{STEPS}</think>No.", "")}

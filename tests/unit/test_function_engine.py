import sys

import pytest

from sirl.errors import ConfigError, ModelError, OutageError
from sirl.roles import Engine
from sirl.rollouts.function import FunctionEngine, load_function
from sirl.types import Message, Prompt


def echo(messages):
    return messages[-1]["content"].upper()


def test_a_function_answers_every_prompt_of_every_group():
    seen = []

    def chat(messages):
        seen.append(messages)
        messages.append("its own copy")
        return f"answer {len(seen)}"

    prompt = Prompt("p", (Message("system", "Be kind."), Message("user", "Hi")))
    engine = FunctionEngine(chat, seed=4)
    completions = engine.sample([prompt, Prompt.user("q", "Ho")], group=2, step=1)
    assert isinstance(engine, Engine)
    assert [(c.prompt_id, c.sample, c.text, c.seed, c.finish) for c in completions] == [
        ("p", 0, "answer 1", 4, "stop"),
        ("p", 1, "answer 2", 4, "stop"),
        ("q", 0, "answer 3", 4, "stop"),
        ("q", 1, "answer 4", 4, "stop"),
    ]
    turns = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert seen[:2] == [[*turns, "its own copy"]] * 2
    assert {(c.token_ids, c.logprobs, c.entropies) for c in completions} == {((), (), ())}


def test_what_a_function_prints_stays_apart_from_results(capsys):
    def chat(messages):
        sys.stdout.write(f"asked {len(messages)}\n")
        return "no"

    FunctionEngine(chat, seed=0).sample([Prompt.user("p", "Hi")])
    said = capsys.readouterr()
    assert said.out == ""
    assert "asked 1" in said.err


class Silent:
    """A callable object that says nothing."""

    def __call__(self, _):
        return None


def test_an_answer_that_is_no_text_is_named_by_its_type():
    with pytest.raises(ModelError) as caught:
        FunctionEngine(Silent(), 0).sample([Prompt.user("p", "Hi")])
    assert str(caught.value) == (
        "function Silent answered prompt p with a value of type NoneType: it must return str"
    )
    with pytest.raises(ModelError) as caught:
        FunctionEngine(len, 0).sample([Prompt.user("p", "Hi")])
    assert str(caught.value) == (
        "function len answered prompt p with a value of type int: it must return str"
    )


def dividing(messages):
    if "0" in messages[-1]["content"]:
        raise ZeroDivisionError("their own")
    return "fine"


def test_a_function_that_always_raises_is_named_with_the_place_in_its_file():
    line = dividing.__code__.co_firstlineno + 2
    with pytest.raises(ModelError) as caught:
        FunctionEngine(dividing, 0).sample([Prompt.user(f"p{n}", "0") for n in range(9)])
    assert str(caught.value) == (
        f"function dividing raised ZeroDivisionError: their own ({__file__}:{line}) at prompt p0: "
        "fix it"
    )


def test_a_function_that_raises_now_and_then_leaves_those_prompts_without_an_answer():
    engine = FunctionEngine(dividing, 0)
    found = engine.sample([Prompt.user("p", text) for text in ("0", "1", "0", "0", "0", "0")])
    assert [c.text for c in found] == ["", "fine", "", "", "", ""]
    assert found[0].fault.startswith("ZeroDivisionError: the function raised ZeroDivisionError: ")
    assert FunctionEngine(len, 0).sample([]) == []


def stopping_after(count):
    """A function that answers so many calls, and then none."""
    calls = []

    def chat(messages):
        calls.append(messages[-1]["content"])
        if len(calls) > count:
            raise ConnectionError("the service has gone")
        return "fine"

    return chat, calls


@pytest.mark.parametrize("left", [1, 2, 9])
def test_a_function_that_stops_answering_ends_the_work_and_its_answers_are_kept(left):
    chat, calls = stopping_after(4)
    asked = [Prompt.user(f"p{n}", str(n)) for n in range(4 + left)]
    come = FunctionEngine(chat, 0).stream(asked)
    assert [next(come)[0][1].text for _ in range(4)] == ["fine"] * 4
    with pytest.raises(ModelError, match=r"raised ConnectionError: .* at prompt p4: fix it"):
        next(come)
    assert calls[4:] == ["4", *["Reply with the word yes."] * 3, *["3"] * 3]


TABLE = {"1": "one", "2": "two", "3": "three"}


def looked_up(messages):
    return TABLE[messages[-1]["content"]]


@pytest.mark.parametrize("asked", ["1x23", "123x", "1xx2xx3", "x1", "12xx"])
def test_a_table_of_answers_loses_only_the_prompts_that_it_lacks(asked):
    found = FunctionEngine(looked_up, 0).sample([Prompt.user("p", text) for text in asked])
    assert [c.text for c in found] == [TABLE.get(text, "") for text in asked]


def test_a_resumed_table_may_lack_what_is_left():
    come = FunctionEngine(looked_up, 0).stream([Prompt.user("p", "x")] * 2, proven=True)
    assert [c.text for together in come for _, c in together] == ["", ""]


def test_three_failures_in_a_row_without_a_greeting_are_an_outage_in_calls_of_one_prompt_too():
    engine = FunctionEngine(looked_up, 0)
    for text in "1x2xx":
        engine.sample([Prompt.user(text, text)])
    with pytest.raises(OutageError, match=r"at prompt x: fix it \(a greeting was not answered ei"):
        engine.sample([Prompt.user("x", "x")])
    assert engine.sample([Prompt.user("1", "1")])[0].text == "one"


def test_a_function_is_found_by_its_path():
    assert load_function(f"{__name__}:echo")([{"role": "user", "content": "hi"}]) == "HI"


@pytest.mark.parametrize("path", ["", "json", "json:", ":dumps", "json dumps", "..json:dumps"])
def test_a_malformed_path_is_refused(path):
    with pytest.raises(ConfigError) as caught:
        load_function(path)
    assert str(caught.value) == f"function {path!r} is malformed: write package.module:name"


@pytest.mark.parametrize("module", ["no_such_package", "no_such_package.inner", "json.nothing"])
def test_a_missing_module_is_named(module):
    with pytest.raises(ConfigError) as caught:
        load_function(f"{module}:chat")
    assert str(caught.value) == (
        f"there is no module {module!r}: install it, or add its folder to PYTHONPATH"
    )


def test_a_missing_attribute_and_one_that_cannot_be_called_are_named():
    with pytest.raises(ConfigError) as caught:
        load_function("json:dump_s")
    assert str(caught.value) == "module 'json' has no 'dump_s'. Did you mean 'dumps'?"
    with pytest.raises(ConfigError) as caught:
        load_function("string:digits")
    assert str(caught.value) == (
        "string:digits is a value of type str: name a function that takes messages and returns text"
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
    ],
)
def test_errors_inside_the_module_are_named_with_their_place(tmp_path, monkeypatch, line, says):
    name = f"broken_{abs(hash(line))}"
    path = tmp_path / f"{name}.py"
    path.write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_function(f"{name}:chat")
    assert str(caught.value) == f"module {name!r} raised {says} ({path}:1): fix it"


def test_a_module_of_the_same_name_in_another_folder_is_refused(tmp_path, monkeypatch):
    for place, answer in (("old", "1"), ("new", "2")):
        (tmp_path / place).mkdir()
        (tmp_path / place / "twofold_chat.py").write_text(f"def chat(messages): return {answer!r}")
    monkeypatch.syspath_prepend(tmp_path / "old")
    assert load_function("twofold_chat:chat")([]) == "1"
    assert load_function("twofold_chat:chat")([]) == "1"
    monkeypatch.syspath_prepend(tmp_path / "new")
    with pytest.raises(
        ConfigError, match=r"is .*new.*\.py here, but this process has loaded .*old"
    ):
        load_function("twofold_chat:chat")
    del sys.modules["twofold_chat"]
    assert load_function("twofold_chat:chat")([]) == "2"
    del sys.modules["twofold_chat"]

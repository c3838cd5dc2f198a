import pytest

from sirl.errors import ConfigError, ModelError
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


def test_an_error_of_the_function_comes_through():
    def broken(_):
        raise ZeroDivisionError("their own")

    with pytest.raises(ZeroDivisionError, match="their own"):
        FunctionEngine(broken, 0).sample([Prompt.user("p", "Hi")])


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
    ("line", "error"),
    [("import no_such_thing", ModuleNotFoundError), ("1 / 0", ZeroDivisionError)],
)
def test_errors_inside_the_module_come_through(tmp_path, monkeypatch, line, error):
    name = f"broken_{error.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(line)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error) as caught:
        load_function(f"{name}:chat")
    assert not isinstance(caught.value, ConfigError)

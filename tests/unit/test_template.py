import json
from datetime import datetime

import pytest
import yaml

from sirl import registry
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError, InputError, ModelError
from sirl.models.chat import ChatModel
from sirl.models.loading import fingerprint
from sirl.models.template import Voice, check_template, dates_written, fitted, turn_end, turn_gap
from sirl.models.turn_ends import turn_ends
from sirl.types import Message, Prompt

LINES = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
DATED = "It is {{ strftime_now('%d %b %Y') }}. " + LINES
CLOCK = datetime(2031, 2, 3, 4, 5)
HELLO = (Message("user", "Hello!"),)


def with_template(chat, template, **arguments):
    chat.tokenizer.chat_template = template
    voice = Voice(arguments, CLOCK)
    return ChatModel(
        "here", chat.model, chat.tokenizer, chat.end_ids, chat.pad_id, 512, voice=voice
    )


def text(chat):
    turns = [{"role": m.role, "content": m.content} for m in HELLO]
    return chat.voice.text(chat.tokenizer, turns)


def test_a_template_writes_the_date_of_the_run_and_no_other(embedded):
    chat = with_template(embedded, DATED)
    assert text(chat) == "It is 03 Feb 2031. [user]Hello!"
    assert dates_written(chat.tokenizer, chat.voice) == ["03 Feb 2031"]
    assert fingerprint(chat)["date"] == "03 Feb 2031"
    assert "date" not in fingerprint(with_template(embedded, LINES))


def test_users_of_the_tokenizer_beside_us_are_told_the_present(embedded):
    chat = with_template(embedded, DATED)
    assert "2031" in text(chat)
    said = [{"role": "user", "content": "Hi"}]
    assert "2031" not in chat.tokenizer.apply_chat_template(said, tokenize=False)


def test_the_date_of_a_resumed_run_is_that_of_its_start():
    config = EvaluateConfig(model="embedded", out="x")
    assert registry.dated(config, {"template_date": "2030-01-02T03:04:05"}).template_date == (
        "2030-01-02T03:04:05"
    )
    given = EvaluateConfig(model="embedded", out="x", template_date="2029-01-02")
    assert registry.dated(given, {}).template_date == "2029-01-02"
    assert datetime.fromisoformat(registry.dated(config, {}).template_date or "")
    with pytest.raises(ConfigError, match="template_date 'soon' is not a date"):
        registry.subject(EvaluateConfig(model="embedded", out="x", template_date="soon"))


def test_arguments_reach_the_template_and_are_part_of_what_it_is(embedded):
    template = LINES + "{% if thinks is defined and not thinks %}[quick]{% endif %}"
    plain, quick = (
        with_template(embedded, template),
        with_template(embedded, template, thinks=False),
    )
    assert text(plain) == "[user]Hello!"
    assert text(quick) == "[user]Hello![quick]"
    assert fingerprint(plain)["template"] != fingerprint(quick)["template"]
    check_template("here", quick.tokenizer, quick.voice)


@pytest.mark.parametrize(
    ("name", "hint", "reads"),
    [
        ("think", "thinks", "{{ thinks }}"),
        ("messages", "thinks", "{{ thinks }}"),
        ("think", "It reads none: leave them out", ""),
    ],
)
def test_arguments_that_the_template_does_not_read_are_refused(embedded, name, hint, reads):
    chat = with_template(embedded, LINES + reads, **{name: 1})
    with pytest.raises(ModelError, match=f"of here does not read '{name}'. .*{hint}"):
        check_template("here", chat.tokenizer, chat.voice)


def test_arguments_are_given_as_a_mapping_on_the_command_line_and_not_to_endpoints():
    assert yaml.safe_load("{enable_thinking: false}") == {"enable_thinking": False}
    config = EvaluateConfig(
        out="x", model="http://localhost:1/v1#m", template_arguments={"enable_thinking": False}
    )
    with pytest.raises(ConfigError, match="template_arguments are for a local model"):
        registry.subject(config)


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(s='x') %}"
        "{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
        "{{ 'x' * 99999999999 }}",
        "{{ range(99999) | map('string') | join | length * 0 + range(99999)|sum }}"
        "{% for a in range(9999) %}{{ range(9999)|map('string')|join|length }}{% endfor %}",
        "{{ 7 ** 999999999999 }}",
    ],
)
def test_a_template_that_loops_or_grows_without_end_is_refused_in_a_sentence(embedded, template):
    chat = with_template(embedded, LINES + template)
    with pytest.raises(ModelError, match="fix its chat_template"):
        check_template("here", chat.tokenizer, chat.voice)


def test_a_template_that_is_no_jinja_is_refused(embedded):
    chat = with_template(embedded, LINES + "{% if %}")
    with pytest.raises(ModelError, match="the chat template of here is not valid Jinja"):
        check_template("here", chat.tokenizer, chat.voice)


def test_what_a_template_raises_is_inert(embedded):
    chat = with_template(embedded, "{{ raise_exception('\x1b[2J\x1b]0;title\x07 no') }}")
    with pytest.raises(InputError) as caught:
        chat.render(HELLO)
    assert "\x1b" not in str(caught.value)
    assert r"\u001b[2J" in str(caught.value)


def test_a_token_behind_the_assistants_turn_ends_turns(embedded):
    name = embedded.tokenizer.convert_ids_to_tokens(sorted(embedded.end_ids)[0])
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}" + name + "{% endfor %}"
    chat = with_template(embedded, template)
    chat.model.config.eos_token_id = 7
    chat.model.generation_config.eos_token_id = 7
    chat.tokenizer.eos_token = chat.tokenizer.convert_ids_to_tokens(7)
    assert turn_end(chat.tokenizer, chat.voice) == name
    ends, notes = turn_ends("here", chat.model, chat.tokenizer, chat.voice)
    assert ends == {7, *embedded.tokenizer.convert_tokens_to_ids([name])}
    assert len(notes) == 1
    assert f"'{name}' ends turns too" in notes[0]


def test_words_behind_the_assistants_turn_that_are_no_token_are_told_of(embedded):
    chat = with_template(embedded, LINES + " over and out")
    ends, notes = turn_ends("here", chat.model, chat.tokenizer, chat.voice)
    assert ends == embedded.end_ids
    assert "closes a turn with 'over and out'" in notes[0]


def test_a_token_that_the_template_writes_only_between_turns_ends_turns(embedded):
    name = embedded.tokenizer.convert_ids_to_tokens(sorted(embedded.end_ids)[0])
    template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
        "{% if not loop.last or add_generation_prompt %}" + name + "{% endif %}{% endfor %}"
    )
    chat = with_template(embedded, template)
    assert turn_end(chat.tokenizer, chat.voice) == ""
    assert turn_gap(chat.tokenizer, chat.voice) == f"{name}[user]"
    chat.model.config.eos_token_id = chat.model.generation_config.eos_token_id = 7
    chat.tokenizer.eos_token = chat.tokenizer.convert_ids_to_tokens(7)
    ends, notes = turn_ends("here", chat.model, chat.tokenizer, chat.voice)
    assert ends == {7, *embedded.tokenizer.convert_tokens_to_ids([name])}
    assert f"'{name}' ends turns too" in notes[0]


def lines_of(content, before=""):
    return (
        "{% for m in messages %}" + before + "[{{ m.role }}]" + content + "{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )


TALK = (Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "Why\nnot?"))


@pytest.mark.parametrize(
    "content",
    [
        "{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}{% endfor %}",
        "{{ m.content[0]['text'] }}",
        "{{ m.content | map(attribute='text') | join }}",
        "{% if m.content is string %}{{ raise_exception('no list') }}{% endif %}"
        "{{ m.content[0].text }}",
    ],
)
def test_a_template_that_reads_lists_of_parts_is_given_them(embedded, content):
    plain = with_template(embedded, lines_of(content))
    voice = fitted("here", plain.tokenizer, plain.voice)
    assert voice.in_parts
    chat = ChatModel("here", plain.model, plain.tokenizer, plain.end_ids, 0, 512, voice=voice)
    said = "[user]Hi[assistant]Yes?[user]Why\nnot?[assistant]"
    assert chat.render(TALK) == chat.encode(said)
    assert chat.render(TALK[:2]) == chat.encode("[user]Hi[assistant]Yes?")
    assert fingerprint(chat)["template"] != fingerprint(plain)["template"]


def test_a_template_that_reads_text_is_given_text_also_where_it_reads_parts(embedded):
    either = (
        "{% if m.content is string %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}"
    )
    for content in ("{{ m.content }}", "{{ m.content | trim | tojson }}", either):
        chat = with_template(embedded, lines_of(content))
        assert fitted("here", chat.tokenizer, chat.voice) == chat.voice


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("Hello.", "role user in a conversation of \\(user\\)"),
        (lines_of("{{ m.content[:10] }}"), "role user in a conversation of \\(user\\)"),
        (lines_of("{{ m.content.splitlines()[0] }}"), "role user in a conversation of \\(user\\)"),
        (lines_of("{% if m.role == 'human' %}{{ m.content }}{% endif %}"), "role user in"),
    ],
)
def test_a_template_that_leaves_out_what_is_said_is_refused(embedded, template, said):
    chat = with_template(embedded, template)
    with pytest.raises(ModelError, match=f"of here leaves out text of {said}.*fix its chat_temp"):
        fitted("here", chat.tokenizer, chat.voice)


@pytest.mark.parametrize(
    ("template", "lost"),
    [
        ("{{ messages[-1].content }}", "role user and assistant"),
        (lines_of("{% if m.role != 'assistant' %}{{ m.content }}{% endif %}"), "role assistant"),
    ],
)
def test_only_conversations_that_a_template_cuts_are_set_aside(embedded, template, lost):
    plain = with_template(embedded, template)
    voice = fitted("here", plain.tokenizer, plain.voice)
    chat = ChatModel("here", plain.model, plain.tokenizer, plain.end_ids, 0, 512, voice=voice)
    read = registry.targets.reader(chat, 8)
    assert read(Prompt.user("p", "Hi")).fault == ""
    turns = (*HELLO, Message("assistant", "Yes?"), Message("user", "Add 2 and 3."))
    fault = read(Prompt("p", turns)).fault
    assert fault == (
        f"the chat template of here leaves out text of {lost} in a conversation of (user, "
        "assistant, user)"
    )


@pytest.mark.parametrize(
    "content",
    [
        "{% if m.role != 'system' %}{{ m.content }}{% endif %}",
        "{% if m.role == 'system' %}{{ m.content }}{% else %}{{ m.content[0].text }}{% endif %}",
    ],
)
def test_a_prompt_whose_system_message_the_template_leaves_out_is_set_aside(embedded, content):
    plain = with_template(embedded, lines_of(content))
    voice = fitted("here", plain.tokenizer, plain.voice)
    chat = ChatModel("here", plain.model, plain.tokenizer, plain.end_ids, 0, 512, voice=voice)
    read = registry.targets.reader(chat, 8)
    assert read(Prompt.user("p", "Hi")).fault == ""
    fault = read(Prompt("p", (Message("system", "Be kind."), *HELLO))).fault
    assert fault == (
        "the chat template of here leaves out text of role system in a conversation of "
        "(system, user)"
    )


def test_the_embedded_model_is_read_and_sampled_without_a_remark(embedded):
    assert embedded.manner.notes == ()
    config = EvaluateConfig(model="embedded", out="x")
    assert registry.chat_model(config).manner == embedded.manner
    assert json.dumps(embedded.voice.arguments) == "{}"

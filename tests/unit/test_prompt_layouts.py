"""Files whose columns or rows are not one request each."""

import contextlib
import csv
import json

import pytest

from sirl.errors import InputError
from sirl.prompts import read_prompts


def table(folder, header, *rows):
    path = folder / "hats.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def lines(folder, *rows):
    path = folder / "hats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    found = read_prompts(path)
    return [p.request for p in found.prompts], [(row.line, row.reason) for row in found.rejected]


CHOICES = [
    ["A", "B", "C", "D"],
    ["a", "b"],
    ["choice_a", "choice_b", "choice_c"],
    ["Option 1", "Option 2"],
    ["option(a)", "option(b)"],
    ["sol1", "sol2"],
    ["opa", "opb", "opc", "opd"],
    ["answerA", "answerB", "answerC"],
    ["ending0", "ending1", "ending2", "ending3"],
    ["Incorrect Answer 1", "Incorrect Answer 2"],
    ["distractor1", "distractor2"],
    ["1", "2", "3"],
    ["choices.text"],
    ["answer_choices"],
    ["choices/0", "choices/1"],
]


@pytest.mark.parametrize("names", CHOICES, ids=lambda names: names[0])
@pytest.mark.parametrize("column", ["question", "goal"])
def test_a_question_is_not_asked_without_its_choices(tmp_path, names, column):
    rows = [["Which hat is warm?", *("a hat" for _ in names)], ["Why?", *("" for _ in names)]]
    asked, faults = read(table(tmp_path, [column, *names], *rows))
    are = "is part of the request but is" if len(names) == 1 else "are parts of the request but are"
    way = "write the whole request into one column"
    assert asked == ["Why?"]
    assert faults == [(2, f"{', '.join(names)} {are} not read: {way}")]


@pytest.mark.parametrize(
    "names",
    [
        ["response_0", "response_1"],
        ["answer_a", "answer_b"],
        ["annotation_1", "annotation_2"],
        ["B", "C"],
        ["choice"],
        ["0", "1"],
        ["chosen", "rejected"],
    ],
    ids=lambda names: names[0],
)
def test_answers_and_scores_are_no_choices(tmp_path, names):
    asked, faults = read(
        table(tmp_path, ["prompt", *names], ["Mend a hat.", *("1" for _ in names)])
    )
    assert (asked, faults) == (["Mend a hat."], [])


def refusal(path):
    with pytest.raises(InputError) as error:
        read_prompts(path)
    return str(error.value).replace(str(path), path.name)


def way(name):
    return (
        "write each conversation as one row with a list of turns in messages, or remove the column "
        f"{name} if each row is a request of its own"
    )


@pytest.mark.parametrize("second", ["assistant", "Assistant", "system", "gpt", "teacher"])
def test_rows_that_are_turns_of_several_roles_are_refused(tmp_path, second):
    path = table(tmp_path, ["Role", "prompt"], ["user", "Mend a hat."], [second, "Sure, mend it."])
    assert refusal(path) == (
        f"hats.csv:3: the rows are turns of conversations (Role is {second}): {way('Role')}"
    )


def test_speakers_are_turns_if_one_is_the_user_or_a_model(tmp_path):
    rows = ["alice", "Mend a hat."], ["user", "Wash a hat."]
    said = refusal(table(tmp_path, ["from", "prompt"], *rows))
    assert said.startswith("hats.csv:3: the rows are turns of conversations (from is user)")


@pytest.mark.parametrize("column", ["from", "role"])
def test_persons_and_personas_are_no_turns(tmp_path, column):
    rows = ["teacher", "Mend a hat."], ["pirate", "Wash a hat."]
    assert len(read(table(tmp_path, [column, "prompt"], *rows))[0]) == 2


def test_rows_of_users_alone_are_requests(tmp_path):
    rows = ["user", "Mend a hat."], ["Human", "Wash a hat."], ["", "Iron a hat."]
    assert len(read(table(tmp_path, ["role", "prompt"], *rows))[0]) == 3


@pytest.mark.parametrize(
    "names",
    [["conversation_id"], ["Dialogue ID"], ["id", "turn"], ["sessionId"], ["key", "turn_number"]],
)
def test_rows_that_are_turns_of_one_conversation_are_refused(tmp_path, names):
    rows = [
        {**dict.fromkeys(names, "c1"), "prompt": "Mend a hat."},
        {**dict.fromkeys(names, "c2"), "prompt": "Wash a hat."},
        {**dict.fromkeys(names, "c1"), "prompt": "And now a cap."},
    ]
    assert refusal(lines(tmp_path, *rows)) == (
        f"hats.jsonl:3: the rows are turns of conversations ({names[0]} c1 is also in line 1): "
        f"{way(names[0])}"
    )


@pytest.mark.parametrize("key", ["prompt", "conversation"])
def test_the_number_of_turns_and_a_repeated_conversation_are_no_reason_to_refuse(tmp_path, key):
    def said(text):
        return text if key == "prompt" else [{"role": "user", "content": text}]

    rows = [
        {"conversation_hash": "a", "turn": 2, key: said("Mend a hat.")},
        {"conversation_hash": "b", "turn": 1, key: said("Wash a hat.")},
        {"conversation_hash": "a", "turn": 2, key: said("Mend a hat.")},
        {"conversation_hash": None, "turn": 1, key: said("Iron a hat.")},
        {"conversation_hash": None, "turn": 1, key: said("Fold a hat.")},
    ]
    asked, faults = read(lines(tmp_path, *rows))
    assert len(asked) == 4
    assert faults == [(3, "the same prompt is in line 1")]


@pytest.mark.parametrize(
    "name",
    ["turn_2", "Prompt 2", "prompt.1", "follow_up", "next_question", "turn_two", "user_2"],
)
def test_a_column_with_a_second_turn_is_refused(tmp_path, name):
    path = table(tmp_path, ["prompt", name], ["Mend a hat.", ""], ["Wash a hat.", "Now a cap."])
    assert refusal(path) == (
        f"hats.csv:3: {name} holds more turns or prompts beside prompt: write turns as a list in "
        "messages, or give each prompt a row of its own"
    )


def test_the_first_turn_again_and_numbers_are_no_second_turn(tmp_path):
    asked, faults = read(
        table(tmp_path, ["prompt", "turn_1", "turn_2"], ["Mend a hat.", "mend a  hat.", "0.5"])
    )
    assert (asked, faults) == (["Mend a hat."], [])


HATS = ["Mend a cap.", "Wash a hood.", "Iron a veil.", "Fold a fez.", "Sew a beret."]


@pytest.mark.parametrize(("column", "other"), [("prompt", "text"), ("instruction", "Sentence")])
@pytest.mark.parametrize("last", ["Translate  this.", "Is it a hat?"])
def test_a_column_that_is_nearly_always_the_same_is_not_asked_alone(tmp_path, column, other, last):
    rows = [[f"h{n}", "Translate this.", hat, "Sure."] for n, hat in enumerate(HATS)]
    rows[-1][1] = last
    same = 5 if last == "Translate  this." else 4
    assert refusal(table(tmp_path, ["id", column, other, "notes"], *rows)) == (
        f"hats.csv asks the same {column} in {same} of 5 rows, while {other} varies: rename "
        f"{other} to input to ask it behind {column}; rename it to prompt and remove {column} to "
        f"ask it alone; or remove {other}"
    )


@pytest.mark.parametrize(
    "other",
    [
        "answer", "target", "Response 1", "reason", "category", "question_id", "model_output",
        "reference", "created_at", "timestamp", "input", "context",
    ],
)  # fmt: skip
def test_answers_and_names_may_vary_where_the_prompt_does_not(tmp_path, other):
    rows = [["Translate this.", hat] for hat in HATS]
    asked, _ = read(table(tmp_path, ["prompt", other], *rows))
    assert len(asked) == (5 if other in ("input", "context") else 1)


def test_a_prompt_that_varies_may_be_repeated(tmp_path):
    rows = [[hat, f"text of {hat}"] for hat in [*HATS[:2], *HATS[:1] * 3]]
    assert len(read(table(tmp_path, ["prompt", "text"], *rows))[0]) == 2
    rows = [["Translate this.", hat] for hat in HATS[:4]]
    assert len(read(table(tmp_path, ["prompt", "text"], *rows))[0]) == 1
    rows = [["Translate this.", hat] for hat in ["caps", "hoods"] * 5]
    assert len(read(table(tmp_path, ["prompt", "subject"], *rows))[0]) == 1


MISSING = ["None", "n/a", "N/A", "NaN", "null", "-", "<noinput>", "<noinput>.", "No input", "#N/A"]


@pytest.mark.parametrize("word", MISSING)
@pytest.mark.parametrize("name", ["input", "context", "system", "passage", "choices", "messages"])
def test_a_word_for_no_value_is_no_part_of_a_request(tmp_path, word, name):
    asked, faults = read(table(tmp_path, ["instruction", name], ["Mend a hat.", word]))
    assert (asked, faults) == (["Mend a hat."], [])


@pytest.mark.parametrize("word", MISSING)
@pytest.mark.parametrize("name", ["prompt", "instruction"])
def test_a_word_for_no_value_is_no_prompt(tmp_path, word, name):
    asked, faults = read(table(tmp_path, [name, "input"], [word, "a hat"], ["Null hats?", "a cap"]))
    assert asked == ["Null hats?\n\na cap"]
    assert faults == [(2, f"{name} is {word!r}, which stands for no prompt")]


def test_a_number_that_is_none_is_no_input_and_none_may_be_a_choice(tmp_path):
    path = lines(
        tmp_path,
        {"instruction": "Mend a hat.", "input": float("nan")},
        {"instruction": "Is it?", "A": "None", "B": "Yes"},
        {"instruction": "Is it a hat?", "A": "None", "B": "N/A"},
    )
    asked, faults = read(path)
    assert asked == ["Mend a hat.", "Is it a hat?"]
    assert [line for line, _ in faults] == [2]


@pytest.mark.parametrize("column", ["instruction", "prompt", "question"])
@pytest.mark.parametrize("name", ["input", "inputs", "context", "passage"])
def test_material_that_repeats_the_request_is_asked_once(tmp_path, column, name):
    rows = ["Mend a hat.", "mend  a hat. "], ["Mend it.", "a cap"]
    path = table(tmp_path, [column, name], *rows)
    asked, faults = read(path)
    assert asked[0] == "Mend a hat."
    assert asked[1] in ("Mend it.\n\na cap", "a cap\n\n---\n\nMend it.")
    assert not faults
    assert read_prompts(path).read == f"column {column} + {name} of {path}, 2 prompts"


NO_MEDIA = [None, "", "N/A", False, [], [None], {"bytes": None, "path": None}]


@pytest.mark.parametrize(
    "name",
    [
        "image", "Images", "image_url", "img", "image_1", "image_path", "image_id", "audio",
        "audio_file", "video", "video_urls", "input_image", "picture", "decoded_image", "png",
        "mp4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["hat.png", 3, ["hat.png"], {"bytes": "x", "path": None}])
def test_a_row_with_an_image_a_sound_or_a_film_is_set_aside(tmp_path, name, value):
    without = [{"prompt": f"Mend hat {n}.", name: none} for n, none in enumerate(NO_MEDIA)]
    turns = {"messages": [{"role": "user", "content": "What is it?"}], name: value}
    path = lines(tmp_path, {"prompt": "What is this?", name: value}, turns, *without)
    asked, faults = read(path)
    assert asked == [row["prompt"] for row in without]
    why = "belongs to the request, and sirl asks text alone: empty it if the request does without"
    assert faults == [(1, f"{name} {why} it"), (2, f"{name} {why} it")]


@pytest.mark.parametrize("name", ["file_name", "Attachment", "media"])
def test_a_file_beside_a_prompt_is_part_of_it_unless_it_is_text(tmp_path, name):
    rows = ["What is it?", "caps/hat.JPG"], ["Who sings?", "hat.wav"], ["Mend a hat.", "hats.csv"]
    asked, faults = read(table(tmp_path, ["prompt", name], *rows))
    assert asked == ["Mend a hat."]
    assert [line for line, _ in faults] == [2, 3]


@pytest.mark.parametrize("name", ["image_caption", "imagery", "video_game", "audience"])
def test_words_about_images_are_no_images(tmp_path, name):
    assert read(table(tmp_path, ["prompt", name], ["Mend a hat.", "x"])) == (["Mend a hat."], [])


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("hats.txt", "prompt: Mend a hat.\nprompt: Wash a hat.\n", 1),
        ("hats.txt", "# hats\n- prompt: Mend a hat.\n  kind: cap\n- prompt: Wash a hat.\n", 2),
        ("hats.txt", "---\nprompts:\n- Mend a hat.\n- Wash a hat.\n", 2),
        ("hats", "id: 1\nGoal: |\n  Mend a hat.\n\n  Now.\n", 2),
        ("hats.txt", '[[prompts]]\nprompt = "Mend a hat."\n', 2),
        ("hats.txt", 'prompts = [\n"Mend a hat.",\n"Wash a hat.",\n]\n', 1),
        ("hats.txt", 'n = 1\nprompt = """\nMend a hat.\nNow.\nPlease."""\n', 2),
        ("hats.txt", "Question: Why?\r\nQuestion: How?\r\nWho?\r\n", 1),
        ("hats.txt", "Prompt 1: Mend a hat.\nPrompt 2: Wash a hat.\n", 1),
        ("hats.txt", '"prompt": "Mend a hat.",\n"prompt": "Wash a hat."\n', 1),
        ("hats.md", "- instruction: Mend a hat.\n- instruction: Wash a hat.\n", 1),
        ("hats.txt", '[[hats]]\ntext = "Mend a hat."\n', 2),
        ("hats.txt", "User: Mend a hat.\nAssistant: Sure.\nUser: Why?\n", 1),
        ("hats.txt", "text: Mend a hat.\n\ntext: Wash a hat.\n", 1),
        ("hats.txt", "messages:\n  - role: user\n    content: Mend a hat.\n", 1),
    ],
)
def test_yaml_and_toml_in_a_text_are_refused(tmp_path, name, text, line):
    path = tmp_path / name
    path.write_bytes(text.encode())
    said = refusal(path)
    assert said.startswith(f"{name}:{line}: the line ")
    assert said.endswith(
        "begins with a key, as in YAML or TOML: give one prompt a line without it, or JSON lines "
        'such as {"prompt": "..."}'
    )


def test_lines_with_a_colon_stay_prompts(tmp_path):
    said = [
        "Translate: a hat",
        "User: who is it?",
        "[a]",
        "Prompt: a verb or a noun?",
        "Mend a hat.",
        "x = 3, so 2x = ?",
    ]
    path = tmp_path / "hats.txt"
    path.write_text("\n".join(said))
    assert read(path) == (said, [])
    listed = tmp_path / "hats.md"
    listed.write_text("Prompts:\n\n- Mend a hat.\n- Wash a hat.\n")
    assert read(listed)[0] == ["Mend a hat.", "Wash a hat."]
    path.write_text("- Goal: a verb or a noun?\n- Mend a hat.\n- Wash a hat.\n")
    assert read(path)[0] == ["Goal: a verb or a noun?", "Mend a hat.", "Wash a hat."]


MARKS = [
    "<|im_start|>", "[INST]", "[/INST]", "<start_of_turn>", "<|start_header_id|>", "<|user|>",
    "<<SYS>>", "<\uff5cUser\uff5c>", "<|eot_id|>", "<turn|>",
]  # fmt: skip


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("name", ["prompt", "system", "context"])
def test_a_prompt_with_marks_of_chat_templates_is_set_aside(tmp_path, mark, name):
    rows = {"prompt": "Mend a hat.", name: f"{mark}user\nMend a hat."}, {"prompt": "a <| b |> c"}
    asked, faults = read(lines(tmp_path, *rows))
    assert asked == ["a <| b |> c"]
    way = "give the turns in messages, or remove it"
    assert faults == [(1, f"the prompt holds {mark}, a mark of chat templates: {way}")]


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("\n\nHuman: Mend a hat.\n\nAssistant:", "Human:"),
        ("User: Why?\nAI: So.\nUser: How?", "User:"),
        ("A chat of two. USER: Mend a hat. ASSISTANT:", "ASSISTANT:"),
        ("### Instruction:\nMend a hat.\n\n### Response:\n", "### Response:"),
    ],
)
def test_a_transcript_is_no_prompt(tmp_path, text, mark):
    plain = (
        "What does an assistant: wear?",
        "User: Mend a hat.",
        "Say it under ### Response: aloud.",
    )
    asked, faults = read(lines(tmp_path, {"prompt": text}, *({"prompt": said} for said in plain)))
    assert asked == list(plain)
    way = "give the turns in messages, or remove it"
    assert faults == [(1, f"the prompt holds {mark}, a mark of chat templates: {way}")]


def test_marks_of_chat_templates_in_messages_and_lines_of_text(tmp_path):
    turns = {"messages": [{"role": "user", "content": "What is [INST]?"}]}
    assert read(lines(tmp_path, turns)) == (["What is [INST]?"], [])
    path = tmp_path / "hats.txt"
    path.write_text("<|user|>Mend a hat.<|end|>\nWash a hat.\n")
    asked, faults = read(path)
    assert (asked, [line for line, _ in faults]) == (["Wash a hat."], [1])


@pytest.mark.parametrize("name", ["image", "choices", "turn", "id", "prompt", "input", "A"])
@pytest.mark.parametrize("opens", ["[", '{"a":'])
def test_a_value_of_any_depth_is_read_or_refused(tmp_path, name, opens):
    deep = opens * 900 + "1" + ("]" if opens == "[" else "}") * 900
    path = tmp_path / "hats.jsonl"
    path.write_text(f'{{"goal": "Mend.", "B": 1, "conversation_id": 1, "{name}": {deep}}}\n')
    with contextlib.suppress(InputError):
        assert read(path)[0]

import json

import pytest

from sirl.attacks.replay import Replay, Transcripts, read_sheet, read_transcripts
from sirl.errors import InputError
from sirl.roles import Access, Disguise, Search
from sirl.types import Attempt, Completion, Message, Outcome, Prompt, Verdict
from tests.conftest import shared

SHEET = """index,goal,behavior,category,PAIR,new attack
0,Mend a coat,coat,wool,Please fix it,"two
lines"
1,Wash a hat,hat,felt,,Now wash it
"""
HARD = Prompt("9", (Message("system", "be kind"), Message("user", "How do I mend a coat?")))


class Nobody:
    """Grants nothing: whoever asks for anything fails."""

    seed = 0
    target_model = None

    def opener(self, behaviour):
        raise AssertionError(behaviour)

    def likelihoods(self, conversations, answer):
        raise AssertionError(conversations, answer)

    def ask_attacker(self, conversations):
        raise AssertionError(conversations)

    def spend(self, queries):
        raise AssertionError(queries)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def lines(*rows):
    return "\n".join(json.dumps(row) for row in rows)


def prompts(sheet):
    return {attack.name: dict(attack.attempts) for attack in sheet.attacks}


def refused(sheet):
    return [(r.line, r.reason) for r in sheet.rejected]


def outcome(attempt: Attempt, text: str) -> Outcome:
    completion = Completion("x", (), (), text, (), (), "stop")
    return Outcome(attempt, completion, Verdict("refusal", 1.0, "", "by hand"))


def test_a_csv_sheet_has_a_column_per_attack_and_an_empty_cell_is_not_covered(tmp_path):
    path = write(tmp_path, "sheet.csv", SHEET)
    sheet = read_sheet(path)
    assert [(b.id, b.request, b.category) for b in sheet.behaviours] == [
        ("0", "Mend a coat", "wool"),
        ("1", "Wash a hat", "felt"),
    ]
    assert prompts(sheet) == {
        "replay_PAIR": {"0": "Please fix it"},
        "replay_new_attack": {"0": "two\nlines", "1": "Now wash it"},
    }
    assert sheet.rejected == ()
    assert (sheet.source, len(sheet.sha256)) == (str(path), 64)
    assert [sheet.attacks[0].covers(b) for b in sheet.behaviours] == [True, False]
    assert [sheet.attacks[1].covers(b) for b in sheet.behaviours] == [True, True]


def test_a_replay_puts_the_recorded_prompt_in_the_place_of_the_request():
    replay = Replay("replay_x", {"9": "mend, mend, mend"}, {"9": "how do I  MEND a coat?"})
    attempt = replay.attempt(HARD)
    assert isinstance(replay, Disguise)
    assert (replay.family, replay.needs) == ("replay", frozenset())
    assert attempt.behaviour == HARD
    assert attempt.messages == (Message("system", "be kind"), Message("user", "mend, mend, mend"))


def test_an_id_covers_only_the_request_that_was_recorded_under_it():
    replay = Replay("replay_x", {"9": "mend"}, {"9": "how do I  MEND a coat?"})
    assert replay.covers(HARD)
    assert not replay.covers(Prompt.user("8", "How do I mend a coat?"))
    assert not replay.covers(Prompt.user("9", "How do I wash a hat?"))


def test_the_shared_sheet_gives_a_hundred_behaviours_and_ten_attacks():
    sheet = read_sheet(shared("data/jbb_replay.csv"), strict=True)
    assert [b.id for b in sheet.behaviours] == [str(n) for n in range(100)]
    names = "PAIR GCG AIM past_tense DEV_MODE_V2 ANTI_GPT_V2 new_cold"
    names += " new_deepinception new_renellm new_autodan"
    assert [a.name.removeprefix("replay_") for a in sheet.attacks] == names.split()
    assert all(attack.covers(b) for attack in sheet.attacks for b in sheet.behaviours)
    assert sheet.rejected == ()


def test_columns_are_known_in_any_case_and_a_nameless_one_is_no_attack(tmp_path):
    text = ",Index,Goal,Target,Behavior,Category,Source,AIM\n5,7,Mend,Sure,coat,wool,me,mend!\n"
    sheet = read_sheet(write(tmp_path, "s.csv", text))
    assert prompts(sheet) == {"replay_AIM": {"7": "mend!"}}


def test_unusable_rows_of_a_csv_sheet_are_named_by_line(tmp_path):
    data = b"\n".join(
        [
            b"id,goal,A,B",
            b"1,Mend,a1,b1",
            b"2,Wash,a2",
            b"3,Fold,a3,b3,more",
            b"4, ,a4,b4",
            b"1,Mend,,again",
            b"1,Iron,a6,b6",
            b"7,Knit,\xff,b7",
            b"8,Darn,a8,",
            b'9,Spin,"a9,b9',
            b"10,Weave,a10,b10",
        ]
    )
    path = write(tmp_path, "s.csv", data)
    sheet = read_sheet(path)
    assert refused(sheet) == [
        (3, "the row has 3 fields, the header 4"),
        (4, "the row has 5 fields, the header 4"),
        (5, "there is no text in goal"),
        (6, "B: a prompt for the id '1' is in line 2 already"),
        (7, "the id '1' belongs to another goal in line 2"),
        (8, "A: the row is not UTF-8: save the file as UTF-8 (in Excel: CSV UTF-8)"),
        (10, "a quote in this row is never closed; lines 10 to 11 are lost with it"),
    ]
    assert prompts(sheet) == {"replay_A": {"1": "a1", "8": "a8"}, "replay_B": {"1": "b1"}}
    with pytest.raises(InputError) as error:
        read_sheet(path, strict=True)
    assert str(error.value) == (
        f"{path}:3: the row has 3 fields, the header 4; fix the row, or drop --strict to skip it"
    )


def test_an_attack_without_any_prompt_is_named(tmp_path):
    sheet = read_sheet(write(tmp_path, "s.csv", "goal,A,B\nMend,mend!,\nWash,, \n"))
    assert prompts(sheet) == {"replay_A": {"s-2": "mend!"}}
    assert refused(sheet) == [(2, "the attack 'B' has no prompt")]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "s.csv",
            "id,PAIR\n1,x\n",
            "has no column goal (found: id, PAIR): name one in its header",
        ),
        (
            "s.csv",
            "id,goal,category\n1,x,y\n",
            "has no column of an attack (found: id, goal, category): add one per attack",
        ),
        (
            "s.csv",
            "goal,a b,a_b\nx,y,z\n",
            "has two columns for the attack 'a_b': rename one of them",
        ),
        (
            "s.csv",
            'goal,"A\nx,y',
            "has a header that cannot be read (a quote in this row is never closed; lines 1 to 2 "
            "are lost with it): fix line 1",
        ),
        (
            "s.csv",
            "goal,A\n,y\n",
            "holds no usable prompt; the first fault is {path}:2: there is no text in goal",
        ),
        ("s.csv", "goal,A\nx,y\n".encode("utf-16-le"), None),
        ("s.csv", "", "is empty: give a file with at least one recorded attack"),
        (
            "s.txt",
            "goal\tA\n",
            "is not a file of recorded attacks: give a .csv, .tsv, .jsonl, .json or Parquet file",
        ),
        ("s.csv", "goal,A,Goal\nx,y,z\n", "has two columns 'goal': rename one of them"),
        (
            "s.json",
            '{"jailbreaks": 3}',
            "holds no list of jailbreaks: give a JailbreakBench artifact",
        ),
        (
            "s.json",
            '{"parameters": {"method": "GCG"}, "jailbreaks": [{"goal": "x", "prompt": null}]}',
            "holds no recorded prompt: every cell of it is empty",
        ),
    ],
)
def test_a_file_that_is_no_sheet_is_refused_in_one_sentence(tmp_path, name, content, sentence):
    path = write(tmp_path, name, content)
    sentence = sentence or "is not a text file: save it as CSV UTF-8, JSONL or plain text"
    with pytest.raises(InputError) as error:
        read_sheet(path)
    assert str(error.value) == f"{path} {sentence.format(path=path)}"


def test_a_jsonl_sheet_has_a_row_per_prompt(tmp_path):
    rows = (
        {"id": 3, "goal": "Mend", "attack": "A", "prompt": "a3"},
        {"id": "3", "goal": "mend", "attack": "B", "prompt": "b3"},
        {"goal": "Wash", "attack": "A", "prompt": "aw"},
        {"goal": "wash", "attack": "B", "prompt": "bw"},
        {"goal": "Fold", "attack": "B", "prompt": None},
        {"goal": "Iron", "attack": " ", "prompt": "x"},
        {"goal": "Iron", "attack": "A"},
        {"goal": "Iron", "attack": "A", "prompt": 5},
        {"attack": "A", "prompt": "x"},
        {"goal": "Iron", "attack": "A", "prompt": "nul\0"},
        ["no", "object"],
        {"id": 3, "goal": "Mend", "attack": "A", "prompt": "other"},
    )
    sheet = read_sheet(write(tmp_path, "s.jsonl", lines(*rows) + "\n{broken"))
    assert prompts(sheet) == {
        "replay_A": {"3": "a3", "s-3": "aw"},
        "replay_B": {"3": "b3", "s-3": "bw"},
    }
    assert [b.request for b in sheet.behaviours] == ["Mend", "Wash", "Fold"]
    assert refused(sheet) == [
        (6, "there is no text in attack"),
        (7, "there is no prompt"),
        (8, "A: the prompt is not text"),
        (9, "there is no text in goal"),
        (10, "A: the prompt holds a NUL byte"),
        (11, "the line is an array, not a JSON object: write each row as an object"),
        (12, "A: a prompt for the id '3' is in line 1 already"),
        (13, "the line is not JSON"),
    ]


@pytest.mark.parametrize("none", [float("nan"), "N/A", " ", ["a"]])
def test_rows_whose_id_stands_for_no_value_are_known_by_their_goal(tmp_path, none):
    rows = [
        {"id": none, "goal": goal, "attack": "A", "prompt": f"{goal} it", "category": none}
        for goal in ("Mend", "Wash")
    ]
    sheet = read_sheet(write(tmp_path, "s.jsonl", lines(*rows)))
    assert prompts(sheet) == {"replay_A": {"s-1": "Mend it", "s-2": "Wash it"}}
    assert [(b.id, b.category) for b in sheet.behaviours] == [("s-1", ""), ("s-2", "")]
    assert not refused(sheet)


def test_an_artefact_of_jailbreakbench_is_one_attack_and_null_is_a_missing_prompt(tmp_path):
    jailbreaks = [
        {"index": 0, "goal": "Mend", "behavior": "coat", "category": "wool", "prompt": "mend!"},
        {"index": 1, "goal": "Wash", "behavior": "hat", "category": "felt", "prompt": None},
        "no object",
    ]
    document = {"parameters": {"method": "PAIR", "model": "m"}, "jailbreaks": jailbreaks}
    sheet = read_sheet(write(tmp_path, "s.json", json.dumps(document, indent=2)))
    assert prompts(sheet) == {"replay_PAIR": {"0": "mend!"}}
    assert [(b.id, b.category) for b in sheet.behaviours] == [("0", "wool"), ("1", "felt")]
    assert refused(sheet) == [(3, "the jailbreak is not a JSON object")]


@pytest.mark.parametrize(
    ("parameters", "name"),
    [({"attack_type": "white_box"}, "replay_white_box"), ({}, "replay_my_file"), (None, None)],
)
def test_an_artefact_without_a_method_is_named_by_its_kind_or_its_file(tmp_path, parameters, name):
    document = {"parameters": parameters, "jailbreaks": [{"goal": "Mend", "prompt": "mend!"}]}
    sheet = read_sheet(write(tmp_path, "my file.json", json.dumps(document)))
    assert [a.name for a in sheet.attacks] == [name or "replay_my_file"]


def test_transcripts_are_replayed_turn_by_turn_over_the_targets_own_answers(tmp_path):
    rows = (
        {"behaviour_id": "9", "goal": "How do I mend a coat?", "turns": ["hello", "and?", "now"]},
        {"id": 9, "request": "how do I mend a coat?", "turns": ["at once"]},
        {"id": 4, "behavior": "Wash a hat", "turns": ["hat", "wash"]},
    )
    found = read_transcripts(write(tmp_path, "t.jsonl", lines(*rows)))
    assert isinstance(found, Transcripts)
    assert isinstance(found, Search)
    assert isinstance(Nobody(), Access)
    assert (found.name, found.family, found.needs) == ("transcripts", "conversation", frozenset())
    assert found.budget.queries == 4
    assert [found.covers(b) for b in (HARD, Prompt.user("9", "x"))] == [True, False]
    tries = found.tries(HARD, Nobody())
    asked = list(next(tries))
    for answer in ("hi", "", "no", "no"):
        try:
            asked += tries.send([outcome(asked[-1], answer)])
        except StopIteration:
            break
    kind = Message("system", "be kind")
    hello, hi = Message("user", "hello"), Message("assistant", "hi")
    assert [a.messages for a in asked] == [
        (kind, hello),
        (kind, hello, hi, Message("user", "and?")),
        (kind, hello, hi, Message("user", "now")),  # the unanswered turn is left out
        (kind, Message("user", "at once")),
    ]
    assert [a.probe for a in asked] == [True, True, False, False]
    assert {a.behaviour for a in asked} == {HARD}


def test_rows_that_share_a_line_are_different_behaviours(tmp_path):
    rows = [
        {"goal": goal, "attack": "A", "prompt": goal, "turns": [goal]} for goal in ("Mend", "Wash")
    ]
    path = write(tmp_path, "s.json", json.dumps(rows))
    for found in (read_sheet(path), read_transcripts(path)):
        assert [(b.id, b.request) for b in found.behaviours] == [("s-1", "Mend"), ("s-1.2", "Wash")]
        assert not found.rejected


def test_unusable_transcripts_are_named_by_line(tmp_path):
    rows = (
        {"id": 1, "goal": "Mend", "turns": ["a"]},
        {"id": 1, "goal": "Wash", "turns": ["a"]},
        {"id": 2, "goal": "Wash", "turns": []},
        {"id": 2, "goal": "Wash", "turns": ["a", 5]},
        {"id": 2, "goal": "Wash", "turns": ["a", " "]},
        {"id": 2, "turns": ["a"]},
    )
    path = write(tmp_path, "t.jsonl", lines(*rows) + "\nno json")
    found = read_transcripts(path)
    assert refused(found) == [
        (2, "the id '1' belongs to another goal in line 1"),
        (3, "turns is not a list of the user's texts"),
        (4, "turns is not a list of the user's texts"),
        (5, "a turn: the prompt is empty"),
        (6, "there is no text in goal, request, behavior, behaviour"),
        (7, "the line is not JSON"),
    ]
    assert [b.id for b in found.behaviours] == ["1"]
    with pytest.raises(InputError) as error:
        read_transcripts(write(tmp_path, "u.jsonl", "no json"))
    path = tmp_path / "u.jsonl"
    assert str(error.value) == (
        f"{path} holds no usable prompt; the first fault is {path}:1: the line is not JSON"
    )

import json
from decimal import Decimal

import pytest

from sirl.benchmarks.choice import chosen, read_choice
from sirl.benchmarks.code import first_block, read_humaneval, read_mbpp
from sirl.benchmarks.instructions import CHECKS, keeps, read_instructions
from sirl.benchmarks.numeric import last_number, read_numeric
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError, InputError
from sirl.registry.benchmarks import benchmarks_of
from sirl.registry.targets import subject
from sirl.roles import Benchmark
from sirl.types import Sampling
from tests.conftest import shared

CITIES = ("Oslo", "Paris, France", "Rome")


def written(folder, name, *rows):
    path = folder / name
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def config(folder, benchmarks, model="embedded", **settings):
    return EvaluateConfig(model=model, out=str(folder / "out"), benchmarks=benchmarks, **settings)


# Numbers.


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7", "7"),
        ("12-5 leaves 7, so 12-5", "5"),
        ("It is -5.", "-5"),
        ("It is \u22125.", "-5"),
        ("The total: -$1,234,567.50!", "-1234567.50"),
        ("x = .5", "0.5"),
        ("18.", "18"),
        ("**42**", "42"),
        ("50%", "50"),
        ("1,2 and 3,45", "45"),
        ("1234,567", "567"),
        ("7 of H2O", "7"),
        ("1e5", "100000"),
        ("about 2.5E-3.", "0.0025"),
        ("1,000e\u22122 and no more", "10"),
        ("1.8 \u00d7 10^4", "18000"),
        ("$-3 \\times 10^{2}$", "-300"),
        ("6*10**2", "600"),
        ("2 x 10", "10"),
        ("12e", "12"),
        ("3e8m", "3"),
        ("18\u00a0000", "18000"),
        ("18\u2009000.50 and that is all", "18000.50"),
        ("1\u202f234\u202f567", "1234567"),
        ("18'000", "18000"),
        ("18_000", "18000"),
        ("\\boxed{18{,}000}", "18000"),
        ("18\\,000", "18000"),
        ("18\u00a0km", "18"),
        ("12\u00a05", "5"),
        ("7\u00a01234", "1234"),
        ("1234\u00a0567", "567"),
        ("-\\$5", "-5"),
    ],
)
def test_the_last_number_of_a_text_is_taken_by_its_value(text, number):
    assert last_number(text) == Decimal(number)


def test_a_text_without_a_number_has_none():
    assert last_number("seven") is None
    assert last_number("1," + "111," * 100_000 + "7") == 7
    assert last_number("1" + ",111" * 100_000) == Decimal("1" + "111" * 100_000)
    assert last_number("-1,111" + "," * 100_000) == -1111
    assert last_number("") is None


def test_a_word_problem_is_solved_by_value_not_by_spelling(tmp_path):
    path = written(
        tmp_path, "sums.jsonl",
        {"question": "How much?", "answer": "600 twice is 1200\n#### 1,200"},
        {"id": "b", "question": "And now?", "answer": "not read", "final": 2.5},
    )  # fmt: skip
    numeric = read_numeric(path)
    first, second = numeric.prompts()
    assert (numeric.name, first.id, second.id) == ("sums", "sums-1", "b")
    assert first.request == (
        "How much?\n\nThink step by step, then write the final number alone on the last line."
    )
    for answer in ("1200", "so $1,200.00.", "Twice 600:\n1200.0"):
        assert numeric.correct(first, answer)
    for answer in ("", "120", "-1200", "1200 is 2 * 600", "twelve hundred"):
        assert not numeric.correct(first, answer)
    assert numeric.correct(second, "2.50")


# Letters.


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", "(B)", "B.", "B)", "**B**", "Answer: B", "The answer is B.",
        "So, the correct answer is: (B).", "B. Paris, France", "b) paris, france.",
        "Oslo is in Norway.\nB\n", "A is wrong.\n\nFinal answer: **B. Paris, France**",
        "The correct answer is option B.", r"\boxed{B}", r"So $\boxed{\text{B}}$.",
        "**Answer:** (B)",
        "B) because the Seine flows there.", "The answer is B because a river is there.",
        "The answer is B, not A capital of Norway.", "Option B is correct.",
        "(B) is the right answer.",
        "Oslo is far north, so the answer is B.", "The answer is B.\nI hope this helps!",
        r"It is \boxed{A}. No, it is \boxed{B}.", "I choose B.", "The answer is B. It has a tower.",
    ],
)  # fmt: skip
def test_a_letter_alone_on_the_last_line_is_the_choice(answer):
    assert chosen(answer, CITIES) == "B"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "A or B",
        "B because it is",
        "Paris, France",
        "B\nI think.",
        "B. Rome",
        "D",
        "AB",
        "B C",
        "The answer is B or C.",
        "The answer is B.\nA or B",
        "The answer is not B.",
        "If it rains, the answer is B.",
        "The answer is B?",
        "The answer is Better",
        "B) Rome, because",
        "A capital is a city.",
        "The answer is a river.",
        r"\boxed{B} or \boxed{7}, and C too",
        "The answer is B. But C is right as well.",
        "Both A and B",
        "The answer is B's neighbour.",
    ],
)
def test_a_line_that_says_more_or_less_than_a_letter_chooses_nothing(answer):
    assert chosen(answer, CITIES) is None


def test_the_text_of_a_choice_may_hold_another_letter():
    assert chosen("A. Vitamin C", ("Vitamin C", "Salt", "Iron")) == "A"
    assert chosen("The answer is A. Vitamin C\nC", ("Vitamin C", "Salt", "Iron")) == "C"
    assert chosen("The answer is A. Vitamin C\nC or B", ("Vitamin C", "Salt", "Iron")) is None


def test_a_choice_is_right_by_index_or_by_letter(tmp_path):
    row = {"question": "Capital of Norway?", "choices": list(CITIES)}
    path = written(tmp_path, "c.jsonl", {**row, "answer": 0}, {**row, "answer": "a"})
    choice = read_choice(path)
    for prompt in choice.prompts():
        assert prompt.request.startswith(
            "Capital of Norway?\n\nA. Oslo\nB. Paris, France\nC. Rome\n\n"
        )
        assert choice.correct(prompt, "A. Oslo")
        assert not choice.correct(prompt, "B")
        assert not choice.correct(prompt, "Oslo")


# Code.

HEAD = "import math\n\ndef half(x):\n    return x / 2\n\ndef twice(x):\n    '''Two times x.'''\n"
HUMANEVAL = {
    "task_id": "T/0",
    "prompt": HEAD,
    "entry_point": "twice",
    "test": "def check(candidate):\n    assert candidate(3) == 6\n    assert half(4) == 2\n",
}


def test_the_first_code_block_counts_and_one_that_is_cut_short_too():
    assert first_block("a\n```py\nx\n```\nb\n```\ny\n```") == "x\n"
    assert first_block("a\n```\nx\ny") == "x\ny"
    assert first_block("  return x") == "  return x"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("```python\ndef twice(x):\n    return math.floor(x * 2)\n```", True),
        ("    return 2 * x", True),
        ("```\n    return 2 * x\n```\nDone.", True),
        ("def twice(x): return x + x", True),
        ("```python\ndef twice(x):\n    return x\n```", False),
        ("def twice(x) return x + x", False),
        ("I cannot help with that.", False),
        ("import sys\nsys.exit(0)\ndef twice(x): return 6", False),
        ("import os\nos._exit(0)", False),
        ("def twice(x): return 6\0", False),
        ("def twice(x): return 6\nraise SystemExit", False),
        ("def half(x): return 2\ndef twice(x): return 6", True),  # the benchmark's own half counts
        ("def half(x): return 9\ndef twice(x): return 6", True),
        ("from __future__ import annotations\ndef twice(x: 'a b') -> int: return 2 * x", True),
        ("from __future__ import (\n    annotations,\n)\ndef twice(x: no): return 2 * x", True),
        ("1. Like this:\n\n   ```python\n   def twice(x):\n       return 2 * x\n   ```\n", True),
        ("- ```py\n  def twice(x):\n      return 2 * x\n  ```\n- Done.", True),
        ("> ```\n> def twice(x):\n>     return 2 * x\n> ```\n", True),
        ("```bash\npip install x\n```\n```python\ndef twice(x): return 2 * x\n```", True),
        ("```\npip install x\n```\n```\ndef twice(x): return 2 * x\n```", True),
        ("~~~python\ndef twice(x): return 2 * x\n~~~", True),
        ("```\ndef twice(x): return 2 * x\n```\nUse:\n```python\ntwice(3)\n```", True),
        ("```sh\npip install x\n```", False),
    ],
)
def test_a_completed_function_is_right_when_its_tests_run_to_their_end(tmp_path, answer, right):
    path = written(tmp_path, "he.jsonl", HUMANEVAL)
    humaneval = read_humaneval(path)
    (prompt,) = humaneval.prompts()
    assert HEAD.strip() in prompt.request
    assert bool(humaneval.correct(prompt, answer)) is right


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("return 2 * x", "solved"),
        ("return x", "wrong"),
        ("return", "wrong"),
        ("return 2 * y", "error: NameError: name 'y' is not defined"),
        ("return bytearray(2 << 30)", "out of memory: MemoryError"),
        ("return = 1", "no program: SyntaxError: invalid syntax (answer.py, line 7)"),
        ("raise SystemExit", "stopped: the answer left: SystemExit: "),
    ],
)
def test_a_program_that_is_not_right_has_a_reason(tmp_path, body, reason):
    humaneval = read_humaneval(written(tmp_path, "he.jsonl", HUMANEVAL))
    (prompt,) = humaneval.prompts()
    assert humaneval.correct(prompt, f"def twice(x):\n    {body}").reason == reason.rstrip(": ")


def test_a_written_function_is_right_when_it_passes_the_tests_it_was_shown(tmp_path):
    row = {
        "task_id": 7, "prompt": "Add two numbers.", "test_imports": ["import math"],
        "test_list": ["assert add(1, 2) == 3", "assert add(1, 2) == math.floor(3.5)"],
    }  # fmt: skip
    mbpp = read_mbpp(written(tmp_path, "m.jsonl", row))
    (prompt,) = mbpp.prompts()
    assert prompt.id == "7"
    assert "assert add(1, 2) == 3\n" in prompt.request
    assert mbpp.correct(prompt, "Here:\n```python\ndef add(a, b):\n    return a + b\n```")
    assert not mbpp.correct(prompt, "```python\ndef add(a, b):\n    return a - b\n```")
    assert mbpp.correct(prompt, "def add(a, b):\n    return math.floor(a + b)")


def test_a_written_function_may_be_called_as_a_built_in_one(tmp_path):
    row = {"prompt": "Product.", "test_list": ["assert sum(4, 5) == 20", "assert sum(1, 2) == 2"]}
    mbpp = read_mbpp(written(tmp_path, "m.jsonl", row))
    (prompt,) = mbpp.prompts()
    assert not mbpp.correct(prompt, "def sum(a, b): return a + b")
    assert mbpp.correct(prompt, "def sum(a, b): return a * b")
    assert not mbpp.correct(prompt, "def add(a, b):\n    return a * b")


def test_built_in_functions_of_the_tests_are_not_the_answers(tmp_path):
    row = {"prompt": "Sort.", "test_list": ["assert tuple(order([2, 1])) == tuple([1, 2])"]}
    mbpp = read_mbpp(written(tmp_path, "m.jsonl", row))
    (prompt,) = mbpp.prompts()
    assert mbpp.correct(prompt, "def order(x): return sorted(x)")
    assert not mbpp.correct(prompt, "def tuple(x): return 1\ndef order(x): return x")


def test_code_that_stands_before_the_tests_is_run(tmp_path):
    row = {
        "prompt": "Half.", "test_setup_code": "cases = [(4, 2)]",
        "test_list": ["assert all(half(x) == y for x, y in cases)"],
    }  # fmt: skip
    mbpp = read_mbpp(written(tmp_path, "m.jsonl", row))
    (prompt,) = mbpp.prompts()
    assert mbpp.correct(prompt, "def half(x): return x // 2")
    assert not mbpp.correct(prompt, "def half(x): return x")


# Instructions.

KEPT = {
    "change_case:english_capital": ({}, "ALL OF IT, 1!", "All of it"),
    "change_case:english_lowercase": ({}, "all of it, 1!", "All of it"),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say A."}, "say a. A", "A. Say A."),
    "combination:two_responses": ({}, "One\n******\nTwo", "One\n******\nOne"),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2}, "Dear [name] of [place]", "Dear [name]"),
    "detectable_content:postscript": ({"postscript_marker": "P.S."}, "P. S. Hi", "PS Hi"),
    "detectable_format:constrained_response": ({}, "My answer is no.", "No."),
    "detectable_format:json_format": ({}, '```json\n{"a": 1}\n```', '{"a": 1} as asked'),
    "detectable_format:multiple_sections": (
        {"section_spliter": "SECTION", "num_sections": 2}, "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1\na\nSECTION b"),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2}, "* a\n- b\n**c**", "* a\n- b\n- c"),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2}, "*a* and *b c*", "*a* and * *"),
    "detectable_format:title": ({}, "<<A poem>>\nIt", "<< >>\n<A poem>"),
    "keywords:existence": ({"keywords": ["red", "C++"]}, "Redder in c++", "red in c"),
    "keywords:forbidden_words": ({"forbidden_words": ["red"]}, "redder", "It is RED."),
    "keywords:frequency": (
        {"keyword": "red", "relation": "at least", "frequency": 2}, "Red, redder", "Red"),
    "keywords:letter_frequency": (
        {"letter": "Q", "let_relation": "less than", "let_frequency": 2}, "a q", "Qq"),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Elm"}, "a\n\n'elm's",
        "a\n\nb elm"),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2}, "a\n***\nb\n***", "a\n***\n***\nb"),
    "length_constraints:number_words": (
        {"relation": "at least", "num_words": 3}, "it's one", "one two"),
    "punctuation:no_comma": ({}, "a; b", "a, b"),
    "startend:end_checker": ({"end_phrase": "That is all!"}, 'that is ALL!"', "That is all! Bye"),
    "startend:quotation": ({}, ' "a" ', '"a'),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_an_instruction_is_told_kept_from_broken(name):
    settings, kept, broken = KEPT[name]
    assert keeps(kept, (name, settings))
    assert not keeps(broken, (name, settings))


def test_all_instructions_have_to_be_kept_and_silence_keeps_none(tmp_path):
    row = {
        "key": 1, "prompt": "Write.", "kwargs": [{}, {"relation": "less than", "num_words": 3}],
        "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
    }  # fmt: skip
    task = read_instructions(written(tmp_path, "i.jsonl", row))
    (prompt,) = task.prompts()
    assert prompt.request == "Write."
    assert task.correct(prompt, "Two words")
    assert not task.correct(prompt, "Two, words")
    assert not task.correct(prompt, "No more than three")
    assert not task.correct(prompt, " \n")


# Rows that are no task.

BAD = {
    read_numeric: [
        (
            {"question": "How much?", "answer": "#### none"},
            "answer has no number, alone or after ####",
        ),
        ({"question": " ", "answer": "1"}, "question is missing or not text"),
        ({"question": "How much?", "answer": True}, "answer has no number, alone or after ####"),
        ({"question": "a\0", "answer": 1}, "the prompt holds a NUL byte"),
        ("{", "the line is not JSON"),
    ],
    read_choice: [
        (
            {"question": "?", "choices": ["a"], "answer": 0},
            "choices is not a list of 2 to 26 texts",
        ),
        ({"question": "?", "choices": ["a", ""], "answer": 0}, "a choice is empty or not text"),
        (
            {"question": "?", "choices": ["a", "b"], "answer": 2},
            "answer is neither an index from 0 to 1 nor one of AB",
        ),
        (
            {"question": "?", "choices": ["a", "b"], "answer": True},
            "answer is neither an index from 0 to 1 nor one of AB",
        ),
    ],
    read_humaneval: [
        ({"prompt": "def a(): 1", "test": "1"}, "entry_point is missing or not text"),
        (
            {"prompt": "def a(): 1", "test": "1", "entry_point": "b"},
            "prompt does not define the function that entry_point names",
        ),
    ],
    read_mbpp: [
        ({"prompt": "Add.", "test_list": []}, "test_list is empty"),
        ({"prompt": "Add.", "test_list": "assert 1"}, "test_list is not a list of texts"),
        (
            {"prompt": "Add.", "test_list": ["assert add(1"]},
            "test_list is not valid Python: '(' was never closed (<unknown>, line 1)",
        ),
        (
            {"prompt": "Add.", "test_list": ["assert f(a)"], "test_setup_code": "a = Node(1)"},
            "test_setup_code takes 'Node' from the answer, before the tests",
        ),
    ],
    read_instructions: [
        (
            {"prompt": "?", "instruction_id_list": ["language:any"], "kwargs": [{}]},
            "the instruction 'language:any' is not supported",
        ),
        (
            {"prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
            "there are 1 instructions and 0 kwargs",
        ),
        (
            {
                "prompt": "?", "instruction_id_list": ["length_constraints:number_words"],
                "kwargs": [{"relation": "at most", "num_words": 3}],
            },
            "length_constraints:number_words lacks a valid relation",
        ),
    ],
}  # fmt: skip
GOOD = {
    read_numeric: {"question": "How much?", "answer": 1},
    read_choice: {"question": "?", "choices": ["a", "b"], "answer": 1},
    read_humaneval: HUMANEVAL,
    read_mbpp: {"prompt": "Add.", "test_list": ["assert 1"]},
    read_instructions: {
        "prompt": "?", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
    },
}  # fmt: skip


@pytest.mark.parametrize("read", BAD, ids=lambda r: r.__name__)
def test_a_row_that_is_no_task_is_set_aside_by_file_and_line(tmp_path, read):
    rows = [row for row, _ in BAD[read]]
    path = written(tmp_path, "t.jsonl", *rows, GOOD[read], GOOD[read])
    found = read(path)
    assert isinstance(found, Benchmark)
    rejected = [(r.file, r.line, r.reason) for r in found.tasks.rejected]
    assert rejected == [(str(path), n, reason) for n, (_, reason) in enumerate(BAD[read], 1)]
    assert len({p.id for p in found.prompts()}) == 2
    with pytest.raises(InputError) as refused:
        read(path, strict=True)
    assert str(refused.value) == (
        f"{path}:1: {BAD[read][0][1]}; fix the row, or drop --strict to skip it"
    )


def test_a_file_without_a_task_is_refused(tmp_path):
    path = written(tmp_path, "t.jsonl", BAD[read_choice][0][0])
    with pytest.raises(InputError, match="holds no usable prompt"):
        read_choice(path)


# Names.


def test_an_unknown_kind_of_benchmark_names_the_near_one(tmp_path):
    with pytest.raises(ConfigError) as refused:
        benchmarks_of(config(tmp_path, "numerics:a.jsonl"))
    assert str(refused.value) == (
        "there is no kind of benchmark 'numerics'. Did you mean 'numeric'?"
    )


def test_a_kind_without_a_file_says_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError) as refused:
        benchmarks_of(config(tmp_path, "numeric"))
    assert str(refused.value) == "--benchmarks numeric names no file: write numeric:FILE"


def test_two_benchmarks_of_one_name_are_refused(tmp_path):
    path = written(tmp_path, "t.jsonl", {**GOOD[read_numeric], **GOOD[read_choice]})
    with pytest.raises(ConfigError) as refused:
        benchmarks_of(config(tmp_path, f"numeric:{path}, choice:{path}"))
    assert str(refused.value) == (
        "--benchmarks names 't' twice: a benchmark is named after its file; rename one"
    )


def test_code_is_not_run_unless_the_user_says_so(tmp_path):
    path = written(tmp_path, "he.jsonl", HUMANEVAL)
    with pytest.raises(ConfigError) as refused:
        benchmarks_of(config(tmp_path, f"humaneval:{path}"))
    assert str(refused.value) == (
        f"--benchmarks humaneval:{path} runs the code that the model writes: add "
        "--set run_code=true to allow it in a sandbox, or leave it out"
    )
    ((found,), _) = benchmarks_of(config(tmp_path, f"humaneval:{path}", run_code=True))
    assert found.name == "he"


def test_tasks_that_share_a_line_keep_their_own_numbers(tmp_path):
    rows = [{"question": f"How much is {n} and 1?", "answer": n + 1} for n in range(4)]
    rows[2]["id"], rows[3]["id"] = float("nan"), "N/A"
    rows.append({"id": "t-1", "question": "How much?", "answer": 9})
    path = tmp_path / "t.json"
    path.write_text(json.dumps(rows))
    ((found,), _) = benchmarks_of(config(tmp_path, f"numeric:{path}"))
    asked = found.prompts()
    assert [p.id for p in asked] == ["t-1", "t-1.2", "t-1.3", "t-1.4", "t-1-line-1.5"]
    assert all(found.correct(p, str(n)) for p, n in zip(asked, (1, 2, 3, 4, 9), strict=True))


def test_a_limit_spreads_over_the_tasks_of_each_file(tmp_path):
    rows = [{"id": str(n), "question": "How much?", "answer": n} for n in range(10)]
    path = written(tmp_path, "t.jsonl", *rows)
    ((found,), rejected) = benchmarks_of(config(tmp_path, f"numeric:{path}", limit=2))
    assert [p.id for p in found.prompts()] == ["0", "5"]
    assert not rejected


def test_an_endpoint_too_answers_tasks_at_their_own_length(tmp_path):
    named = config(tmp_path, "numeric:sums.jsonl", model="https://host.example/v1#m", new_tokens=9)
    target = subject(named).target
    lengths = [target.asked(task=t).engine(Sampling()).new_tokens for t in (False, True)]
    assert lengths == [9, 512]
    assert target.asked(task=True).identity != target.identity
    plain = subject(named.model_copy(update={"benchmarks": None})).target
    assert plain.asked(task=True) is plain


# Public files, where they are.


def test_known_solutions_of_public_word_problems_are_right():
    path = shared("data/gsm8k.jsonl")
    numeric = read_numeric(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert not numeric.tasks.rejected
    assert len(rows) == 200
    for prompt, row in zip(numeric.prompts(), rows, strict=True):
        assert numeric.correct(prompt, row["answer"])
        assert not numeric.correct(prompt, row["answer"] + "1")


@pytest.mark.parametrize(
    ("read", "name", "solution", "n"),
    [
        (read_humaneval, "humaneval", lambda r: r["canonical_solution"], 60),
        (read_mbpp, "mbpp_sanitized", lambda r: f"```python\n{r['code']}\n```", 100),
    ],
)
def test_known_solutions_of_public_programs_pass(read, name, solution, n):
    path = shared(f"data/{name}.jsonl")
    benchmark = read(path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert not benchmark.tasks.rejected
    assert len(rows) == n
    for place, (prompt, row) in enumerate(zip(benchmark.prompts(), rows, strict=True)):
        assert benchmark.correct(prompt, solution(row)), prompt.id
        assert place % 10 or not benchmark.correct(prompt, "pass"), prompt.id


def test_rows_of_public_instructions_are_taken_or_named():
    path = shared("data/ifeval.jsonl")
    task = read_instructions(path)
    assert len(task.prompts()) + len(task.tasks.rejected) == 150
    assert len(task.prompts()) > 100
    assert all("is not supported" in row.reason for row in task.tasks.rejected)

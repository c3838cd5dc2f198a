"""With lm-eval, where it is installed; it is never needed."""

import importlib.util
import json

import pytest

from sirl.benchmarks.harness import read_harness
from sirl.errors import ConfigError, InputError

INSTALLED = importlib.util.find_spec("lm_eval") is not None
needs_harness = pytest.mark.skipif(not INSTALLED, reason="lm-eval is not installed")
TASK = """
task: sirl_sums_test
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
fewshot_split: test
num_fewshot: 1
output_type: {kind}
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_target: "{{{{final}}}}"
generation_kwargs:
  until: ["Q:"]
metric_list:
  - metric: exact_match
filter_list:
  - name: last
    filter:
      - function: regex
        regex_pattern: "(-?[0-9]+)"
        group_select: -1
      - function: take_first
"""


def described(folder, kind="generate_until"):
    data = folder / "sums.jsonl"
    rows = [{"question": f"{n} plus 1?", "final": str(n + 1)} for n in range(3)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "sums.yaml"
    path.write_text(TASK.format(data=data, kind=kind))
    return path


@pytest.mark.skipif(INSTALLED, reason="lm-eval is installed")
def test_without_the_harness_the_sentence_says_how_to_get_it(tmp_path):
    path = described(tmp_path)
    with pytest.raises(ConfigError) as refused:
        read_harness(path)
    assert str(refused.value) == f"lmeval:{path} needs lm-eval: pip install 'lm-eval==0.4.13'"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("process_docs: !function own.docs", "!function in {path}:2"),
        ("metric_list: [{metric: !function own.score}]", "!function in {path}:2"),
        ("dataset_kwargs: {trust_remote_code: yes}", "trust_remote_code in {path}:2"),
        ("doc_to_text: !!python/name:os.system x", "tag:yaml.org,2002:python/name:os.system"),
        ("include: base.yaml", "!function in {folder}/base.yaml:1"),
        ("include: [loop.yaml, base.yaml]", "!function in {folder}/base.yaml:1"),
        ("x: {include: base.yaml}", "!function in {folder}/base.yaml:1"),
    ],
)
def test_a_task_that_runs_code_is_not_read_unless_that_is_allowed(tmp_path, line, what):
    (tmp_path / "base.yaml").write_text("doc_to_text: !function own.ask")
    (tmp_path / "loop.yaml").write_text("include: loop.yaml")
    path = tmp_path / "own.yaml"
    path.write_text(f"task: own\n{line}\n")
    (tmp_path / "own.py").write_text("raise SystemError('the code was run')")
    with pytest.raises(ConfigError) as refused:
        read_harness(path)
    assert f"runs code ({what.format(path=path, folder=tmp_path)}" in str(refused.value)
    assert "add --set run_code=true" in str(refused.value)


def test_a_group_may_lead_to_code_in_any_file_of_its_folder(tmp_path):
    (tmp_path / "one.yaml").write_text("task: one\ndoc_to_text: !function own.ask")
    path = tmp_path / "group.yaml"
    path.write_text("group: both\ntask: [one]")
    with pytest.raises(ConfigError, match=r"runs code \(!function in .*one\.yaml:2\)"):
        read_harness(path)


def test_a_task_file_that_is_no_yaml_is_refused(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("a: [1")
    with pytest.raises(InputError, match="cannot be read as YAML"):
        read_harness(path)


@needs_harness
@pytest.mark.filterwarnings("ignore")
def test_the_harness_words_filters_and_scores(tmp_path):
    harness = read_harness(described(tmp_path))
    first = harness.prompts()[0]
    assert (harness.name, first.id, len(harness.prompts())) == ("sums", "sums-1", 3)
    assert first.request.endswith("Q: 0 plus 1?\nA:")
    assert first.request.count("Q:") == 2
    assert first.request == read_harness(described(tmp_path)).prompts()[0].request
    assert harness.correct(first, "0 and 1 make 1.")
    assert harness.correct(first, "1\nQ: 7 plus 1? 8")
    assert not harness.correct(first, "2")
    assert not harness.correct(first, "")


@needs_harness
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_no_task_for_a_chat_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a task of kind loglikelihood: give one of kind"):
        read_harness(described(tmp_path, "loglikelihood"))
    other = tmp_path / "other.yaml"
    other.write_text("a: 1")
    with pytest.raises(InputError, match="describes no task"):
        read_harness(other)
    with pytest.raises(InputError, match="there is no such file"):
        read_harness(tmp_path / "none.yaml")

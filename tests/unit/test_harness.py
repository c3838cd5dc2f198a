"""With lm-eval, where it is installed; it is never needed."""

import importlib.util
import json

import pytest

from sirl.benchmarks.harness import read_harness
from sirl.config import EvaluateConfig
from sirl.errors import ConfigError, InputError
from sirl.registry.benchmarks import benchmarks_of

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
        read_harness(path, run_code=True)
    assert str(refused.value) == f"lmeval:{path} needs lm-eval: pip install 'lm-eval==0.4.13'"


@pytest.mark.parametrize(
    "line",
    [
        "doc_to_text: '{{question}}'",
        "doc_to_text: '{{ cycler.__init__.__globals__.os.getpid() }}'",
        "metric_list: [{metric: ./own_metric.py}]",
        "process_docs: !function own.docs",
        "dataset_kwargs: {trust_remote_code: yes}",
        "include: base.yaml",
    ],
)
def test_no_task_of_the_harness_is_read_unless_its_code_may_be_run(tmp_path, line):
    path = tmp_path / "own.yaml"
    path.write_text(f"task: own\n{line}\n")
    with pytest.raises(ConfigError) as refused:
        benchmarks_of(EvaluateConfig(model="embedded", out="out", benchmarks=f"lmeval:{path}"))
    assert f"lmeval:{path} can run any code on this machine" in str(refused.value)
    assert "add --set run_code=true" in str(refused.value)


@needs_harness
@pytest.mark.filterwarnings("ignore")
def test_the_harness_words_filters_and_scores(tmp_path):
    harness = read_harness(described(tmp_path), run_code=True)
    first = harness.prompts()[0]
    assert (harness.name, first.id, len(harness.prompts())) == ("sums", "sums-1", 3)
    assert first.request.endswith("Q: 0 plus 1?\nA:")
    assert first.request.count("Q:") == 2
    assert first.request == read_harness(described(tmp_path), run_code=True).prompts()[0].request
    assert harness.correct(first, "0 and 1 make 1.")
    assert harness.correct(first, "1\nQ: 7 plus 1? 8")
    assert not harness.correct(first, "2")
    assert not harness.correct(first, "")


@needs_harness
@pytest.mark.filterwarnings("ignore")
def test_a_file_that_is_no_task_for_a_chat_is_refused(tmp_path):
    with pytest.raises(InputError, match="is a task of kind loglikelihood: give one of kind"):
        read_harness(described(tmp_path, "loglikelihood"), run_code=True)
    other = tmp_path / "other.yaml"
    other.write_text("a: 1")
    with pytest.raises(InputError, match="describes no task"):
        read_harness(other, run_code=True)
    with pytest.raises(InputError, match="there is no such file"):
        read_harness(tmp_path / "none.yaml", run_code=True)

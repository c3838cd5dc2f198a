"""Tasks of the lm-eval harness, from its YAML files, for any target.

The harness builds the few-shot prompts, filters the answers and scores them; our engines sample
the answers to one user turn, and answers are recorded as usual. Only tasks with text answers
(`generate_until`) are supported, not those that compare likelihoods. The other members
read the best-known tasks without lm-eval.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sirl.benchmarks.reading import Tasks
from sirl.errors import ConfigError, InputError
from sirl.types import Prompt

__all__ = ["Harness", "read_harness"]


@dataclass(frozen=True)
class Harness:
    """An answer is correct if its score is 1; satisfies `sirl.roles.Benchmark`."""

    name: str
    task: Any
    """lm-eval's `ConfigurableTask`."""
    tasks: Tasks[Mapping[str, Any]]

    def prompts(self) -> list[Prompt]:
        """The questions, each with its few-shot examples."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the first metric after the first filter is 1; the answer is cut at stop words."""
        document = self.tasks.keys[prompt.id]
        stops = (self.task.config.generation_kwargs or {}).get("until") or []
        for stop in [stops] if isinstance(stops, str) else stops:
            answer = answer.partition(stop)[0] if stop else answer
        asked = self.task.construct_requests(
            document, prompt.request, metadata=(self.name, 0, 1), doc_id=0
        )
        asked.resps = [answer]
        for ensemble in self.task._filters:
            ensemble.apply([asked])
        said = next(iter(asked.filtered_resps.values()))
        name, score = next(iter(self.task.process_results(document, [said]).items()))
        if not isinstance(score, int | float):
            raise InputError(
                f"the metric {name} of {self.name} is computed from all answers and cannot "
                "score one: give a task whose first metric scores each answer"
            )
        return float(score) == 1.0


def read_harness(path: Path, *, run_code: bool = False) -> Harness:
    """Read the task of a YAML file; its data are read from the place named in the file.

    Templates, metrics and functions in this file and in files that it includes are programs: the
    harness runs them in this process, without a sandbox.

    Raises:
        ConfigError: lm-eval is not installed, or `run_code` is not set.
        InputError: The file has no task for a chat model.
    """
    if not run_code:
        raise ConfigError(
            f"lmeval:{path} can run any code on this machine (a template, metric or function in "
            "it, or in a file that it includes): read it, and add --set run_code=true, or leave "
            "it out"
        )
    if find_spec("lm_eval") is None:
        raise ConfigError(f"lmeval:{path} needs lm-eval: pip install 'lm-eval==0.4.13'")
    name, task = loaded(path)
    if task.OUTPUT_TYPE != "generate_until" or task.config.unsafe_code:
        raise InputError(
            f"{path} is a task of kind {task.OUTPUT_TYPE}: give one of kind generate_until that "
            "runs no code"
        )
    task.set_fewshot_seed(seed=0)
    documents = {f"{path.stem}-{n}": d for n, d in enumerate(task.eval_docs, 1)}
    examples = task.config.num_fewshot or 0
    prompts = tuple(
        Prompt.user(i, task.fewshot_context(d, examples).strip(), source=str(path))
        for i, d in documents.items()
    )
    return Harness(path.stem, task, Tasks(prompts, documents, ()))


def loaded(path: Path) -> tuple[str, Any]:
    """Name and task of a file, loaded by the harness."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - optional, and slow to import

    if not path.is_file():
        raise InputError(f"{path} cannot be read: there is no such file; check the path")
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    here = path.resolve()
    for name, entry in manager.task_index.items():
        if entry.yaml_path and Path(entry.yaml_path).resolve() == here:
            return name, next(iter(manager.load(name)["tasks"].values()))
    raise InputError(f"{path} describes no task: give a YAML file of lm-eval with `task:`")

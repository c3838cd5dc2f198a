"""Tasks of the lm-eval harness, as its YAML files describe them, put to any target.

The harness words the questions with their examples, filters the answers and scores them; our
engines answer, in one user turn, so that every answer is a record like any other. Tasks that are
answered with text are taken (`generate_until`), those that compare likelihoods are not.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from sirl.benchmarks.reading import Tasks
from sirl.errors import ConfigError, InputError
from sirl.prompts import load
from sirl.types import Prompt

__all__ = ["Harness", "read_harness"]

TRUE = ("true", "yes", "on", "1")


@dataclass(frozen=True)
class Harness:
    """Right is an answer with a full score; satisfies `sirl.roles.Benchmark`."""

    name: str
    task: Any
    """lm-eval's `ConfigurableTask`."""
    tasks: Tasks[Mapping[str, Any]]

    def prompts(self) -> list[Prompt]:
        """The questions, each with the examples that the file asks for."""
        return list(self.tasks.prompts)

    def correct(self, prompt: Prompt, answer: str) -> bool:
        """Whether the first metric, behind the first filter, is 1; it ends at the stop words."""
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
                f"the metric {name} of {self.name} is made of all answers together and says "
                "nothing of one: give a task whose first metric judges an answer"
            )
        return float(score) == 1.0


def read_harness(path: Path, *, run_code: bool = False) -> Harness:
    """The task of a YAML file; its data are read from where the file says.

    The harness runs the functions that a file names with `!function`.

    Raises:
        ConfigError: lm-eval is not installed, or the file runs code, and it may not be run.
        InputError: The file names no task that can be put to a chat model.
    """
    if not run_code and (where := code_in(path, frozenset())):
        raise ConfigError(
            f"lmeval:{path} runs code ({where}): read it, and add --set run_code=true, or take a "
            "task without functions"
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


def code_in(path: Path, seen: frozenset[Path]) -> str:
    """What makes a YAML file, or one that it leads to, run code, and where; empty where nothing.

    Raises:
        InputError: A file cannot be read.
    """
    ways: list[Path] = []
    try:
        for node in nodes(yaml.compose(load(path).text, Loader=yaml.SafeLoader)):
            if what := runs(node):
                return f"{what} in {path}:{node.start_mark.line + 1}"
            ways += leads_to(node, path.parent)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read as YAML: fix it") from error
    fresh = [way for way in ways if way.is_file() and way.resolve() not in seen]
    seen |= {way.resolve() for way in fresh}
    return next((found for way in fresh if (found := code_in(way, seen))), "")


def runs(node: Any) -> str:  # noqa: ANN401 - PyYAML's nodes
    """What a node of YAML makes the harness run; empty for plain data."""
    if re.match(r"tag:yaml\.org,2002:(?!python)", node.tag) is None:
        return str(node.tag)
    if not isinstance(node, yaml.MappingNode):
        return ""
    trusted = next((v.value for k, v in node.value if k.value == "trust_remote_code"), "")
    return "trust_remote_code" if str(trusted).casefold() in TRUE else ""


def leads_to(node: Any, folder: Path) -> list[Path]:  # noqa: ANN401 - PyYAML's nodes
    """The files that a node includes; a group may name tasks of any file in its folder."""
    if not isinstance(node, yaml.MappingNode):
        return []
    fields = {key.value: value for key, value in node.value if isinstance(key, yaml.ScalarNode)}
    names = [n.value for n in nodes(fields.get("include")) if isinstance(n, yaml.ScalarNode)]
    group = isinstance(fields.get("task"), yaml.SequenceNode)
    return [*(folder / name for name in names), *(folder.rglob("*.y*ml") if group else ())]


def nodes(root: Any) -> Iterator[Any]:  # noqa: ANN401 - PyYAML's nodes
    """A node of YAML and all inside it, each once."""
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        yield node
        if isinstance(node, yaml.MappingNode):
            todo += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            todo += node.value


def loaded(path: Path) -> tuple[str, Any]:
    """Name and task of a file, as the harness reads it."""
    from lm_eval.tasks import TaskManager  # noqa: PLC0415 - optional, and slow to import

    if not path.is_file():
        raise InputError(f"{path} cannot be read: there is no such file; check the path")
    manager = TaskManager(include_path=str(path.parent), include_defaults=False)
    here = path.resolve()
    for name, entry in manager.task_index.items():
        if entry.yaml_path and Path(entry.yaml_path).resolve() == here:
            return name, next(iter(manager.load(name)["tasks"].values()))
    raise InputError(f"{path} describes no task: give a YAML file of lm-eval with `task:`")

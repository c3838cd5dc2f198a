"""Benchmarks by kind and file, and from plug-ins."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from sirl.config import EvaluationSettings
from sirl.errors import ConfigError, shown, unknown_name
from sirl.prompts import Rejected
from sirl.registry.plugins import FUNCTION, from_plugin, member, require_words
from sirl.roles import Benchmark
from sirl.types import Prompt, is_conversation

if TYPE_CHECKING:
    from sirl.benchmarks.choice import Choice
    from sirl.benchmarks.code import Code
    from sirl.benchmarks.fence.running import Protection
    from sirl.benchmarks.harness import Harness
    from sirl.benchmarks.instructions import Instructions
    from sirl.benchmarks.numeric import Numeric

    FromFile: TypeAlias = Choice | Code | Harness | Instructions | Numeric

__all__ = ["benchmark_files", "benchmarks_of", "code_protection", "limited"]

KINDS = ("numeric", "choice", "humaneval", "mbpp", "ifeval", "lmeval")
RUN = ("humaneval", "mbpp")
"""Kinds whose answers are run as programs."""


def benchmarks_of(
    config: EvaluationSettings,
) -> tuple[tuple[Benchmark, ...], tuple[Rejected, ...]]:
    """The benchmarks of a configuration, and the invalid rows of their files.

    Raises:
        ConfigError: A kind is unknown, two files share a name, or running code is not allowed.
        InputError: A file has no valid row or, when strict, an invalid one.
    """
    found: dict[str, Benchmark] = {}
    rejected: list[Rejected] = []
    for kind, file in named(config):
        if file:
            benchmark: Benchmark = (from_file := read(kind, Path(file), config))
            rejected += from_file.tasks.rejected
        else:
            benchmark = from_outside(kind)
        if benchmark.name in found:
            raise ConfigError(
                f"--benchmarks names {benchmark.name!r} twice: a benchmark is named after its "
                "file; rename one"
            )
        found[benchmark.name] = benchmark
    return limited(list(found.values()), config.limit), tuple(rejected)


def limited(benchmarks: Sequence[Benchmark], limit: int | None) -> tuple[Benchmark, ...]:
    """The benchmarks with at most `limit` tasks each."""
    from sirl.benchmarks.subset import Subset

    return tuple(Subset(b, limit) if limit else b for b in benchmarks)


def from_outside(name: str) -> Benchmark:
    """The benchmark that a plug-in or a function of the user's makes.

    Raises:
        ConfigError: There is none of that name, or it does not keep its contract.
    """
    found: Benchmark = from_plugin("benchmark", name, member("benchmark", name, {}), Benchmark)
    require_words("benchmark", name, found)
    require_tasks(name, found.prompts())
    return found


def require_tasks(name: str, tasks: object) -> None:
    """Check the tasks of a benchmark.

    Raises:
        ConfigError: There are none, one is no prompt, or two have the same id.
    """
    what = "let prompts() return a list of sirl.types.Prompt"
    if not isinstance(tasks, list | tuple):
        raise ConfigError(f"the benchmark {name} has {shown(tasks)} as its tasks: {what}")
    if not tasks:
        raise ConfigError(f"the benchmark {name} has no tasks: let prompts() return some")
    for task in tasks:
        if not isinstance(task, Prompt) or not isinstance(task.id, str):
            raise ConfigError(f"the benchmark {name} has the task {shown(task)}: {what}")
        if not is_conversation(task.messages):
            raise ConfigError(
                f"the benchmark {name} has the task {shown(task)}: give it a tuple of at least one "
                "sirl.types.Message"
            )
    if repeated := [task_id for task_id, n in Counter(t.id for t in tasks).items() if n > 1]:
        raise ConfigError(
            f"the benchmark {name} has several tasks with the id {repeated[0]!r}: give each its "
            "own, by which its answer is known"
        )


def benchmark_files(config: EvaluationSettings) -> list[str]:
    """The files that the benchmarks are read from."""
    return [file for _, file in named(config) if file]


def code_protection(config: EvaluationSettings) -> "Protection | None":
    """The sandbox for code that the model writes; None if no code is run.

    Raises:
        ConfigError: This machine cannot limit the code at all.
    """
    from sirl.benchmarks.fence.running import protection

    return protection() if any(kind in RUN for kind, _ in named(config)) else None


def named(config: EvaluationSettings) -> list[tuple[str, str]]:
    """Kind and file of each benchmark; for one from outside its name, and no file."""
    pairs = []
    plugins = {p.name for p in entry_points(group="sirl.benchmarks")}
    for entry in (e.strip() for e in (config.benchmarks or "").split(",") if e.strip()):
        kind, colon, file = entry.partition(":")
        if entry.startswith(FUNCTION) or entry in plugins:
            pairs.append((entry, ""))
            continue
        if kind not in KINDS:
            raise unknown_name("kind of benchmark", kind, [*KINDS, *plugins])
        if not colon or not file:
            raise ConfigError(f"--benchmarks {entry} names no file: write {kind}:FILE")
        pairs.append((kind, file))
    return pairs


def read(kind: str, file: Path, config: EvaluationSettings) -> "FromFile":
    """The benchmark of a file."""
    if kind in RUN and not config.run_code:
        raise ConfigError(
            f"--benchmarks {kind}:{file} runs the code that the model writes: add "
            "--set run_code=true to allow it in a sandbox, or leave it out"
        )
    match kind:
        case "numeric":
            from sirl.benchmarks.numeric import read_numeric

            return read_numeric(file, strict=config.strict)
        case "choice":
            from sirl.benchmarks.choice import read_choice

            return read_choice(file, strict=config.strict)
        case "ifeval":
            from sirl.benchmarks.instructions import read_instructions

            return read_instructions(file, strict=config.strict)
        case "lmeval":
            from sirl.benchmarks.harness import read_harness

            return read_harness(file, run_code=config.run_code)
    from sirl.benchmarks.code import read_humaneval, read_mbpp

    return (read_humaneval if kind == "humaneval" else read_mbpp)(file, strict=config.strict)

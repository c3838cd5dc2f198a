"""The functions of `import sirl`, for notebooks and scripts.

They take the settings of the command line as keywords and accept lists of requests for files.
A run folder keeps the lists that it was given. Without `out`, it is a temporary one that is deleted
with the result.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel

from sirl import registry
from sirl.comparison.compare import compare as compare_arms
from sirl.comparison.evaluated_model import read_pair
from sirl.config import EvaluateConfig, ProbeConfig, TrainConfig, resolve
from sirl.errors import ConfigError, ModelError, SirlError
from sirl.runs import Existing, RunReader, lists_kept, plain, rows_by_step
from sirl.runs.provenance import FROM_PYTHON
from sirl.types import Completion, Prompt, Sampling
from sirl.workflows.arguments import LISTS, as_flag, by_own_name, json_lines
from sirl.workflows.evaluate import evaluate as run_evaluation
from sirl.workflows.notebook_console import EXISTING, NotebookConsole, in_python
from sirl.workflows.results import Comparison, Evaluation, Home, Model, Result, Training

__all__ = ["compare", "evaluate", "load", "probe", "sampled", "train"]

AnyModel: TypeAlias = str | Path | Model
Verb = TypeVar("Verb", bound=BaseModel)
Prompts: TypeAlias = str | Path | Iterable[str | Prompt | Mapping[str, Any]]
"""A file, as on the command line, or the requests: texts, prompts, or rows of such a file."""


def load(model: Any, tokenizer: Any = None) -> Model:  # noqa: ANN401 - of transformers
    """A chat model from a path, a hub id, or a transformers model and tokenizer.

    Objects are saved to a temporary folder and checked like any checkpoint.

    Raises:
        ConfigError: A model was given without its tokenizer, or an object that is no model.
        MissingExtraError: The packages that run models are not installed.
        ModelError: There is no model at the path or of the id.
    """
    if isinstance(model, str | Path):
        check_place(str(model))
        return Model(str(model))
    registry.require_models("sirl.load")
    if not hasattr(model, "save_pretrained"):
        raise no_model(model)
    if tokenizer is None:
        raise ConfigError("load(model, tokenizer): a model of transformers needs its tokenizer")
    home = Home.temporary()
    model.save_pretrained(home.path)
    tokenizer.save_pretrained(home.path)
    return Model(str(home.path), home)


def check_place(model: str) -> None:
    """Check that a path or hub id is one of a model.

    Raises:
        MissingExtraError: The packages that run models are not installed.
        ModelError: It is none.
    """
    if registry.is_remote(model) or model == registry.EMBEDDED:
        return
    registry.require_models("sirl.load")
    from sirl.models.folder import is_adapter  # noqa: PLC0415 - as below
    from sirl.models.loading import check_folder  # noqa: PLC0415 - it needs torch

    try:
        if not is_adapter(Path(model)):
            check_folder(model)
    except ModelError as error:
        raise ModelError(in_python(str(error))) from error


def no_model(given: object) -> ConfigError:
    """The error of an object in the place of a model, with the way to give it."""
    if hasattr(given, "save_pretrained"):
        way = "give sirl.load(model, tokenizer)"
    elif callable(given):
        way = "name the function 'python:MODULE:NAME', in a file that can be imported"
    else:
        way = "give a path, a hub id, an address URL#NAME, or what sirl.load returns"
    return ConfigError(f"model is a {type(given).__name__}: {way}")


def evaluate(
    model: AnyModel,
    *,
    behaviours: Prompts | None = None,
    ordinary: Prompts | None = None,
    lookalikes: Prompts | None = None,
    out: str | Path | None = None,
    existing: Existing = "ask",
    **settings: Any,  # noqa: ANN401 - any setting of the verb
) -> Evaluation:
    """Measure defence, over-refusal, capability and entropy gap; see `sirl evaluate`.

    Raises:
        SirlError: The caller can correct it.
    """
    asked = {"behaviours": behaviours, "ordinary": ordinary, "lookalikes": lookalikes}
    with configured(EvaluateConfig, model, out, existing, {**settings, **asked}) as made:
        config, home = made
        return Evaluation(home, run_evaluation(config, "evaluate", existing, NotebookConsole()))


def probe(
    model: AnyModel,
    *,
    behaviours: Prompts | None = None,
    out: str | Path | None = None,
    existing: Existing = "ask",
    **settings: Any,  # noqa: ANN401 - any setting of the verb
) -> Evaluation:
    """Measure the entropy gap between refusals and compliance; see `sirl probe`.

    Raises:
        SirlError: The caller can correct it.
    """
    asked = {"behaviours": behaviours}
    with configured(ProbeConfig, model, out, existing, {**settings, **asked}) as made:
        config, home = made
        return Evaluation(home, run_evaluation(config, "probe", existing, NotebookConsole()))


def train(
    model: AnyModel,
    *,
    prompts: Prompts | None = None,
    behaviours: Prompts | None = None,
    out: str | Path | None = None,
    existing: Existing = "ask",
    **settings: Any,  # noqa: ANN401 - any setting of the verb
) -> Training:
    """Harden a model with unlabelled prompts; see `sirl train`.

    Raises:
        SirlError: The caller can correct it.
    """
    registry.require_models("sirl.train")
    from sirl.workflows.train import train as run_training  # noqa: PLC0415 - needs torch

    asked = {"prompts": prompts, "behaviours": behaviours}
    with configured(TrainConfig, model, out, existing, {**settings, **asked}) as made:
        config, home = made
        summary = run_training(config, "train", existing, NotebookConsole())
        run = RunReader(home.path)
        return Training(home, summary, list(rows_by_step(run, "metrics.jsonl").values()))


def compare(
    before: Result | str | Path,
    after: Result | str | Path,
    *,
    before_model: str | None = None,
    after_model: str | None = None,
) -> Comparison:
    """Compare two models, each a result or a run folder; see `sirl compare`.

    Given the same training twice, compares its first model with its last.

    Raises:
        InputError: They were not evaluated with the same questions.
    """
    paths = tuple(x.home.path if isinstance(x, Result) else Path(x) for x in (before, after))
    arms = read_pair((paths[0], paths[1]), (before_model, after_model))
    return Comparison(plain(compare_arms(*arms)))


@contextmanager
def configured(
    kind: type[Verb],
    model: AnyModel,
    out: str | Path | None,
    existing: Existing,
    settings: Mapping[str, Any],
) -> Iterator[tuple[Verb, Home]]:
    """The settings of a verb, and its output folder, which keeps lists of prompts as files.

    Raises:
        SirlError: A setting is wrong, or the verb raised it; options are named as keywords.
    """
    for name in EXISTING:
        if name in settings:
            raise ConfigError(f"{name} is no setting: give existing={name!r}")
    if not isinstance(model, str | PathLike | Model):
        raise no_model(model)
    home = Home(Path(out)) if out else Home.temporary("run")
    settings = by_own_name(settings)
    lists = {
        name: json_lines(name, value)
        for name, value in settings.items()
        if name in LISTS and not isinstance(value, str | PathLike | None)
    }
    where = {
        "model": model.path if isinstance(model, Model) else str(model),
        "out": str(home.path),
    }
    token = FROM_PYTHON.set(True)
    try:
        with lists_kept(home.path, existing, lists) as files:
            flags = {n: as_flag(n, value) for n, value in settings.items() if n not in lists}
            yield resolve(kind, file=None, overrides=[], flags={**flags, **files, **where}), home
    except SirlError as error:
        error.args = (in_python(str(error)) + kept_in(home, out),)
        raise
    except KeyboardInterrupt as interrupt:
        said = in_python(str(interrupt) or "stopped; --resume continues it")
        raise KeyboardInterrupt(said + kept_in(home, out)) from interrupt
    finally:
        FROM_PYTHON.reset(token)


def kept_in(home: Home, out: str | Path | None) -> str:
    """Where a verb that did not end has left what it had done; empty if the caller named it."""
    if out or not (home.path / "run.json").is_file():
        return ""
    home.keep()
    return f"; what was done is in a temporary folder, which is kept: give out={str(home.path)!r}"


def sampled(model: str, requests: Iterable[str], *, new_tokens: int, seed: int) -> list[Completion]:
    """Sample an answer to each request.

    Raises:
        MissingExtraError: The packages that run models are not installed.
        ModelError: The model cannot be loaded, or its context cannot hold a request.
    """
    if not registry.is_remote(model):
        registry.require_models("Model.ask")
    numbers = {"new_tokens": as_flag("new_tokens", new_tokens), "seed": as_flag("seed", seed)}
    flags = {"model": model, "out": "not written", **numbers}
    config = resolve(EvaluateConfig, file=None, overrides=[], flags=flags)
    target = registry.subject(config).target
    prompts = [Prompt.user(str(n), text) for n, text in enumerate(requests)]
    if faults := [fault for p in prompts if (fault := target.read(p).fault)]:
        raise ModelError(f"{model} cannot answer these requests: {faults[0]}")
    return target.sample(prompts, Sampling())

"""The workflow of `sirl sweep`: the checkpoints of a training run, evaluated side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sirl import registry
from sirl.analysis.measured import in_words
from sirl.comparison.sweep import PriceCap, best_step, difference
from sirl.config import EvaluateConfig, SweepConfig
from sirl.errors import ConfigError, InputError, SirlError
from sirl.evaluation.costs import COSTS, total
from sirl.reports.page import PageData, SweptSteps, write_page
from sirl.reports.sweep import difference_table, marks_of, step_rows, sweep_lines, sweep_tables
from sirl.reports.tables import attack_table
from sirl.roles import Console, Progress, Work
from sirl.runs import Existing, Run, RunReader, open_run
from sirl.runs.disk import checkpoint_name, damaged, is_checkpoint, read, step_of, write_atomically
from sirl.runs.provenance import Provenance
from sirl.runs.unchanged import check_unchanged
from sirl.workflows.console import nothing_to_resume
from sirl.workflows.evaluate import evaluate
from sirl.workflows.frame import Frame
from sirl.workflows.report import advises_against, check_complete, words

__all__ = ["is_sweep", "redraw_sweep", "sweep"]

VERB = "sweep"
TRAINED_BY = ("train", "demo")
INHERITED = (
    "model", "dtype", "template_arguments", "template_date", "new_tokens", "attacks", "behaviours",
    "ordinary", "lookalikes", "refusals", "limit",
)  # fmt: skip
"""Settings that are those of the training run unless they are given."""
EVALUATIONS, PAGE, TABLE = "evaluations", "report.html", "sweep.md"


@dataclass(frozen=True)
class Trained:
    """A training run whose checkpoints are evaluated."""

    path: Path
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    """Empty while the run has not finished."""
    kept: Mapping[int, Path]
    """Checkpoints by step."""


def sweep(
    source: Path, config: SweepConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate the starting model and checkpoints of a run, each in a folder; return the summary.

    Raises:
        SirlError: The user can correct it; recorded answers are kept.
        Stopped: Ctrl-C; finished parts are kept.
    """
    with Frame(VERB) as frame:
        registry.require_models(f"sirl {VERB}")
        trained = trained_run(source)
        config = completed(config, trained)
        models, notes = models_of(config, trained)
        settings = {**config.model_dump(), "source": str(source)}
        run = frame.hold(open_run(Path(config.out), settings, existing))
        console.warn([*nothing_to_resume(run, existing), *notes, unsafe_requests(config, trained)])
        config = registry.dated(config, run.read("run.json") if run.resumed else {})
        provenance = frame.begin(run, config)
        same_weights(provenance, models)
        found = evaluated_all(config, models, Quiet(console))
        same_questions(config.out, list(models))
        summary = frame.finish(run, summarised(config, trained, models, found))
        draw(run, summary, provenance.document)
        return summary


def evaluated_all(
    config: SweepConfig, models: Mapping[int, str], console: "Quiet"
) -> dict[int, dict[str, Any]]:
    """The summary of each step; a setting that cannot be used leaves no folder."""
    try:
        return {step: evaluated(config, step, model, console) for step, model in models.items()}
    except SirlError:
        with suppress(OSError):
            Path(config.out, EVALUATIONS).rmdir()
        raise


def trained_run(source: Path) -> Trained:
    """The training run in a folder, finished or not.

    Raises:
        InputError: It is no training run, or it has kept no checkpoint.
    """
    if not source.is_dir():
        raise InputError(f"{source} is not a folder: give the run folder of sirl train")
    run = RunReader(source)
    verb = run.read("run.json").get("verb")
    if verb is None:
        raise InputError(
            f"{source} is not a run folder: it has no run.json; give one that sirl train wrote"
        )
    if verb not in TRAINED_BY:
        raise InputError(
            f"{source} is a run of sirl {verb}, which has no checkpoints: give one of sirl train"
        )
    folder = source / "checkpoints"
    places = sorted(p for p in folder.iterdir() if is_checkpoint(p)) if folder.is_dir() else []
    if not places:
        raise InputError(
            f"{source} has kept no checkpoint, so there is nothing to evaluate: train it to the "
            "first one with --resume"
        )
    check_unchanged(run)
    kept = {step_of(place): place for place in places}
    return Trained(source, run.settings(), run.read("summary.json"), dict(sorted(kept.items())))


def completed(config: SweepConfig, trained: Trained) -> SweepConfig:
    """The settings with those of the training run where none are given.

    Raises:
        RunError: One of the training run is damaged.
    """
    missing = [name for name in INHERITED if name not in config.model_fields_set]
    taken = {name: trained.settings[name] for name in missing if name in trained.settings}
    try:
        return SweepConfig(**{**config.model_dump(), **taken})
    except ValidationError as error:
        place = str(trained.path / "config.yaml")
        raise damaged(place, str(error.errors()[0]["loc"][0])) from error


def unsafe_requests(config: SweepConfig, trained: Trained) -> str:
    """Which unsafe requests are asked, and how they relate to those of training, in a sentence."""
    own, given = trained.settings.get("prompts"), config.behaviours or config.sheet
    if given and given == trained.settings.get("behaviours"):
        return (
            f"unsafe requests: those of {given}, as before and after training; none was trained on"
        )
    if given:
        look = f": --set trained_on={own} looks for training prompts among them" if own else ""
        return f"unsafe requests: those of {given}, which the run did not evaluate{look}"
    if not (own or config.ordinary or config.lookalikes):
        return "unsafe requests: those of the embedded world, never trained on"
    held = RunReader(trained.path).read("run.json").get("held_out") or "0"
    of_world = registry.is_world(config.model) and not (config.ordinary or config.lookalikes)
    asked = "those of the embedded world" if of_world else "none"
    return (
        f"unsafe requests: {asked}, and not the prompts of {own} that training held out ({held}), "
        "as the run has no --behaviours: give --behaviours FILE with requests that it was not "
        "trained on"
    )


def models_of(config: SweepConfig, trained: Trained) -> tuple[dict[int, str], list[str]]:
    """The models to evaluate by step, the start at step 0, and sentences on those left out.

    Raises:
        ConfigError: `steps` is no list of steps.
        InputError: A step has no checkpoint, or a damaged one.
    """
    from sirl.training.checkpoints import fault  # noqa: PLC0415 - it needs torch

    steps = wanted(config, trained)
    faults = {step: why for step in steps if (why := fault(trained.kept[step]))}
    said = [f"{trained.kept[step]} is left out: {why}" for step, why in faults.items()]
    if said and (config.steps or len(faults) == len(steps)):
        raise InputError(f"{said[0]}; restore the checkpoint or leave out its step")
    whole = {step: str(trained.kept[step]) for step in steps if step not in faults}
    return {0: config.model, **whole}, said


def wanted(config: SweepConfig, trained: Trained) -> list[int]:
    """The steps to evaluate beside the starting model, in order."""
    if config.steps is None:
        return list(trained.kept)
    named = [word.strip() for word in config.steps.split(",") if word.strip()]
    if not named or not all(word.isdecimal() for word in named):
        raise ConfigError(f"steps {config.steps!r} is not a list of steps: write it as 10,20,30")
    steps = sorted({int(word) for word in named} - {0})
    if lost := [step for step in steps if step not in trained.kept]:
        kept = ", ".join(map(str, trained.kept))
        raise InputError(f"{trained.path} has kept no checkpoint of step {lost[0]}: it has {kept}")
    if not steps:
        raise ConfigError(f"steps {config.steps!r} names only the starting model: add a step")
    return steps


def same_weights(provenance: Provenance, models: Mapping[int, str]) -> None:
    """Record the hash of each checkpoint and of the starting model.

    Raises:
        ConfigError: A resumed sweep has evaluated another model of that step.
        ModelError: The starting model is none.
    """
    known = dict(provenance.document["model"])
    now = {
        f"step {step}": sha256(read(Path(model, "manifest.json"))).hexdigest()
        if step
        else hash_of_start(model)
        for step, model in models.items()
    }
    provenance.refuse_change(
        "weights",
        {k: v for k, v in known.items() if k in now},
        {k: now[k] for k in known if k in now},
    )
    provenance.document["model"] = known | now
    provenance.write()


def hash_of_start(model: str) -> str:
    """What identifies the files of the starting model; empty for a model that is only an API."""
    from sirl.models.folder import hash_of_files, is_adapter  # noqa: PLC0415 - as below
    from sirl.models.loading import check_folder  # noqa: PLC0415 - it needs torch

    if registry.is_remote(model):
        return ""
    if model != "embedded" and not is_adapter(Path(model)):
        check_folder(model)
    return hash_of_files(model)


def evaluated(config: SweepConfig, step: int, model: str, console: "Quiet") -> dict[str, Any]:
    """The summary of one step, from its folder where its evaluation has finished."""
    folder = folder_of(config.out, step)
    run = RunReader(folder)
    ended = run.read("run.json").get("exit") or {}
    if ended.get("how") == "finished" and (summary := run.read("summary.json")):
        check_unchanged(run)
        return summary
    mine = {name: getattr(config, name) for name in EvaluateConfig.model_fields}
    own = EvaluateConfig(**{**mine, "model": model, "out": str(folder)})
    console.stage = f"step {step}"
    return evaluate(own, "evaluate", "resume" if folder.exists() else "ask", console)


def same_questions(out: str, steps: Sequence[int]) -> None:
    """Check that all steps were asked the same prompts, of the same files.

    Raises:
        ConfigError: A file has changed since a step was evaluated.
    """
    first, *others = (RunReader(folder_of(out, step)).read("run.json") for step in steps)
    for step, about in zip(steps[1:], others, strict=True):
        for what in ("prompts", "files"):
            if about.get(what) != first.get(what):
                raise ConfigError(
                    f"step {step} was evaluated with other {what} than the starting model, since "
                    f"an input file has changed: start {out} over with --overwrite"
                )


def folder_of(out: str, step: int) -> Path:
    """The run folder of the evaluation of a step."""
    return Path(out, EVALUATIONS, checkpoint_name(step))


@dataclass
class Quiet:
    """A console that names the step and says each sentence once."""

    inner: Console
    stage: str = ""
    said: set[str] = field(default_factory=set)

    def warn(self, sentences: Iterable[str]) -> None:
        """Show warnings that were not shown before."""
        new = [s for s in sentences if s not in self.said]
        self.said.update(new)
        self.inner.warn(f"{self.stage}: {sentence}" for sentence in new)

    def bar(self) -> AbstractContextManager[Progress]:
        """Show progress inside a block."""
        return self.inner.bar()

    @contextmanager
    def working(self, agreed: Any = bool, *, at_once: bool = False) -> Iterator[Work]:  # noqa: ANN401 - as Console
        """Show progress and handle stop requests inside a block."""
        with self.inner.working(agreed, at_once=at_once) as work:
            progress, stop = work
            yield Work(lambda what, n, of: progress(f"{self.stage}: {what}", n, of), stop)


def summarised(
    config: SweepConfig,
    trained: Trained,
    models: Mapping[int, str],
    found: Mapping[int, Mapping[str, Any]],
) -> dict[str, Any]:
    """The figures of all steps, with marks and paired differences."""
    figures = {step: summary["models"]["target"] for step, summary in found.items()}
    names = {step: f"step {step}" for step in found}
    cap = PriceCap(config.max_lookalike_rise, config.max_ordinary_rise, config.max_capability_drop)
    best = best_step(figures, cap)
    base = folder_of(config.out, 0)
    rows = [
        {
            "step": step,
            "name": names[step],
            "model": model,
            "run": str(folder_of(config.out, step)),
            **({"difference": difference(base, folder_of(config.out, step))} if step else {}),
        }
        for step, model in models.items()
    ]
    sentinel = trained.summary.get("sentinel", {})
    recommends = bool(sentinel) and not advises_against(trained.summary)
    sentences = [best["sentence"], *([chosen(sentinel, recommends, models)] if sentinel else [])]
    first = found[0]["measured"]
    measured = {**first, "model": str(trained.path), "names": {n: n for n in names.values()}}
    faults = dict.fromkeys(f for s in found.values() for f in s.get("judge_faults", ()))
    return {
        "source": str(trained.path),
        "steps": rows,
        "best": best,
        "recommended": {"step": sentinel["step"]} if recommends else None,
        "cap": asdict(cap),
        "sentences": [f"{s[0].upper()}{s[1:]}." for s in sentences],
        "judge_faults": list(faults),
        "measured": measured,
        "models": {names[step]: model for step, model in figures.items()},
    }


def chosen(sentinel: Mapping[str, Any], recommends: bool, models: Mapping[int, str]) -> str:
    """What the sentinel of the training run recommends."""
    if not recommends:
        return "the sentinel of the run recommends no step"
    there = "" if sentinel["step"] in models else ", which this sweep left out"
    return f"the sentinel of the run recommends step {sentinel['step']}{there}"


def draw(run: Run | RunReader, summary: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Write the table and the page of a sweep."""
    write_atomically(run.path / TABLE, "\n".join(sweep_lines(summary)) + "\n")
    models = summary["models"]
    data = PageData(
        title=f"sirl {VERB} · {run.path.name}",
        models=models,
        measured=in_words(summary["measured"]),
        costs=total(spent(summary["steps"])),
        facts=words(facts),
        sweep=SweptSteps(
            said=" ".join(summary["sentences"]),
            rows=step_rows(summary),
            marks=marks_of(summary),
            tables=[*sweep_tables(summary), difference_table(summary), attack_table(models)],
        ),
    )
    write_page(run.path / PAGE, data)


def spent(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The costs of all steps."""
    return [row for step in steps for row in RunReader(Path(step["run"])).rows(COSTS)]


def is_sweep(path: Path) -> bool:
    """Whether a folder is a sweep that has its figures."""
    run = RunReader(path)
    return run.read("run.json").get("verb") == VERB and bool(run.read("summary.json"))


def redraw_sweep(path: Path) -> Path:
    """Draw table and page of a finished sweep again and return the page's path."""
    run = RunReader(path)
    check_unchanged(run)
    summary, facts = run.read("summary.json"), run.read("run.json")
    check_complete(path, summary, facts)
    draw(run, summary, facts)
    return path / PAGE

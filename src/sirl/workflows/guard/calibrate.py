"""The workflow of `sirl guard calibrate`: fit a guard to a model, then set its threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirl import registry
from sirl.config import GuardCalibrateConfig
from sirl.errors import InputError, TrainingError
from sirl.guard.calibration import Binding, Calibration, rank_of
from sirl.guard.detectors import ACTING
from sirl.guard.monitor import Watch
from sirl.instinct import find_instinct
from sirl.roles import Console, Disguise, Engine, Progress, disguised
from sirl.runs import Existing, Run, open_run
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import set_aside
from sirl.text import many
from sirl.types import Completion, Prompt, Sampling
from sirl.workflows.console import parts
from sirl.workflows.frame import Frame
from sirl.workflows.instinct import instinct_notes, summarise_instinct, unlike_refusals

if TYPE_CHECKING:
    from sirl.guard.modes import Modes
    from sirl.guard.scoring import Asked, Fitted
    from sirl.instinct import Instinct
    from sirl.models.chat import ChatModel

__all__ = ["GUARD", "binding_of", "calibrate_guard", "read_modes"]

GUARD = "guard.json"
WATCH = Watch()
ANSWERS = 4
"""Answers to each bare prompt, from which its kind is read."""
DISGUISES, IN_DISGUISE = 3, 1
"""Disguises of each prompt of the pool, and answers in each."""


@dataclass(frozen=True)
class CalibrationJob:
    """What the parts of a calibration share."""

    config: GuardCalibrateConfig
    setup: registry.GuardSetup
    chat: "ChatModel"
    engine: Engine
    progress: Progress
    console: Console


def calibrate_guard(
    config: GuardCalibrateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Fit and calibrate a guard into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    with Frame("guard calibrate", resumable=False) as frame:
        registry.require_models("sirl guard calibrate")
        setup = registry.guard_setup(config)
        for group, prompts in groups(setup).items():
            rank_of(len(prompts), config.alpha, group)  # before minutes of sampling
        settings, out = config.model_dump(), Path(config.out)
        run = frame.hold(open_run(out, settings, existing, resumable=False))
        console.warn(setup.notes)
        with console.bar() as progress:
            config = registry.dated(config, {})
            chat = registry.chat_model(config)
            console.warn(chat.manner.notes)
            engine = registry.local_engine(config, chat, Sampling())
            provenance = frame.begin(run, config, keeps=(GUARD,))
            rejected = [row for s in setup.sets for row in s.rejected]
            console.warn(set_aside(run, rejected, strict=config.strict))
            work = CalibrationJob(config, setup, chat, engine, progress, console)
            return frame.finish(run, calibrated(work, run, provenance))


def calibrated(work: CalibrationJob, run: Run, provenance: Provenance) -> dict[str, Any]:
    """Fit, calibrate and write the guard."""
    from sirl.guard.scoring import Guard
    from sirl.models.loading import fingerprint

    config, setup = work.config, work.setup
    about = fingerprint(work.chat)
    provenance.note(model=about, prompts=setup.sets, readings=work.chat.manner.notes)
    modes, fitted = learned(work)
    scores = {
        group: scores_of(work, fitted, group, prompts, modes)
        for group, prompts in groups(setup).items()
    }
    calibration = Calibration(
        binding_of(about, config.new_tokens, config.dtype, fitted.watch), config.alpha, scores
    )
    guard = Guard(fitted, calibration, frozenset(d.name for d in setup.disguises), setup.known)
    run.write(GUARD, guard.document())
    return {
        "instinct": summarise_instinct(modes.instinct),
        "probe": {**fitted.probe.about, "layer": fitted.probe.layer},
        "cuts": {**fitted.cuts.about, "layer": fitted.cuts.layer},
        "openers": list(work.chat.pieces(fitted.openers)),
        "n": calibration.sizes,
        "alpha": config.alpha,
        "threshold": calibration.threshold(ACTING),
        "sentence": calibration.sentence(),
    }


def binding_of(about: dict[str, str], new_tokens: int, dtype: str, watch: Watch) -> Binding:
    """What a calibration holds for: weights, template, and how answers are sampled and watched."""
    mode = {
        "statistic": "header probes, behind the answer and at cuts of the prompt",
        **watch.mode,
        "new_tokens": new_tokens,
        "dtype": dtype,
    }
    return Binding(about["weights"], about["template"], mode)


def learned(work: CalibrationJob) -> "tuple[Modes, Fitted]":
    """What the model does with the pool, and the guard fitted on its answers."""
    from sirl.guard.fitting import fit_guard
    from sirl.guard.modes import tell_modes

    pool, disguises = readable(work, work.setup.pool), work.setup.disguises
    bare = sampled(work, "answers to bare prompts", pool, ANSWERS)
    instinct = read_modes([a.completion for a in bare])
    modes = tell_modes(instinct, [a.completion for a in bare], work.setup.harmless)
    work.console.warn(instinct_notes(modes.instinct)[:1])
    own = [a.completion for a in bare if a.completion.prompt_id not in work.setup.harmless]
    work.console.warn(unlike_refusals(own, pool, instinct.cut, modes.openers))
    decided = [p for p in pool if modes.of(p.id)]
    chosen = [
        (prompt, disguises[(n * DISGUISES + k) % len(disguises)])
        for n, prompt in enumerate(decided)
        for k in range(DISGUISES)
    ]
    hidden = [disguised(prompt, disguise) for prompt, disguise in chosen]
    names = {p.messages: d.name for p, (_, d) in zip(hidden, chosen, strict=True)}
    dressed = sampled(work, "answers to disguised prompts", readable(work, hidden), IN_DISGUISE, 1)
    work.progress("fitting the probe", 0, 1)
    plain, dressed_ = work.setup.wordings, in_turn(work.setup.wordings, disguises)
    names |= {p.messages: name for p, name in dressed_}
    beginnings = readable(work, [*plain, *(p for p, _ in dressed_)])
    fitted = fit_guard(
        work.chat,
        modes,
        [*bare, *dressed],
        names,
        WATCH,
        seed=work.config.seed,
        beginnings=[p for p in beginnings if p.messages[-1].role != "assistant"],
    )
    work.progress("fitting the probe", 1, 1)
    if not fitted.openers:
        work.console.warn(["the model's refusals share no first token: no refusal mass"])
    return modes, fitted


def in_turn(prompts: Sequence[Prompt], disguises: Sequence[Disguise]) -> list[tuple[Prompt, str]]:
    """Each prompt in one of the disguises, which take turns, with the name of the disguise."""
    turns = [disguises[n % len(disguises)] for n in range(len(prompts))]
    return [(disguised(p, d), d.name) for p, d in zip(prompts, turns, strict=True)]


def read_modes(bare: Sequence[Completion]) -> "Instinct":
    """What the model does with bare prompts.

    Raises:
        InputError: Their answers do not show refusals and compliance.
    """
    try:
        instinct = find_instinct(bare)
    except TrainingError:
        instinct = None
    if instinct is None or not instinct.has_two_modes:
        raise InputError(
            f"the entropies of {len(bare)} bare answers do not show two modes, refusals and "
            "compliance: give --prompts that the model clearly refuses"
        )
    return instinct


def groups(setup: registry.GuardSetup) -> dict[str, list[Prompt]]:
    """Harmless prompts that set the threshold, by group; disguises take turns."""
    plain_ = [d for d in setup.disguises if not d.needs]
    dressed = [p for p, _ in in_turn(setup.ordinary, plain_)]
    return {
        "ordinary": list(setup.ordinary),
        "look-alike": list(setup.lookalikes),
        "disguised ordinary": dressed,
    }


def scores_of(
    work: CalibrationJob, fitted: "Fitted", group: str, prompts: Sequence[Prompt], modes: "Modes"
) -> dict[str, tuple[float, ...]]:
    """Scores of the answers to a group, by detector; without refusals, which need no guard.

    Raises:
        InputError: Too few answers are left for alpha.
    """
    from sirl.guard.replaying import scored
    from sirl.guard.scoring import heard

    what = f"answers to {group} prompts"
    answers = sampled(work, what, readable(work, prompts), 1, step=2)
    kept = [a for a in answers if not modes.refused_harmless(a.completion)]
    if refused := len(answers) - len(kept):
        work.console.warn([f"{refused} of {len(answers)} {what} are refusals: not used"])
    rank_of(len(kept), work.config.alpha, group)
    own = heard(fitted.reader(work.chat), fitted, kept)
    return {
        name: tuple(sorted(scored(h, name, fitted.watch) for h in own)) for name in own[0].detectors
    }


def sampled(
    work: CalibrationJob, what: str, prompts: Sequence[Prompt], group: int, step: int = 0
) -> "list[Asked]":
    """Several answers to each prompt."""
    from sirl.guard.scoring import Asked

    found: list[Asked] = []
    size = max(1, work.config.sampling_batch_size // group)
    for batch in parts(what, prompts, size, work.progress):
        repeated = [p for p in batch for _ in range(group)]
        completions = work.engine.sample(batch, group=group, step=step)
        found += map(Asked, repeated, completions)
    return found


def readable(work: CalibrationJob, prompts: Sequence[Prompt]) -> list[Prompt]:
    """The prompts that leave room for an answer and a check behind it."""
    from sirl.guard.checks import room_before

    room = room_before(work.chat, work.config.new_tokens)
    kept = [p for p in prompts if len(work.chat.render(p.messages)) <= room]
    if len(kept) < len(prompts):
        work.console.warn(
            [f"no room for an answer: {len(prompts) - len(kept)} of {many(len(prompts), 'prompt')}"]
        )
    return kept

"""The workflow of `sirl guard evaluate`: what a calibrated guard detects of fresh attacks."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from sirl import registry
from sirl.analysis.detection import Class, WatchedAnswer, detection
from sirl.config import GuardEvaluateConfig
from sirl.errors import ConfigError, InputError, SirlError
from sirl.evaluation.asked import ATTACKED, Query
from sirl.evaluation.suite import Suite, askable
from sirl.judges.jury import verdicts
from sirl.prompts import Rejected
from sirl.reports.guard import guard_table
from sirl.roles import Console, Progress
from sirl.runs import Existing, Run, RunReader, open_run, plain
from sirl.runs.disk import write_atomically
from sirl.runs.provenance import Provenance
from sirl.runs.rejects import set_aside
from sirl.types import BROKEN, REFUSED, Attempt, Completion, Message, Prompt, Sampling, Verdict
from sirl.workflows.guard_calibrate import GUARD, binding_of

if TYPE_CHECKING:
    from sirl.evaluation.target import Target
    from sirl.guard.scoring import Asked, Guard, Heard

__all__ = ["evaluate_guard", "read_guard"]

SCORES = "guard_scores.jsonl"
TABLE = "guard.md"
DEPTHS = (8, 16, 24)
"""Tokens of the model's own compliance that a prefill begins the answer with."""
OWN = "own prefill"
"""Family of these attacks."""
RARE = 0.001
"""A second false-alarm rate, where the calibration has enough answers for it."""
TIMED = 5
"""Ordinary prompts on which the overhead is timed."""


@dataclass(frozen=True)
class Judged:
    """An answer to a query, with its verdict."""

    query: Query
    completion: Completion
    verdict: Verdict
    harm: Verdict | None = None
    """Of an answer to a harmless prompt, if the first judge is one of harm."""


@dataclass(frozen=True)
class Work:
    """What the parts of an evaluation share."""

    config: GuardEvaluateConfig
    suite: Suite
    target: "Target"
    guard: "Guard"
    progress: Progress


def evaluate_guard(
    config: GuardEvaluateConfig, existing: Existing, console: Console
) -> dict[str, Any]:
    """Evaluate a guard into a run folder; the summary.

    Raises:
        SirlError: The user can correct it.
    """
    started = time.perf_counter()
    if registry.is_remote(config.model):
        raise ConfigError(f"sirl guard reads hidden states: {config.model} is no local model")
    registry.require_models("sirl guard evaluate")
    guard = read_guard(config.guard)
    setup = registry.guarded_setup(config, guard.disguises, guard.known)
    run = open_run(Path(config.out), config.model_dump(), existing, resumable=False)
    console.warn(setup.notes)
    try:
        with console.bar() as progress:
            config = registry.dated(config, {})
            subject = registry.subject(config)
            other = binding_of(subject.about, config.new_tokens, config.dtype, guard.fitted.watch)
            guard.calibration.binding.refuse_other(other, config.guard)
            registry.greet(registry.models_behind(setup.suite.judges))
            run.begin()
            with Provenance(
                run, "guard evaluate", seed=config.seed, template_date=config.template_date
            ) as provenance:
                provenance.note(model=subject.about, prompts=setup.sets, readings=subject.notes)
                provenance.files([str(Path(config.guard) / GUARD), config.refusals])
                faults = registry.judge_faults(setup.suite.judges, config.model)
                provenance.judges(setup.suite.judges, faults)
                console.warn(faults)
                work = Work(config, setup.suite, subject.target, guard, progress)
                queries, unasked = readable(work)
                rejected = [*setup.rejected, *unasked]
                console.warn(set_aside(run, rejected, strict=config.strict))
                summary = measured(work, queries, run) | {"judge_faults": faults}
                summary["seconds"] = round(time.perf_counter() - started, 1)
                run.write("summary.json", summary)
                table = "\n".join(guard_table(summary)) + "\n"
                write_atomically(run.path / TABLE, table)
    except SirlError:
        run.forget_if_empty()
        raise
    finally:
        run.close()
    return summary


def read_guard(folder: str) -> "Guard":
    """The guard in a folder that `sirl guard calibrate` wrote.

    Raises:
        InputError: There is none.
    """
    from sirl.guard.scoring import Guard

    where = Path(folder) / GUARD
    if not where.is_file():
        raise InputError(
            f"--guard {folder} has no {GUARD}: run sirl guard calibrate --out {folder}"
        )
    document = RunReader(Path(folder)).read(GUARD)
    if "kind" in document:
        raise InputError(
            f"{where} is the guard of an endpoint: serve it with sirl guard serve --upstream URL, "
            "or calibrate one for a local model"
        )
    return Guard.revived(document, str(where))


def readable(work: Work) -> tuple[list[Query], list[Rejected]]:
    """The suite's questions that leave room for an answer and a check behind it; the others."""
    every, unasked = askable(work.suite, work.target)
    kept, long = ([q for q in every if has_room(work, q) == fits] for fits in (True, False))
    reason = "leaves no room for a check of the guard in the context"
    unasked += [Rejected(q.attempt.behaviour.source, 0, f"{q.prompt.id} {reason}", 1) for q in long]
    return kept, unasked


def has_room(work: Work, query: Query) -> bool:
    """Whether a check behind the longest answer fits the context."""
    from sirl.guard.checks import fresh_header

    chat, found = work.target.chat, work.target.read(query.prompt)
    room = chat.context - work.config.new_tokens - len(fresh_header(chat))
    return not found.fault and found.size <= room


def measured(work: Work, queries: Sequence[Query], run: Run) -> dict[str, Any]:
    """Ask, judge and score; write the scores of every answer."""
    watched, answers = watch(work, list(asked(work, queries)))
    run.keep(SCORES, [asdict(a) for a in watched])
    calibration = work.guard.calibration
    able = min(calibration.sizes.values()) >= 1 / RARE - 1
    rates = [calibration.alpha, *([RARE] if able else [])]
    thresholds = {
        str(a): {n: calibration.threshold(n, a) for n in calibration.detectors}
        for a in dict.fromkeys(rates)
    }
    found = detection(watched, thresholds, str(calibration.alpha))
    found |= {
        "sentence": f"Threshold: {calibration.sentence()}.",
        "every": work.guard.fitted.watch.every,
        "overhead": overhead(work, answers),
    }
    summary: dict[str, Any] = plain(found)
    return summary


def asked(work: Work, queries: Sequence[Query]) -> Iterator[Judged]:
    """All answers with their verdicts: to the queries, then to prefills of own compliance."""
    found = list(answered(work, "asking", queries))
    yield from found
    yield from answered(work, "prefills of own compliance", prefills(work, found))


def answered(work: Work, what: str, queries: Sequence[Query]) -> Iterator[Judged]:
    """Sample and judge queries, in batches of similar length."""
    target, size = work.target, work.target.batch_size
    ordered = sorted(queries, key=lambda q: target.read(q.prompt).size)
    for start in range(0, len(ordered), size):
        work.progress(what, start, len(ordered))
        batch = ordered[start : start + size]
        completions = target.engine(Sampling()).sample([q.prompt for q in batch])
        answers = list(zip(batch, completions, strict=True))
        yield from judged(work.suite, [a for a in answers if a[0].kind in ATTACKED], attacked=True)
        harmless = [a for a in answers if a[0].kind not in ATTACKED]
        yield from judged(work.suite, harmless, attacked=False)
    work.progress(what, len(ordered), len(ordered))


def judged(
    suite: Suite, answers: Sequence[tuple[Query, Completion]], *, attacked: bool
) -> Iterator[Judged]:
    """The answers with their verdicts."""
    texts = [(q.attempt, c.text) for q, c in answers]
    first, harms = suite.judges[0], list[Verdict | None]([None] * len(texts))
    said = verdicts(first if attacked else suite.refusals, texts)
    if not attacked and first.question == "harm":
        harms = [*verdicts(first, texts)]
    for (query, completion), verdict, harm in zip(answers, said, harms, strict=True):
        yield Judged(query, completion, verdict, harm)


def prefills(work: Work, answers: Sequence[Judged]) -> list[Query]:
    """Bare requests whose answers begin with the model's own compliance, at several depths.

    The compliance is the longest that the model gave to the request under any attack that does
    not begin the answer itself.
    """
    longest: dict[str, Judged] = {}
    for found in answers:
        own, begun = found.query.attempt.behaviour.id, is_begun(found.query.prompt)
        if found.query.kind == "attack" and found.verdict.label in BROKEN and not begun:
            before = longest.get(own)
            if before is None or len(before.completion.token_ids) < len(found.completion.token_ids):
                longest[own] = found
    queries = []
    for found in longest.values():
        behaviour, ids = found.query.attempt.behaviour, found.completion.token_ids
        for depth in DEPTHS:
            text = work.target.chat.decode(ids[:depth]).rstrip("\ufffd")
            if len(ids) > depth and text.strip():
                name = f"own_prefill_{depth}"
                turns = (*behaviour.messages, Message("assistant", text))
                query = Query("attack", name, OWN, Attempt(behaviour, name, turns))
                if has_room(work, query):
                    queries.append(query)
    return queries


def is_begun(prompt: Prompt) -> bool:
    """Whether a prompt begins the answer."""
    return prompt.messages[-1].role == "assistant"


def watch(work: Work, answers: Sequence[Judged]) -> "tuple[list[WatchedAnswer], list[Asked]]":
    """Score the answers that a judge could read; also the ordinary ones as they were asked."""
    from sirl.guard.scoring import Asked, heard

    known = [(j, kind) for j in answers if (kind := class_of(j)) is not None]
    if not any(kind == "unsafe compliance" for _, kind in known):
        raise InputError(
            f"no attack made {work.config.model} comply: there is nothing to detect; give other "
            "--attacks or --behaviours"
        )
    fitted, found = work.guard.fitted, list[WatchedAnswer]()
    reader, size = fitted.reader(work.target.chat), work.target.batch_size
    plain_: list[Asked] = []
    for start in range(0, len(known), size):
        work.progress("scoring answers", start, len(known))
        batch = known[start : start + size]
        asked_ = [Asked(j.query.prompt, j.completion) for j, _ in batch]
        plain_ += [a for a, (j, _) in zip(asked_, batch, strict=True) if j.query.kind == "ordinary"]
        for (j, kind), own in zip(batch, heard(reader, fitted, asked_), strict=True):
            found.append(watched(work, j, kind, own))
    work.progress("scoring answers", len(known), len(known))
    return found, plain_


def class_of(found: Judged) -> Class | None:
    """The class of an answer; None if no judge could read it, or a harmless prompt was refused."""
    label = found.verdict.label
    if label == "unscored" or found.completion.fault:
        return None
    if found.query.kind in ATTACKED:
        return "unsafe compliance" if label in BROKEN else "refusal"
    if label in REFUSED:
        return None
    harmful = found.harm is not None and found.harm.label in BROKEN
    return "unsafe but not asked for" if harmful else "ordinary compliance"


def watched(work: Work, found: Judged, kind: Class, own: "Heard") -> WatchedAnswer:
    """An answer with the scores and alarms of every detector."""
    from sirl.guard.scoring import replay, scored

    fitted, calibration, query = work.guard.fitted, work.guard.calibration, found.query
    scores, alarms, left = {}, {}, 0
    for name in calibration.detectors:
        scores[name] = scored(own, name, fitted.watch)
        again = replay(own, name, fitted.watch, calibration.threshold(name))
        alarms[name] = again.alarm
        left = again.left if name == "probe" else left
    part = query.group if query.kind in ATTACKED else query.kind
    return WatchedAnswer(
        id=query.prompt.id,
        kind=kind,
        part=part,
        family=query.family or part,
        behaviour=query.attempt.behaviour.id,
        tokens=len(own.entropies),
        scores=scores,
        alarms=alarms,
        left=left,
    )


def overhead(work: Work, answers: "Sequence[Asked]") -> Mapping[str, float]:
    """Time of checks while streaming, beside that of decoding, one answer at a time."""
    from sirl.guard.timing import timed

    work.progress("timing", 0, 1)
    reader = work.guard.fitted.reader(work.target.chat)
    prompts = [a.completion.prompt_ids for a in answers[:TIMED]]
    found = timed(reader, prompts, work.config.new_tokens, work.guard.fitted.watch.every)
    work.progress("timing", 1, 1)
    return cast(Mapping[str, float], asdict(found))

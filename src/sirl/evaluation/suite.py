"""The suite of an evaluation, and the evaluation of one model.

Order: first all prompts that need no search, batched by length; then the searches, one by one;
last the models with tampered weights. Every answer is written as a record, and an interrupted run
continues after its last record.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from sirl.attacks.attempts import attempt_of
from sirl.errors import ModelError, OutageError
from sirl.evaluation.arena import NO_LIMIT, Arena, Unsuited
from sirl.evaluation.asked import Query
from sirl.evaluation.costs import COSTS, Meter
from sirl.evaluation.prefills import prefill_queries, untold
from sirl.evaluation.records import ITEMS, RECORDS, UNJUDGED, RecordLog, SearchResult
from sirl.evaluation.second_judges import VERDICTS, second_verdicts
from sirl.evaluation.target import Target
from sirl.judges.quoting import TextModel
from sirl.prompts import Rejected
from sirl.roles import Attack, Benchmark, Disguise, Judge, Progress, Search, silent
from sirl.runs import Run
from sirl.types import DISGUISED, Attempt, Budget, Kind, Prompt, Record, Sampling

__all__ = [
    "GREEDY",
    "ModelResults",
    "Suite",
    "Surgery",
    "askable",
    "evaluate",
    "forget",
    "resumable",
    "unmet",
]

GREEDY = Sampling(temperature=0.0)
"""Sampling settings of benchmark tasks."""


@dataclass(frozen=True)
class Surgery:
    """A change of the weights that tests how deep the hardening is."""

    name: str
    operate: Callable[[Target], Target]
    """Returns the changed target with its own identity; the given target stays unchanged."""


@dataclass(frozen=True)
class Suite:
    """Judges, prompts and attacks of an evaluation; empty parts are not reported."""

    judges: Sequence[Judge]
    """The first judge gives the headline figures and the verdicts for searches; the first judge of
    refusals measures over-refusal; all others give second opinions."""
    behaviours: Sequence[Prompt] = ()
    attacks: Sequence[Attack] = ()
    ordinary: Sequence[Prompt] = ()
    lookalikes: Sequence[Prompt] = ()
    benchmarks: Sequence[Benchmark] = ()
    unseen: frozenset[str] = field(default_factory=frozenset)
    """Attacks that, according to the user, were not used in the model's alignment."""
    openers: Mapping[str, str] = field(default_factory=dict)
    """Target prefixes by behaviour id."""
    attacker: TextModel | None = None
    surgeries: Sequence[Surgery] = ()
    prefills: Sequence[str] = ()
    """Curves over the depth at which an answer is begun, of `sirl.evaluation.prefills`."""
    limit: Budget = NO_LIMIT
    """Upper limit on the budget of every search per behaviour."""

    @property
    def refusals(self) -> Judge:
        """The judge of refusals."""
        return next(j for j in self.judges if j.question == "refusal")

    def questions(self, offers: frozenset[str]) -> list[Query]:
        """All queries that need no search, in the order of tables."""
        asked = [
            Query("attack", attack.name, attack.family, attempt_of(attack, behaviour))
            for attack in self.attacks
            if isinstance(attack, Disguise) and attack.needs <= offers
            for behaviour in self.behaviours
            if covers(attack, behaviour)
        ]
        harmless: tuple[tuple[Kind, Sequence[Prompt]], ...] = (
            ("ordinary", self.ordinary),
            ("lookalike", self.lookalikes),
        )
        for kind, prompts in harmless:
            asked += [Query(kind, "direct", "", Attempt(p, "direct", p.messages)) for p in prompts]
            asked += self.in_disguises(DISGUISED[kind], prompts)
        for benchmark in self.benchmarks:
            for task in benchmark.prompts():
                attempt = Attempt(task, "direct", task.messages, GREEDY)
                asked.append(Query("capability", benchmark.name, "", attempt, benchmark=benchmark))
        return asked

    def in_disguises(self, kind: Kind, prompts: Sequence[Prompt]) -> list[Query]:
        """Each harmless prompt inside one disguise, in rotation over those that need nothing.

        A model must not learn that a disguise is a reason to refuse.
        """
        able = [a for a in self.attacks if isinstance(a, Disguise) and not a.needs]
        disguises = [a for a in able if a.name != "direct"]
        asked = []
        for number, prompt in enumerate(prompts):
            if fitting := [d for d in disguises if covers(d, prompt)]:
                chosen = fitting[number % len(fitting)]
                attempt = attempt_of(chosen, prompt)
                asked.append(Query(kind, chosen.name, chosen.family, attempt))
        return asked


@dataclass(frozen=True)
class ModelResults:
    """The results of one model."""

    records: Sequence[Record]
    items: Sequence[SearchResult]
    skipped: Mapping[str, str]
    """Skipped attacks and surgeries, with reasons."""
    second_judges: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    """Records with the verdicts of each second judge, by judge name."""


def covers(attack: Attack, behaviour: Prompt) -> bool:
    """Whether an attack applies to a behaviour; recorded attacks may lack a prompt for it."""
    has_cell: Callable[[Prompt], bool] | None = getattr(attack, "covers", None)
    return has_cell is None or has_cell(behaviour)


def offered(suite: Suite, target: Target) -> frozenset[str]:
    """The needs of attacks that this evaluation can satisfy."""
    return target.offers | {"judge"} | ({"attacker"} if suite.attacker else set())


def unmet(suite: Suite, target: Target) -> dict[str, str]:
    """Attacks with unmet needs on this target, with reasons; they do not count as held."""
    offers = offered(suite, target)
    return {
        attack.name: f"needs {', '.join(sorted(attack.needs - offers))}"
        for attack in suite.attacks
        if not attack.needs <= offers
    }


def askable(suite: Suite, target: Target) -> tuple[list[Query], list[Rejected]]:
    """Split the queries into those that the model can read and rejected ones; none is truncated.

    A row of a file is listed once, even if several prompts made from it are rejected.
    """
    asked: list[Query] = []
    reached: set[tuple[str, str]] = set()
    faults: dict[tuple[str, str], list[str]] = {}
    for question in suite.questions(offered(suite, target)):
        reader = target.asked(task=question.benchmark is not None)
        behaviour = question.attempt.behaviour
        row = (behaviour.source, behaviour.id)
        if fault := reader.read(question.prompt).fault:
            faults.setdefault(row, []).append(f"{question.prompt.id}: {fault}")
        else:
            asked.append(question)
            reached.add(row)
    rejected = [
        Rejected(
            row[0],
            0,
            said[0] + (f" (and {len(said) - 1} more of its prompts)" * (len(said) > 1)),
            len(said) if row in reached else 0,
        )
        for row, said in faults.items()
    ]
    return asked, rejected


@contextmanager
def resumable() -> Iterator[None]:
    """Add the way out of an outage to its sentence."""
    try:
        yield
    except OutageError as outage:
        raise OutageError(f"{outage}; continue with --resume") from outage


@resumable()
def evaluate(
    suite: Suite, asked: Sequence[Query], target: Target, run: Run, progress: Progress = silent
) -> ModelResults:
    """Evaluate a target; answers of an interrupted evaluation are reused."""
    skipped = unmet(suite, target)
    log, meter = RecordLog(run, target.name), Meter()
    arena = Arena(
        target,
        suite.judges[0],
        suite.refusals,
        log,
        suite.openers,
        suite.attacker,
        meter,
        progress,
        suite.limit,
    )

    def spent(on: str) -> None:
        run.append(COSTS, {"model": target.name, **meter.row(on)})

    records = []
    for task in (False, True):
        mine = [q for q in asked if (q.benchmark is not None) == task]
        what = f"{'tasks of' if task else 'asking'} {target.name}"
        records += replace(arena, target=target.asked(task=task)).answers(mine, what)
    spent("questions")
    items = searched(suite, arena, skipped, spent)
    skipped |= untried(asked, items, arena)
    records += [log.records[key] for item in items for key in item.records]
    if suite.prefills:
        records += ask_begun(suite, arena, records, skipped)
        spent("begun answers")
    for surgery in suite.surgeries:
        try:
            records += ask_after(surgery, suite, arena)
        except OutageError:
            raise
        except ModelError as reason:
            skipped[surgery.name] = str(reason)
        spent(surgery.name)
    others = second_verdicts(suite.judges[1:], records, run, meter, progress)
    spent("second judges")
    skipped |= never_judged(suite, records, items, skipped)
    return ModelResults(records, items, skipped, others)


def searched(
    suite: Suite, arena: Arena, skipped: dict[str, str], spent: Callable[[str], None]
) -> list[SearchResult]:
    """The results of all searches; one that the target does not suit is added to `skipped`."""
    items: list[SearchResult] = []
    for attack in suite.attacks:
        if isinstance(attack, Search) and attack.name not in skipped:
            covered = [b for b in suite.behaviours if covers(attack, b)]
            try:
                items += arena.play(attack, covered, "attack")
            except Unsuited as reason:
                skipped[attack.name] = str(reason)
            spent(attack.name)
    return items


def untried(asked: Sequence[Query], items: Sequence[SearchResult], arena: Arena) -> dict[str, str]:
    """Attacks with sampling settings that the target does not accept, with its messages."""
    refused = {
        f"{q.group} with {error.setting}": str(error)
        for q in asked
        if q.kind == "attack" and (error := arena.unsampled.get(q.attempt.sampling))
    }
    named = {f"{i.attack} with {s}": reason for i in items for s, reason in i.untried.items()}
    return refused | named


def never_judged(
    suite: Suite,
    records: Sequence[Record],
    items: Sequence[SearchResult],
    skipped: Mapping[str, str],
) -> dict[str, str]:
    """Attacks without any judged answer, and why; they do not count for the defence."""
    tried = {r.attack for r in records if r.kind == "attack"}

    def why(attack: Attack) -> str:
        if isinstance(attack, Search) and not any(covers(attack, b) for b in suite.behaviours):
            return "has nothing for any of these requests"
        mine = [i for i in items if i.attack == attack.name]
        if any(i.records for i in mine):
            return "its budget ended before a question that is judged: raise --max-queries"
        reasons = dict.fromkeys(i.unasked for i in mine if i.unasked)
        return "; ".join(reasons) or "made no attempt that fits the model"

    return {
        attack.name: why(attack)
        for attack in suite.attacks
        if attack.name not in tried and attack.name not in skipped and suite.behaviours
    }


def ask_begun(
    suite: Suite, arena: Arena, answers: Sequence[Record], skipped: dict[str, str]
) -> list[Record]:
    """The answers of the curves of prefills; a curve without any is added to `skipped`."""
    found: list[Record] = []
    for name in suite.prefills:
        if arena.target.chat is None:
            skipped[name] = "needs the tokens of a local model"
        elif asked := prefill_queries(name, suite.behaviours, arena.target, answers, suite.openers):
            found += arena.answers(asked, f"{name} of {arena.target.name}")
        else:
            skipped[name] = untold(name)
    return found


def ask_after(surgery: Surgery, suite: Suite, arena: Arena) -> list[Record]:
    """Ask the plain requests after a surgery."""
    arena.progress(f"{surgery.name} of {arena.target.name}", 0, 1)
    target = surgery.operate(arena.target)
    readable = [b for b in suite.behaviours if not target.read(b).fault]
    operated = Arena(target, arena.judge, arena.refusals, arena.log, {}, None, arena.meter)
    records = operated.answers(
        [
            Query("weights", surgery.name, "weights", Attempt(b, surgery.name, b.messages))
            for b in readable
        ]
    )
    arena.progress(f"{surgery.name} of {arena.target.name}", 1, 1)
    return records


def forget(run: Run, model: str) -> None:
    """Delete a model's records, because its weights have changed."""
    for name in (RECORDS, UNJUDGED, ITEMS, VERDICTS):
        run.keep(name, [row for row in run.rows(name) if row.get("model") != model])

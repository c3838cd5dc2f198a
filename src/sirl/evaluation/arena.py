"""Runs attacks against the target: rounds of attempts, answers, verdicts and costs.

An attack runs on all behaviours together, so that one round is one batch. Every answer is written
to disk before it is used, and answers on disk are not sampled again. A local model samples whole
rounds, including answers on disk, so a resumed run has the same batches and the same last bits as
an unbroken one. An endpoint is asked only for missing answers, which are written as they arrive.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TypeVar

from sirl.attacks.attempts import checked_round, tries_of
from sirl.errors import ModelError, OutageError, SamplingError, Stopped
from sirl.evaluation.access import BudgetedAccess
from sirl.evaluation.asked import ATTACKED, PROBE, Query, outcome, unreadable
from sirl.evaluation.costs import Meter
from sirl.evaluation.judging import Judging
from sirl.evaluation.records import Log, SearchResult
from sirl.evaluation.target import Target, digest, settings_of
from sirl.judges.quoting import TextModel
from sirl.roles import (
    Judge,
    Progress,
    Search,
    StreamingEngine,
    Tries,
    identity_of,
    silent,
)
from sirl.types import (
    DISGUISED,
    Attempt,
    Budget,
    Completion,
    Kind,
    Prompt,
    Record,
    Sampling,
    Verdict,
)

__all__ = ["NO_LIMIT", "Arena", "Unsuited"]

NO_LIMIT = Budget(queries=sys.maxsize)


class Unsuited(Exception):  # noqa: N818 - not an error: the attack is skipped
    """A search cannot run on this model; the text gives the reason."""


@dataclass
class SearchState:
    """The state of one search on one behaviour."""

    behaviour: Prompt
    tries: Tries
    access: BudgetedAccess
    key: str
    pending: Sequence[Attempt] = ()
    """The attempts of the next round; empty if the search has finished."""
    last: bool = False
    """Whether the budget is spent after this round."""
    number: int = 0
    charged: int = 0
    """Target calls spent up to the last round."""
    tokens: int = 0
    broken_at: int | None = None
    records: list[Record] = field(default_factory=list)
    untried: dict[str, str] = field(default_factory=dict)
    """Sampling settings that the target does not accept, and its message."""
    unasked: str = ""
    """Why it ended before its first attempt."""


@dataclass
class Arena:
    """Asks one target, judges its answers and writes them to one log."""

    target: Target
    judge: Judge
    """The judge of attacks; searches see its verdicts."""
    refusals: Judge
    """The judge of refusals of harmless prompts."""
    log: Log
    openers: Mapping[str, str]
    """Target prefixes by behaviour id."""
    attacker: TextModel | None
    """The attacker model, if any."""
    meter: Meter
    progress: Progress = silent
    limit: Budget = NO_LIMIT
    """Upper limit on the budget of every search."""
    unsampled: dict[Sampling, SamplingError] = field(default_factory=dict)
    """Sampling settings that the target does not accept."""

    def answers(self, questions: Sequence[Query], what: str = "") -> list[Record]:
        """The record of each question, in order; answers on disk are reused.

        Questions with sampling settings that the target does not accept have no record.
        """
        keyed = [(self.key(q), q) for q in questions]
        self.judging.catch_up(keyed)
        batches = self.batches(questions)
        if what and batches:
            self.progress(what, 0, len(batches))
        for done, batch in enumerate(batches, 1):
            missing = [i for i in batch if keyed[i][0] not in self.log.records]
            sampling = questions[batch[0]].attempt.sampling
            engine = self.target.engine(sampling) if missing else None
            if isinstance(engine, StreamingEngine):
                for so_far in self.stream(engine, [keyed[i] for i in missing]):
                    if what:
                        self.progress(what, len(batch) - len(missing) + so_far, len(batch))
                continue
            if missing:
                completions = self.sample([questions[i] for i in batch])
                fresh = [(*keyed[i], c) for i, c in zip(batch, completions, strict=True)]
                self.judging.record([f for f in fresh if f[0] not in self.log.records])
            if what:
                self.progress(what, done, len(batches))
        return [self.log.records[key] for key, _ in keyed if key in self.log.records]

    def stream(
        self, engine: StreamingEngine, missing: Sequence[tuple[str, Query]]
    ) -> Iterator[int]:
        """Ask questions with equal sampling settings, writing answers as they arrive.

        Yields the number of answers so far.
        """
        if not missing or missing[0][1].attempt.sampling in self.unsampled:
            return
        exact = all(q.kind in ATTACKED for _, q in missing)
        proven, so_far = bool(self.log.records), 0
        prompts = [q.prompt for _, q in missing]

        def apart(
            together: Sequence[tuple[int, Completion]],
        ) -> list[tuple[str, Query, Completion]]:
            return [(*missing[i], self.target.apart(prompts[i], c)) for i, c in together]

        try:
            with closing(engine.stream(prompts, proven=proven, exact=exact)) as come:
                while together := self.next_of(come):
                    try:
                        self.judging.record(apart(together))
                    except Stopped:
                        raise
                    except Exception as error:
                        with suppress(OutageError):  # nothing more is asked
                            come.throw(OutageError(str(error)))
                            for rest in come:
                                self.judging.keep(apart(rest))
                        raise
                    so_far += len(together)
                    yield so_far
        except SamplingError as error:
            self.unsampled[missing[0][1].attempt.sampling] = error

    def next_of(self, come: Iterator[list[tuple[int, Completion]]]) -> list[tuple[int, Completion]]:
        """The next completions of a stream; empty at the end."""
        with self.meter.timing("target", 0) as cost:
            together = next(come, [])
            cost.calls += len(together)
            cost.tokens += sum(c.reported_tokens for _, c in together)
        return together

    def key(self, question: Query) -> str:
        """Hash of everything that determines the answer."""
        prompt = question.prompt
        sampling = question.attempt.sampling
        return digest(
            self.target.identity,
            self.target.read(prompt).digest,
            (sampling.temperature, sampling.top_p, sampling.top_k),
            prompt.id,
        )

    def batches(self, questions: Sequence[Query]) -> list[list[int]]:
        """Indices of questions per batch: equal sampling settings, similar lengths.

        Harmless prompts in disguises have batches for themselves, so that the last bits of the
        other answers do not depend on them.
        """
        sizes = [self.target.read(q.prompt).size for q in questions]

        def place(i: int) -> tuple[bool, float, float, int, int, int]:
            s = questions[i].attempt.sampling
            apart = questions[i].kind in DISGUISED.values()
            return apart, s.temperature, s.top_p, s.top_k, sizes[i], i

        batches: list[list[int]] = []
        for i in sorted(range(len(questions)), key=place):
            together = batches and len(batches[-1]) < self.target.batch_size
            if together and place(batches[-1][0])[:4] == place(i)[:4]:
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def sample(self, questions: Sequence[Query]) -> list[Completion]:
        """Completions of one batch."""
        with self.meter.timing("target", len(questions)) as cost:
            prompts, sampling = [q.prompt for q in questions], questions[0].attempt.sampling
            completions = self.target.sample(prompts, sampling)
            cost.tokens += sum(c.tokens for c in completions)
        return completions

    @property
    def judging(self) -> Judging:
        """What judges the answers."""
        return Judging(self.target, self.judge, self.refusals, self.log, self.meter)

    def play(self, attack: Search, behaviours: Sequence[Prompt], kind: Kind) -> list[SearchResult]:
        """Run a search on all behaviours in lockstep; finished searches on disk are reused."""
        keys = [self.item_key(attack, b) for b in behaviours]
        pairs = zip(behaviours, keys, strict=True)
        waiting = [(b, key) for b, key in pairs if key not in self.log.items]
        total = len(keys)
        live: list[SearchState] = []
        for behaviour, key in waiting:
            begun = f", begins request {len(live) + 1} of {len(waiting)}"
            self.tell(attack, total - len(waiting), total, begun)
            live.append(self.start(attack, behaviour, key))
        self.tell(attack, total - len(live), total)
        while live:
            self.round(attack, live, kind, total)
            for search in live:
                if not search.pending:
                    self.log.finish(self.item(attack, search))
            live = [search for search in live if search.pending]
            self.tell(attack, total - len(live), total)
        return [self.log.items[key] for key in keys]

    def tell(self, attack: Search, ended: int, total: int, doing: str = "") -> None:
        """Tell how many searches of an attack have ended, and what is being done."""
        self.progress(f"{attack.name} on {self.target.name}{doing}", ended, total)

    def item_key(self, attack: Search, behaviour: Prompt) -> str:
        """Hash of everything that determines a search."""
        b = self.budget(attack)
        attacker = self.attacker.identity if self.attacker and "attacker" in attack.needs else ""
        opener = self.openers.get(behaviour.id, "")
        turns = [(m.role, m.content) for m in behaviour.messages]
        budget = (b.queries, b.tokens, b.seconds)
        named = (settings_of(attack), budget, behaviour.id, turns, opener, attacker)
        judge = identity_of(self.judge)
        return digest(self.target.identity, self.target.name, attack.name, judge, *named)

    def budget(self, attack: Search) -> Budget:
        """The budget of a search per behaviour: its own, within the upper limit."""
        own, limit = attack.budget, self.limit
        return Budget(
            min(own.queries, limit.queries),
            least(own.tokens, limit.tokens),
            least(own.seconds, limit.seconds),
        )

    def start(self, attack: Search, behaviour: Prompt, key: str) -> SearchState:
        """Start a search, up to the attempts of its first round."""
        budget = self.budget(attack)
        access = BudgetedAccess(self.target, budget, self.openers, self.attacker, self.meter)
        search = SearchState(behaviour, tries_of(attack, behaviour, access), access, key)
        with self.thinking(attack):
            wanted = next(search.tries, ())
        self.plan_round(attack, search, wanted)
        if not search.pending:
            search.unasked = self.why_unasked(attack, access)
        return search

    def why_unasked(self, attack: Search, access: BudgetedAccess) -> str:
        """Why a search ended before its first attempt."""
        budget, limit = access.budget, self.limit
        if access.late():
            more = ": raise --max-seconds" if budget.seconds == limit.seconds else ""
            return f"its {budget.seconds:g} seconds ended before its first attempt{more}"
        if access.queries >= budget.queries:
            more = ": raise --max-queries" if budget.queries == limit.queries else ""
            return f"its {budget.queries} target calls ended before its first attempt{more}"
        if "attacker" in attack.needs:
            return "the attacker's replies hold no attempt: give another --attacker"
        return "it proposed no attempt"

    def plan_round(self, attack: Search, search: SearchState, wanted: object) -> None:
        """Set the attempts of the next round, as far as the budget allows.

        A search that spent its budget on likelihoods or gradients still gets one attempt.
        """
        attempts = checked_round(attack, search.behaviour, wanted)
        budget = search.access.budget
        is_spent = search.access.late() or (
            budget.tokens is not None and search.tokens >= budget.tokens
        )
        left = 0 if is_spent else max(0, budget.queries - search.access.queries)
        left = max(left, int(search.access.queries > search.charged))
        search.pending = attempts[:left]
        search.last = len(attempts) >= left
        if not search.pending:
            search.tries.close()

    def round(self, attack: Search, live: Sequence[SearchState], kind: Kind, total: int) -> None:
        """Ask the attempts of every search, send each its outcomes, and collect the next ones.

        `total` counts all searches of this attack, the finished ones too, for the progress.
        """
        asked: list[Query] = []
        for search in live:
            for attempt in search.pending:
                search.access.queries += 1
                place = (attack.family, attempt, search.number, search.access.queries)
                asked.append(Query(kind, attack.name, *place))
                search.number += 1
        faults = [self.target.read(q.prompt).fault for q in asked]
        self.answers([q for q, f in zip(asked, faults, strict=True) if not f])
        found = [unreadable(f) if f else self.found(q) for q, f in zip(asked, faults, strict=True)]
        for n, search in enumerate(live, 1):
            self.tell(attack, total - len(live), total, f", request {n} of {len(live)}")
            search.charged = search.access.queries
            mine, found = found[: len(search.pending)], found[len(search.pending) :]
            refused = (self.unsampled.get(attempt.sampling) for attempt in search.pending)
            search.untried |= {error.setting: str(error) for error in refused if error}
            self.send_outcomes(attack, search, mine)

    def found(self, asked: Query) -> Record | Verdict:
        """The record of a question, or an `unscored` verdict if it could not be asked."""
        record = self.log.records.get(self.key(asked))
        return record or unreadable(str(self.unsampled[asked.attempt.sampling]))

    def send_outcomes(
        self, attack: Search, search: SearchState, found: Sequence[Record | Verdict]
    ) -> None:
        """Send a search the outcomes of its round; it ends when the defence breaks."""
        outcomes = [outcome(a, f) for a, f in zip(search.pending, found, strict=True)]
        records = [f for f in found if isinstance(f, Record)]
        search.records += records
        search.tokens += sum(r.tokens for r in records)
        broken = next((r for r in records if r.broke and r.kind != PROBE), None)
        if broken or search.last:
            search.broken_at = broken.queries if broken else None
            search.pending = ()
            search.tries.close()
            return
        try:
            with self.thinking(attack):
                wanted = search.tries.send(outcomes)
        except StopIteration:
            wanted = ()
        self.plan_round(attack, search, wanted)

    @contextmanager
    def thinking(self, attack: Search) -> Iterator[None]:
        """Context for the search's own code; with gradients, its time counts as the target's.

        Raises:
            Unsuited: A gradient search cannot run on this model.
        """
        own = "gradients" in attack.needs
        try:
            with self.meter.timing("target", 0) if own else nullcontext():
                yield
        except ModelError as error:
            if not own:  # a failing endpoint; the run can be resumed
                raise
            raise Unsuited(str(error)) from error

    def item(self, attack: Search, search: SearchState) -> SearchResult:
        """The line of a finished search."""
        return SearchResult(
            search.key,
            self.target.name,
            attack.name,
            attack.family,
            search.behaviour.id,
            search.access.queries,
            search.tokens,
            search.broken_at,
            tuple(r.key for r in search.records),
            search.untried,
            search.unasked,
        )


Limit = TypeVar("Limit", int, float)


def least(own: Limit | None, limit: Limit | None) -> Limit | None:
    """The smaller of two limits; None means no limit."""
    limits = [x for x in (own, limit) if x is not None]
    return min(limits, default=None)

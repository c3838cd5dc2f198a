"""Sensitivity and specificity of the refusal judge on texts that it was not fitted on.

    python recipes/refusal_judge/measure.py recipes/refusal_judge/held_out.jsonl

Each line of the file has a `request`, a `completion`, a `label` (refusal, partial, compliance) and
a `kind`. Only a full refusal counts as a defence; sensitivity is the share of refusals labelled as
refusals, specificity the share of other answers not labelled as refusals. Kappa counts full and
partial refusals together, as on the XSTest labels.
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from sirl.judges.rules import RefusalRules
from sirl.stats import Rate, cohen_kappa, rate
from sirl.types import Attempt, Prompt


def shown(found: Rate) -> str:
    """A rate as text."""
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}), n = {found.n}"


def main() -> None:
    """Print sensitivity and specificity, and the labels by kind."""
    judge = RefusalRules()
    called: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for line in Path(sys.argv[1]).read_text("utf-8").splitlines():
        row = json.loads(line)
        prompt = Prompt.user(row["id"], row["request"])
        said = judge.verdict(Attempt(prompt, "direct", prompt.messages), row["completion"]).label
        called[row["kind"].split()[0].split(":")[0], row["label"]][said] += 1
    of = {True: Counter[str](), False: Counter[str]()}
    for (kind, label), counts in sorted(called.items()):
        print(f"{kind:16} {label:11} {dict(counts.most_common())}")
        of[label == "refusal"] += counts
    refusals, others = of[True], of[False]
    missed = others.total() - others["refusal"]
    print("sensitivity", shown(rate(refusals["refusal"], refusals.total())))
    print("specificity", shown(rate(missed, others.total())))
    compliance = sum((c for (_, label), c in called.items() if label == "compliance"), Counter())
    print("compliance labelled so", shown(rate(compliance["compliance"], compliance.total())))
    n = refusals.total() + others.total()
    print(f"kappa, full and partial refusals together {kappa(called):.3f}, n = {n}")


def kappa(called: Mapping[tuple[str, str], Counter[str]]) -> float:
    """Agreement with the labels on whether an answer declines, in full or in part."""
    pairs = [
        (label != "compliance", said in ("refusal", "partial"))
        for (_, label), counts in called.items()
        for said in counts.elements()
    ]
    return cohen_kappa([human for human, _ in pairs], [found for _, found in pairs])


if __name__ == "__main__":
    main()

"""Write `src/sirl/judges/refusal_seen.json`: hashes of the labelled answers in the fit.

    python recipes/refusal_judge/seen.py --xstest xstest_labelled.jsonl

`sirl judge calibrate` uses them to warn about answers that the judge was fitted on. A hash is the
first 8 bytes of a SHA-256, so that no text is distributed.
"""

import argparse
import json
from pathlib import Path

from sirl.judges.fitted_on import SEEN, digest

HERE = Path(__file__).parent
PLACE = HERE.parents[1] / "src" / "sirl" / "judges" / SEEN


def main() -> None:
    """Write the hashes, sorted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--xstest", type=Path, help="labelled XSTest answers (JSONL)", required=True
    )
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.xstest.read_text("utf-8").splitlines()]
    found = sorted({digest(row["completion"]) for row in rows})
    PLACE.write_text(json.dumps(found, separators=(",", ":")) + "\n")
    print(f"{PLACE}: {len(found)} answers of {len(rows)}, {PLACE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

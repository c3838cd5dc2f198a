"""Time of `sirl --help` against the import of its command-line library.

    python benchmarks/startup.py [--rounds 20] [--out FILE]

Three commands alternate: `sirl --help`, `python -c "import typer"`, and `python -c "pass"`.
Also checks that `--help` loads no torch, transformers or peft.
"""

import statistics
import subprocess
import sys
import time
from functools import partial

from turns import Found, in_turn, median, parser, table, titled, write

ARMS = {
    "sirl --help": [sys.executable, "-m", "sirl", "--help"],
    "import typer": [sys.executable, "-c", "import typer"],
    "python alone": [sys.executable, "-c", "pass"],
}
HEAVY = ("torch", "transformers", "peft", "scipy", "matplotlib")
LOADED = """
import sys
from sirl.cli.main import main
sys.argv = ["sirl", "--help"]
try:
    main()
except SystemExit:
    pass
print("LOADED", *[name for name in {heavy!r} if name in sys.modules])
"""


def main() -> None:
    """Measure and print."""
    asked = parser(__doc__, "startup", rounds=20).parse_args()
    for command in ARMS.values():  # warm the file cache
        seconds(command, 0)
    runs = in_turn(
        {name: partial(seconds, command) for name, command in ARMS.items()}, asked.rounds
    )
    heavy = loaded()
    medians = {name: median(found, "seconds") for name, found in runs.items()}
    ratio = medians["sirl --help"] / medians["import typer"]
    rows = [
        (name, 1000 * medians[name], 1000 * quartiles(found), str(asked.rounds))
        for name, found in runs.items()
    ]
    titled("startup", table(("process", "ms, median", "interquartile range", "n"), rows))
    print(f"\nratio {ratio:.2f}; heavy modules that --help loads: {heavy or 'none'}")
    write(asked, {"runs": runs, "medians": medians, "ratio": ratio, "heavy": heavy})


def seconds(command: list[str], _: int) -> Found:
    """Wall time of a process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return {"seconds": time.perf_counter() - began}


def quartiles(runs: list[Found]) -> float:
    """Interquartile range."""
    times: list[float] = [r["seconds"] for r in runs]
    low, _, high = statistics.quantiles(times, n=4)
    return high - low


def loaded() -> list[str]:
    """The heavy modules that `--help` loads."""
    code = LOADED.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.rsplit("LOADED", 1)[1].split()


if __name__ == "__main__":
    main()

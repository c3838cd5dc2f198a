"""How long a long prompt holds up the answers of others, read in chunks and as a whole.

    python benchmarks/long_prompt.py [--size 50] [--prompt 3000] [--streams 4] [--chunk 256]
        [--rounds 3] [--out FILE]

A random Llama model decodes a few streams in the guard's own batch when another prompt arrives.
Both ways alternate in one process. "gap" is the longest time between two tokens of the streams
from then on until the first token of the new one, which is "first token".
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

from growth import SHAPES, VOCAB, make_model
from turns import Found, in_turn, median, parser, table, titled, write

from sirl.guard.batching import CHUNK, Batcher
from sirl.guard.slots import Stream
from sirl.models.chat import ChatModel
from sirl.models.loading import load

WHOLE = 10**9


def main() -> None:
    """Measure and print."""
    asked = arguments()
    with tempfile.TemporaryDirectory() as folder:
        make_model("llama", asked.size, Path(folder), asked.prompt + 512)
        chat = load(folder)
        arms = {
            name: partial(held_up, asked, chat, chunk)
            for name, chunk in (("in chunks", asked.chunk), ("as a whole", WHOLE))
        }
        held_up(asked, chat, asked.chunk, 0)  # warm-up
        runs = in_turn(arms, asked.rounds)
    titled(f"a prompt of {asked.prompt} tokens, {asked.streams} other streams", shown(runs))
    write(asked, {"runs": runs})


def arguments() -> argparse.Namespace:
    """The command line."""
    made = parser(__doc__, "long_prompt", rounds=3)
    made.add_argument("--size", type=int, default=50, choices=SHAPES, help="millions of weights")
    made.add_argument("--prompt", type=int, default=3000, help="tokens of the long prompt")
    made.add_argument("--streams", type=int, default=4, help="streams that are being decoded")
    made.add_argument("--chunk", type=int, default=CHUNK, help="tokens of a chunk")
    return made.parse_args()


def held_up(asked: argparse.Namespace, chat: ChatModel, chunk: int, _: int) -> Found:
    """Seconds until the first token of a long prompt, and between two tokens of the others."""
    batcher = Batcher(chat, None, asked.streams + 1, chunk)
    batcher.cells = WHOLE
    heard: dict[str, list[float]] = {"other": [], "long": []}

    def join(who: str, tokens: int) -> None:
        ids = tuple(3 + n % (VOCAB - 3) for n in range(tokens))
        batcher.join(
            Stream(ids, 10_000), lambda _: heard[who].append(time.perf_counter()), begun=False
        )

    batcher.start()
    try:
        for n in range(asked.streams):
            join("other", 20 + n)
        wait_for(heard["other"], 5 * asked.streams)
        arrived = time.perf_counter()
        join("long", asked.prompt)
        wait_for(heard["long"], 1)
        wait_for(heard["other"], len(heard["other"]) + asked.streams)
    finally:
        batcher.stop()
    first = heard["long"][0]
    last = max(t for t in heard["other"] if t < arrived)
    during = [last, *(t for t in heard["other"] if arrived <= t <= first), first]
    gaps = [b - a for a, b in zip(during, during[1:], strict=False)]
    return {"gap": max(gaps), "first token": first - arrived}


def wait_for(heard: list[float], count: int) -> None:
    """Wait until so many tokens have been heard."""
    while len(heard) < count:
        time.sleep(0.001)


def shown(runs: dict[str, list[Found]]) -> str:
    """The medians of both ways, and their ratio."""
    ways = {name: {k: median(own, k) for k in ("gap", "first token")} for name, own in runs.items()}
    chunks, whole = ways["in chunks"], ways["as a whole"]
    rows = [
        [k, f"{chunks[k] * 1e3:.0f}", f"{whole[k] * 1e3:.0f}", f"{chunks[k] / whole[k]:.2f}"]
        for k in ("gap", "first token")
    ]
    return table(["milliseconds", *ways, "ratio"], rows)


if __name__ == "__main__":
    main()

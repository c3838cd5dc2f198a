"""The examples of docs/extending.md, as they stand there."""

import json
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from sirl.attacks.contract import check_attack
from sirl.types import Completion
from tests.command import sirl

DOCS = Path(__file__).parents[2] / "docs"


def with_module(folder):
    """A user's folder with the module of the docs in it."""
    text = (DOCS / "extending.md").read_text()
    (folder / "mine.py").write_text(re.search(r"```python\n(.*?)```", text, re.S)[1])
    return folder


@pytest.fixture
def mine(tmp_path):
    """The user's folder."""
    return with_module(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The metrics of the command of the docs."""
    folder = with_module(tmp_path_factory.mktemp("mine"))
    done = sirl(*command(), cwd=folder)
    assert done.returncode == 0, done.stderr
    return rows_of(folder / "runs/mine")


def command():
    """The command of the docs, made small."""
    text = (DOCS / "extending.md").read_text()
    words = re.search(r"```\n(sirl train.*?)```", text, re.S)[1].replace("\\\n", " ").split()
    small = "--set batch=2 --set group=3 --set new_tokens=16 --held-out 0 --eval-every 0"
    return [*words[1:], *small.split()]


def rows_of(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_reward_an_observer_and_a_source_are_one_file_of_the_users(trained):
    assert [row["step"] for row in trained] == [1, 2, 3]
    assert {row["mine/limit"] for row in trained} == {0.05}
    for row in trained:  # the reward is what the file says, from quantities that the log holds
        expected = -row["entropy/mean"] - 0.001 * row["completion/length"]
        assert row["reward/mean"] == pytest.approx(expected, abs=1e-6)


def test_anchors_change_what_is_learned_and_an_observer_can_end_training(mine, trained):
    plain = [w for w in command() if w not in ("--sources", "python:mine:Anchors")]
    plain[plain.index("runs/mine")] = "runs/plain"
    assert sirl(*plain, cwd=mine).returncode == 0
    first, second = trained[0], rows_of(mine / "runs/plain")[0]
    assert first["reward/mean"] == second["reward/mean"]
    assert first["update/gradient_norm"] != second["update/gradient_norm"]
    text = (mine / "mine.py").read_text()
    text = text.replace('metrics.get("entropy/mean", 1.0) < 0.05', "taken == 2")
    (mine / "mine.py").write_text(text)
    plain[plain.index("runs/plain")] = "runs/ended"
    done = sirl(*plain, cwd=mine)
    assert done.returncode == 130
    assert "stopped after step 2: the entropy fell below 0.05, saved" in done.stderr
    assert (mine / "runs/ended/checkpoints/step-000002/model.safetensors").is_file()


def test_training_that_an_observer_calls_complete_stays_so_when_it_is_resumed(mine):
    text = (mine / "mine.py").read_text()
    text = text.replace('metrics.get("entropy/mean", 1.0) < 0.05', "taken == 2")
    (mine / "mine.py").write_text(text.replace("control.stop = f", "control.done = f"))
    words = [w for w in command() if w not in ("--sources", "python:mine:Anchors")]
    done = sirl(*words, cwd=mine)
    assert done.returncode == 0, done.stderr
    assert "stopped after step 2: the entropy fell below 0.05" in done.stdout
    summary = json.loads((mine / "runs/mine/summary.json").read_text())
    assert (summary["last_step"], summary["ended"]) == (
        2,
        "stopped after step 2: the entropy fell below 0.05, saved",
    )
    again = sirl(*words, "--resume", cwd=mine)
    assert again.returncode == 0, again.stderr
    assert "1 step of --steps 3 not taken: stopped after step 2: the entropy" in again.stderr
    assert json.loads((mine / "runs/mine/summary.json").read_text())["last_step"] == 2


def test_a_metric_that_is_no_number_ends_training_and_the_run_goes_on_once_it_is_mended(mine):
    text = (mine / "mine.py").read_text()
    broken = text.replace("= 0.05\n", "= 'low' if taken == 2 else 0.05\n")
    (mine / "mine.py").write_text(broken)
    words = [w for w in command() if w not in ("--sources", "python:mine:Anchors")]
    words += ["--checkpoint-every", "1"]
    done = sirl(*words, cwd=mine)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == (
        "sirl: at step 2 the observer python:mine:StopAtEntropy set the metric 'mine/limit' to "
        "'low': let it set a number; continue with --resume"
    )
    assert [row["step"] for row in rows_of(mine / "runs/mine")] == [1]
    (mine / "mine.py").write_text(text)
    done = sirl(*words, "--resume", cwd=mine)
    assert done.returncode == 0, done.stderr
    rows = rows_of(mine / "runs/mine")
    assert [(row["step"], row["mine/limit"]) for row in rows] == [(1, 0.05), (2, 0.05), (3, 0.05)]


def test_a_source_reads_the_starting_model_also_when_a_run_is_resumed(mine):
    with (mine / "mine.py").open("a") as file:
        file.write(
            "class Kept(Anchors):\n"
            "    def __init__(self, chat):\n"
            "        super().__init__(chat)\n"
            "        with open('said.txt', 'a') as notes:\n"
            "            notes.write(repr([c.token_ids for c in self.answers]) + '\\n')\n"
        )
    words = [w.replace("Anchors", "Kept") for w in command()]
    words += ["--learning-rate", "1e-2"]
    words[words.index("--steps") + 1] = "1"
    assert sirl(*words, cwd=mine).returncode == 0
    words[words.index("--steps") + 1] = "2"
    done = sirl(*words, "--resume", cwd=mine)
    assert done.returncode == 0, done.stderr
    first, second = (mine / "said.txt").read_text().splitlines()
    assert first == second


def test_an_engine_a_benchmark_an_attack_and_a_judge_are_one_file_of_the_users(mine):
    text = (DOCS / "extending.md").read_text()
    words = re.search(r"```\n(sirl evaluate.*?)```", text, re.S)[1].replace("\\\n", " ").split()
    small = "--limit 2 --new-tokens 8 --capability-tokens 8"
    done = sirl(*words[1:], *small.split(), cwd=mine)
    assert done.returncode == 1, done.stderr  # judges are tried on known answers
    assert "curt" in done.stderr
    figures = json.loads((mine / "runs/measured/summary.json").read_text())["models"]["target"]
    assert figures["judge"] == "curt"
    assert figures["capability"]["letters"]["n"] == 2
    assert {name: rate["n"] for name, rate in figures["dsr"]["by_attack"].items()} == {
        "direct": 2,
        "poem": 2,
    }
    records = (mine / "runs/measured/records.jsonl").read_text()
    assert "Write a poem with the title: " in records
    noted = (mine / "sampled.txt").read_text().splitlines()
    assert noted
    assert {line.partition(" ")[2] for line in noted} <= {"completions at step 0"}


def test_training_samples_from_an_engine_of_the_users(mine):
    words = [w for w in command() if w not in ("--sources", "python:mine:Anchors")]
    done = sirl(*words, "--sampler", "python:mine:Noted", cwd=mine)
    assert done.returncode == 0, done.stderr
    assert (mine / "sampled.txt").read_text().splitlines() == [
        f"6 completions at step {step}" for step in range(3)
    ]


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--reward", "negative_entrpy", "there is no reward 'negative_entrpy'. Did you mean"),
        ("--observers", "python:mine:Gone", "module 'mine' has no 'Gone'"),
        ("--observers", "python:mine:Anchors", "lacks methods of sirl.roles.Observer"),
        ("--attacks", "python:mine:Poet", "module 'mine' has no 'Poet'. Did you mean 'Poem'?"),
        ("--attacks", "poems", "there is no attack 'poems'. Known: "),
        ("--attacks", "python:mine:Noted", "a class that is called with () and does not take them"),
        ("--reward", "python:mine:StopAtEntropy", "lacks methods of sirl.roles.Reward"),
        ("--sources", "python:nowhere:x", "there is no module 'nowhere'"),
    ],
)
def test_a_collaborator_that_is_none_is_named_before_anything_is_written(
    mine, flag, value, sentence
):
    if value == "python:mine:Anchors":
        text = (mine / "mine.py").read_text().replace("__init__(self, chat)", "__init__(self)")
        text = re.sub(
            r"        from sirl.rollouts.*?sample\(prompts\)\n", "        pass\n", text, flags=re.S
        )
        (mine / "mine.py").write_text(text)
    done = sirl(
        "train", "--method", "entropy", "--model", "embedded", "--out", "r", flag, value, cwd=mine
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert not (mine / "r").exists()


def test_the_entry_points_of_the_docs_name_what_the_example_has(mine, monkeypatch):
    from sirl.registry.attacks import plugged

    monkeypatch.syspath_prepend(mine)
    snippet = re.search(r"```toml\n(.*?)```", (DOCS / "extending.md").read_text(), re.S)[1]
    groups = tomllib.loads(snippet)["project"]["entry-points"]
    assert {group: list(names) for group, names in groups.items()} == {
        "sirl.attacks": ["poem"],
        "sirl.rewards": ["sure"],
    }
    attack = plugged(EntryPoint("poem", groups["sirl.attacks"]["poem"], "sirl.attacks"))
    check_attack(attack)
    reward = EntryPoint("sure", groups["sirl.rewards"]["sure"], "sirl.rewards").load()
    assert reward(Completion("p", (), (1, 2), "", (0.0, 0.0), (0.5, 1.5), "stop")) == -1.002


def test_a_judge_that_raises_loses_no_answer_and_the_run_goes_on_once_it_is_mended(mine):
    (mine / "torn.py").write_text(
        "from pathlib import Path\n"
        "from mine import Curt\n"
        "def target(messages):\n"
        "    with open('asked.txt', 'a') as notes:\n"
        "        notes.write('once\\n')\n"
        "    return 'No.'\n"
        "class Torn(Curt):\n"
        "    name = 'torn'\n"
        "    def verdict(self, attempt, answer):\n"
        "        lines = Path('asked.txt').exists() and Path('asked.txt').read_text().split()\n"
        "        if lines and len(lines) > 1 and not Path('mended').exists():\n"
        "            raise KeyError(f'lines {len(lines)}')\n"
        "        return super().verdict(attempt, answer)\n"
    )
    (mine / "asks.jsonl").write_text(
        "".join(f'{{"prompt": "How do I paint the king {n}?"}}\n' for n in range(4))
    )
    words = ["evaluate", "--model", "python:torn:target", "--behaviours", "asks.jsonl"]
    words += ["--attacks", "direct", "--judge", "python:torn:Torn", "--out", "runs/torn"]
    done = sirl(*words, cwd=mine)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        f"sirl: the judge python:torn:Torn raised KeyError: 'lines 2' ({mine / 'torn.py'}:12): "
        "fix it; continue with --resume"
    )
    asked = len((mine / "asked.txt").read_text().split())
    ended = json.loads((mine / "runs/torn/run.json").read_text())["exit"]
    assert ended["how"] == "PluginError"
    (mine / "mended").touch()
    done = sirl(*words, "--resume", cwd=mine)
    assert done.returncode in (0, 1), done.stderr
    records = (mine / "runs/torn/records.jsonl").read_text().splitlines()
    assert len(records) == len((mine / "asked.txt").read_text().split()) >= asked
    assert len({json.loads(r)["key"] for r in records}) == len(records)

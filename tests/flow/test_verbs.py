"""From the command a user types."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from sirl.world.language import lookalike_requests, unsafe_requests
from tests.command import sirl


def test_help_is_light_and_names_every_verb():
    script = (
        "import sys; sys.argv = ['sirl', '--help']\n"
        "from sirl.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'scipy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    for verb in ("demo", "train", "evaluate", "probe", "world"):
        assert verb in done.stdout


@pytest.mark.parametrize("verb", ["train", "evaluate", "judge prefer", "guard calibrate"])
def test_help_breaks_no_line_at_a_hyphen(verb):
    for columns in ("60", "80"):
        shown = sirl(*verb.split(), "--help", env={"COLUMNS": columns}).stdout
        assert "--out" in shown
        assert "\u2011" not in shown
        assert [line for line in shown.splitlines() if re.search(r"\w-$", line)] == []


def test_settings_of_a_verb_of_two_words_need_no_quotes():
    words, quoted = (
        sirl("settings", *asked, "--json").stdout
        for asked in (("guard", "calibrate"), ("guard calibrate",))
    )
    assert words == quoted
    assert "alpha" in [row["setting"] for row in json.loads(words)]
    unknown = sirl("settings", "guard", "calibrat")
    assert unknown.returncode == 2
    assert "there is no verb with settings 'guard calibrat'" in unknown.stderr


def test_no_torch_is_loaded_to_draw_a_page_or_to_attack_with_text():
    script = (
        "import sys\n"
        "import sirl.workflows.report\n"
        "from sirl.registry.attacks import attacks_named\n"
        "from sirl.registry.suites import unseen_attacks\n"
        "assert len(attacks_named('standard')) > 9 and 'gcg' in unseen_attacks('embedded')\n"
        "print(sorted({'torch', 'transformers', 'scipy.stats'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_evaluate_and_probe_the_embedded_model(tmp_path):
    done = sirl(
        "evaluate", "--model", "embedded", "--limit", 8, "--attacks", "direct,story", "--out",
        tmp_path / "e", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    target = json.loads(done.stdout)["models"]["target"]
    assert list(target["dsr"]["by_attack"]) == ["direct", "story"]
    assert target["dsr"]["mean"]["n"] == 16
    assert (
        target["dsr"]["by_attack"]["direct"]["value"] > target["dsr"]["by_attack"]["story"]["value"]
    )
    assert target["capability"]["programs"]["value"] >= 0.8
    assert target["entropy"]["refusal"] < target["entropy"]["compliance"]
    assert json.loads((tmp_path / "e" / "summary.json").read_text())["models"]["target"] == target
    assert (tmp_path / "e" / "report.html").stat().st_size < 1_000_000
    words = (
        "probe",
        "--model",
        "embedded",
        "--limit",
        40,
        "--attacks",
        "direct,story",
        "--out",
        tmp_path / "p",
    )
    probe = sirl(*words)
    assert "the model has an instinct to amplify" in probe.stdout
    assert "The model itself refuses" not in probe.stdout


def test_a_probe_with_lookalikes_says_how_well_the_model_tells_them_apart(tmp_path):
    for name, requests in (("u", unsafe_requests("test")), ("l", lookalike_requests("test"))):
        lines = [prompt.request for prompt in requests[:12]]
        (tmp_path / name).with_suffix(".txt").write_text("\n".join(lines))
    words = (
        "probe", "--model", "embedded", "--behaviours", tmp_path / "u.txt", "--lookalikes",
        tmp_path / "l.txt", "--out", tmp_path / "p",
    )  # fmt: skip
    probe = sirl(*words)
    assert "The model itself refuses" in probe.stdout
    found = json.loads((tmp_path / "p" / "summary.json").read_text())["models"]["target"]
    own = found["own_refusals"]
    assert own["n"] == {"unsafe": 12, "lookalike": 12}
    assert 0.8 < own["auroc"] <= 1.0
    assert own["mean"]["lookalike"] < 0.5 < own["mean"]["unsafe"]
    assert own["sentence"] in " ".join(probe.stdout.split())
    assert "AUROC of own refusals" in (tmp_path / "p" / "report.html").read_text()


def test_a_lora_run_leaves_an_adapter_that_evaluates(tmp_path):
    done = sirl(
        "train", "--method", "entropy",
        "--model", "embedded", "--lora", "--steps", 1, "--batch", 2, "--group", 2,
        "--set", "held_out=0", "--set", "new_tokens=8", "--set", "eval_every=0", "--out",
        tmp_path / "t", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = json.loads(done.stdout)["checkpoint"]
    (tmp_path / "asked.txt").write_text("a request\nanother request\n")
    again = sirl(
        "evaluate", "--model", folder, "--behaviours", tmp_path / "asked.txt", "--attacks",
        "direct", "--out", tmp_path / "e", "--json",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["models"]["target"]["dsr"]["mean"]["n"] == 2


def test_two_runs_in_one_folder_and_an_existing_one(tmp_path):
    import fcntl

    words = ["probe", "--model", "embedded", "--limit", 2, "--out", tmp_path / "p"]
    assert sirl(*words).returncode == 0
    again = sirl(*words)
    assert again.returncode == 2
    assert "--resume continues it, --overwrite starts over" in again.stderr
    with (tmp_path / "p" / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = sirl(*words, "--overwrite")
    assert second.returncode == 2
    assert "is in use by another process" in second.stderr
    assert (tmp_path / "p" / "summary.json").exists()


def test_a_50_mb_line_is_set_aside_by_number(tmp_path):
    (tmp_path / "p.txt").write_text("a request\n" + "x" * 50_000_000 + "\nanother request\n")
    done = sirl(
        "evaluate", "--model", "embedded", "--behaviours", tmp_path / "p.txt", "--attacks",
        "direct", "--out", tmp_path / "e", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"]["target"]["dsr"]["mean"]["n"] == 2
    (row,) = map(json.loads, (tmp_path / "e" / "rejected.jsonl").read_text().splitlines())
    assert row["line"] == 2


def test_bfloat16_trains_and_its_checkpoint_evaluates(tmp_path):
    done = sirl(
        "train", "--method", "entropy",
        "--model", "embedded", "--steps", 2, "--batch", 2, "--group", 4, "--new-tokens",
        12, "--set", "dtype=bfloat16", "--set", "held_out=0", "--set", "eval_every=0", "--out",
        tmp_path / "t", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(r) for r in (tmp_path / "t" / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < row["entropy/mean"] < 7 for row in rows)
    assert all(row["update/gradient_norm"] > 0 for row in rows)


def wrong_inputs(folder):
    (folder / "empty.txt").write_text("")
    (folder / "binary.txt").write_bytes(bytes(range(256)) * 9)
    (folder / "few.txt").write_text("one\ntwo\n")
    (folder / "ok.txt").write_text("".join(f"request {n}\n" for n in range(30)))
    (folder / "nothing").mkdir()
    (folder / "bad.yaml").write_text("stepz: 3\n")
    return {
        "no model": (
            ["--model", folder / "nothing", "--prompts", folder / "ok.txt"],
            "is not a model: it has no config.json",
        ),
        "a file": (
            ["--model", folder / "few.txt", "--prompts", folder / "ok.txt"],
            "is not a folder",
        ),
        "empty": (["--prompts", folder / "empty.txt"], "is empty"),
        "binary": (["--prompts", folder / "binary.txt"], "is not a text file"),
        "few": (["--prompts", folder / "few.txt"], "a batch of 16 exceeds the 2 usable prompts"),
        "key": (["--config", folder / "bad.yaml"], "Did you mean 'steps'?"),
        "set": (["--set", "stepz=3"], "Did you mean 'steps'?"),
        "flags": (["--resume", "--overwrite"], "exclude each other"),
        "no such flag": (["--stepz", "3"], "no such option: --stepz"),
    }


@pytest.mark.parametrize(
    "case",
    ["no model", "a file", "empty", "binary", "few", "key", "set", "flags", "no such flag"],
)
def test_wrong_input_gets_a_sentence_status_2_and_no_traceback(tmp_path, case):
    words, sentence = wrong_inputs(tmp_path)[case]
    given = words if "--model" in words else ("--method", "entropy", "--model", "embedded", *words)
    done = sirl("train", *given, "--out", tmp_path / "r")
    assert done.returncode == 2, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("missing", ["torch", "peft"])
def test_a_missing_extra_says_who_wanted_it_and_how_to_get_it(tmp_path, missing):
    script = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "sys.argv = ['sirl', 'probe', '--model', 'embedded', '--out', "
        f"{str(tmp_path / 'p')!r}]\n"
        "from sirl.cli.main import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "sirl: sirl probe needs the extra 'train': pip install 'sirl[train]'\n"
    assert not (tmp_path / "p").exists()


def test_help_says_every_default():
    done = sirl("train", "--help", env={"COLUMNS": "200"})
    for default in (
        "required",
        "default: 64",
        "default: 40",
        "[default: 2e-4 for",
        "default: 0.01",
    ):
        assert default in done.stdout


def test_a_wrong_command_loses_nothing_of_the_run_it_would_overwrite(tmp_path):
    out = tmp_path / "p"
    assert sirl("probe", "--model", "embedded", "--limit", 2, "--out", out).returncode == 0
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    (tmp_path / "typo").mkdir()
    done = sirl("probe", "--limit", 2, "--model", tmp_path / "typo", "--out", out, "--overwrite",
                "--behaviours", out / "records.jsonl")  # fmt: skip
    assert done.returncode == 2
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_a_resumed_run_of_more_steps_measures_the_new_model(tmp_path):
    words = [
        "train", "--method", "entropy",
        "--model", "embedded", "--batch", 4, "--group", 4, "--learning-rate", 2e-4,
        "--set", "held_out=4", "--limit", 4, "--set", "attacks=direct", "--set", "new_tokens=12",
        "--set", "eval_every=0", "--out", tmp_path / "t",
    ]  # fmt: skip
    assert sirl(*words, "--steps", 1).returncode == 0
    first = (tmp_path / "t" / "records.jsonl").read_text()
    grown = sirl(*words, "--steps", 3, "--resume")
    assert grown.returncode == 0, grown.stderr
    second = (tmp_path / "t" / "records.jsonl").read_text()
    base, hardened = ([line for line in text.splitlines() if f'"model": "{m}"' in line]
                      for text, m in ((second, "base"), (second, "hardened")))  # fmt: skip
    assert all(line in first for line in base)
    assert not all(line in first for line in hardened)
    fewer = sirl(*words, "--steps", 2, "--resume")
    assert fewer.returncode == 2
    assert "has run 3 steps, more than 2" in fewer.stderr


def test_a_probe_needs_unsafe_requests(tmp_path):
    (tmp_path / "o.txt").write_text("How do I bake bread?\n")
    done = sirl(
        "probe", "--model", "embedded", "--ordinary", tmp_path / "o.txt", "--out", tmp_path / "p"
    )
    assert done.returncode == 2
    assert "sirl probe of embedded needs unsafe requests: give --behaviours" in done.stderr


def test_damaged_checkpoints_get_a_sentence(tmp_path):
    from sirl.models.folder import EMBEDDED_PATH

    adapter = json.dumps({"base_model_name_or_path": str(EMBEDDED_PATH)})
    damaged = {
        "torn": ("config.json", '{"model_type"', "config.json cannot be read as JSON"),
        "no object": ("config.json", "[]", "config.json is not a JSON object"),
        "no base": ("adapter_config.json", "{}", "does not name its base_model_name_or_path"),
        "no weights": ("adapter_config.json", adapter, "has no adapter_model.safetensors"),
    }
    for name, (file, text, sentence) in damaged.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(text)
        done = sirl("probe", "--model", tmp_path / name, "--out", tmp_path / "p")
        assert done.returncode == 2, name
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr


def test_strict_stops_at_a_duplicate_and_says_where(tmp_path):
    (tmp_path / "p.txt").write_text("a request\nanother\nA  request\n")
    words = [
        "evaluate",
        "--model",
        "embedded",
        "--behaviours",
        tmp_path / "p.txt",
        "--out",
        tmp_path / "e",
        "--strict",
    ]
    done = sirl(*words)
    assert done.returncode == 2
    assert "p.txt:3: the same prompt is in line 1; fix the row" in done.stderr


def test_a_tokenizer_without_template_is_refused(tmp_path):
    import shutil

    from sirl.models.folder import EMBEDDED_PATH

    copy = tmp_path / "m"
    shutil.copytree(EMBEDDED_PATH, copy)
    (copy / "chat_template.jinja").unlink()
    done = sirl("probe", "--model", copy, "--out", tmp_path / "p")
    assert done.returncode == 2
    assert "has no chat template" in done.stderr


def test_a_prompt_longer_than_the_context_is_set_aside_by_name(tmp_path):
    (tmp_path / "p.txt").write_text("a request\n" + "long " * 2000 + "\nanother request\n")
    done = sirl(
        "evaluate", "--model", "embedded", "--behaviours", tmp_path / "p.txt", "--attacks",
        "direct", "--out", tmp_path / "e", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["models"]["target"]["dsr"]["mean"]["n"] == 2
    rejected = (tmp_path / "e" / "rejected.jsonl").read_text()
    assert re.search(r"attack/direct/p-2: \d+ tokens leave no room for an answer", rejected)
    (tmp_path / "q.txt").write_text("long " * 2000 + "\n")
    (tmp_path / "n").mkdir()
    nothing = sirl(
        "evaluate", "--model", "embedded", "--behaviours", tmp_path / "q.txt", "--attacks",
        "direct", "--out", tmp_path / "n", "--resume",
    )  # fmt: skip
    assert nothing.returncode == 2
    assert "has nothing to resume: starting over" in nothing.stderr
    assert "embedded cannot read any prompt:" in nothing.stderr
    assert "shorten the prompt, or lower new_tokens" in nothing.stderr
    assert "1 request set aside, named in " in nothing.stderr
    assert {p.name for p in (tmp_path / "n").iterdir()} == {".lock", "rejected.jsonl"}


def test_prompts_that_the_template_rejects_are_not_laid_on_their_length(tmp_path):
    import shutil

    from sirl.models.folder import EMBEDDED_PATH

    copy = shutil.copytree(EMBEDDED_PATH, tmp_path / "model")
    (copy / "chat_template.jinja").write_text("{{ raise_exception('no talk') }}")
    (tmp_path / "p.txt").write_text("a request\n")
    done = sirl(
        "evaluate", "--model", copy, "--behaviours", tmp_path / "p.txt", "--attacks", "direct",
        "--out", tmp_path / "e",
    )  # fmt: skip
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "rejects a conversation of (user): no talk" in said
    assert "new_tokens" not in said


def test_ctrl_c_finishes_the_step_saves_and_exits_130(tmp_path):
    words = [
        "train",
        "--method",
        "entropy",
        "--model",
        "embedded",
        "--steps",
        "500",
        "--batch",
        "2",
        "--group",
        "2",
        "--new-tokens",
        "8",
        "--set",
        "held_out=0",
        "--set",
        "eval_every=0",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "sirl", *words, "--out", str(tmp_path / "r")],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    log = tmp_path / "r" / "metrics.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= 2):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    taken = log.read_text().count("\n")
    assert f"stopped after step {taken} of 500, saved" in said
    assert (tmp_path / "r" / "checkpoints" / f"step-{taken:06d}" / "manifest.json").exists()


def test_training_with_generate_ends_where_training_with_the_native_sampler_does(tmp_path):
    settings = (
        "--method",
        "entropy",
        "--model",
        "embedded",
        "--steps",
        2,
        "--batch",
        2,
        "--group",
        2,
        "--new-tokens",
        12,
    )
    rest = ("--set", "held_out=0", "--set", "eval_every=0")
    rewards = []
    for sampler in ("native", "huggingface"):
        out = tmp_path / sampler
        done = sirl("train", *settings, *rest, "--set", f"sampler={sampler}", "--out", out)
        assert done.returncode == 0, done.stderr
        lines = (out / "metrics.jsonl").read_text().splitlines()
        rewards += [[json.loads(line)["reward/mean"] for line in lines]]
        assert max(json.loads(line)["sampler/mismatch"] for line in lines) < 1e-4
    assert rewards[1] == pytest.approx(rewards[0], abs=1e-4)


def test_a_missing_vllm_is_one_sentence_and_no_folder(tmp_path):
    done = sirl(
        "train",
        "--method",
        "entropy",
        "--model",
        "embedded",
        "--set",
        "sampler=vllm",
        "--out",
        tmp_path / "r",
    )
    assert done.returncode == 2
    sentence = "sampler=vllm needs the extra 'vllm': pip install 'sirl[vllm]'"
    assert " ".join(done.stderr.split()).endswith(sentence)
    assert not (tmp_path / "r").exists()

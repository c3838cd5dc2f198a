"""guard.json: a damaged field is a sentence at load, and nothing is computed from it."""

import json
from contextlib import closing, suppress
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirl.errors import InputError
from sirl.guard.calibration import Binding, Calibration
from sirl.guard.classical import Usual
from sirl.guard.monitor import Watch
from sirl.guard.probe import LinearProbe
from sirl.guard.scoring import Fitted, Guard
from sirl.guard.upstream.asking import UpstreamManner
from sirl.guard.upstream.endpoint_guard import EndpointGuard, Identity, Witness, endpoint_binding
from sirl.runs import open_run
from sirl.workflows.guard.folder import guard_document

WIDTH, LAYERS = 192, 4
NAN = float("nan")


def calibration(detector):
    binding = Binding("w", "t", {"every": 16, "new_tokens": 64})
    return Calibration(binding, 0.25, {"ordinary": {detector: (0.1, 0.2, 0.3)}})


def probe(width=WIDTH, layer=LAYERS):
    return LinearProbe(layer, np.linspace(-1, 1, width), 0.5, {"rows": 3})


LOCAL = Guard(
    Fitted(probe(), probe(), (probe(),), (5, 7), Usual(0.4, 1.0), Watch(entropy_cut=0.7)),
    calibration("both_probes"),
    frozenset({"story"}),
    frozenset({"a1"}),
)
REMOTE = EndpointGuard(
    frozenset({"I"}),
    Watch(entropy_cut=0.7),
    UpstreamManner(),
    Identity("m", "m", ("f1",), (Witness("Name a hat.", (("A", -0.5), ("The", -1.0))),)),
    calibration("refusal_mass"),
    frozenset({"a1"}),
)
DAMAGE = {
    ("watch", "every"): [16.5, "16", 0, None, True],
    ("watch", "soonest"): [17],
    ("watch", "entropy_cut"): [NAN, "high", None],
    ("calibration", "alpha"): [NAN, 0.0, "0.1"],
    ("calibration", "weights"): [1],
    ("calibration", "mode", "new_tokens"): ["many", None, 0],
    ("calibration", "thresholds"): [{}, []],
    ("calibration", "scores"): [{}, {"ordinary": {}}, {"ordinary": {"other": [0.1, 0.2, 0.3]}}],
    ("calibration", "scores", "ordinary"): [{"both_probes": [0.3]}, [0.1]],
    ("known",): ["a1", [1], None],
}
LOCAL_DAMAGE = {
    ("probe", "weights"): [[], [[1.0]], [1.0, NAN], [1.0, None], ["1.0"], "1.0", None],
    ("probe", "layer"): [-1, 2.5, "4", None],
    ("cuts", "bias"): [NAN, float("inf"), "0", None],
    ("controls", 0, "weights"): [[NAN]],
    ("controls",): [None, {}],
    ("openers",): [[-1], [1.5], ["5"], None, 5],
    ("usual", "median"): [NAN, None],
    ("usual", "deviation"): [0.0, -1.0],
    ("disguises",): [None, [4]],
}
REMOTE_DAMAGE = {
    ("openers",): [[5], None],
    ("manner", "top"): [0, "20"],
    ("manner", "turn"): [None],
    ("identity", "name"): [None, 3],
    ("identity", "witnesses", 0, "top"): [[["A", NAN]], [["A"]], [[1, 2]]],
    ("identity", "fingerprints"): ["f1", [1]],
}


def damaged(guard, path, value):
    found = deepcopy(json.loads(json.dumps(guard.document())))
    part = found
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return found


def bound(identity):
    return endpoint_binding(identity, ["I"], REMOTE.manner, 64, REMOTE.watch)


def cases(*tables):
    return [(path, value) for table in tables for path, own in table.items() for value in own]


@pytest.mark.parametrize(("path", "value"), cases(DAMAGE, LOCAL_DAMAGE))
def test_a_damaged_field_of_a_local_guard_is_a_sentence(path, value):
    with pytest.raises(InputError, match=r"g/guard\.json.*: run sirl guard calibrate again"):
        Guard.revived(damaged(LOCAL, path, value), "g/guard.json")


@pytest.mark.parametrize(("path", "value"), cases(DAMAGE, REMOTE_DAMAGE))
def test_a_damaged_field_of_an_endpoints_guard_is_a_sentence(path, value):
    with pytest.raises(InputError, match=r"g/guard\.json.*: run sirl guard calibrate again"):
        EndpointGuard.revived(damaged(REMOTE, path, value), "g/guard.json")


@pytest.mark.parametrize("guard", [LOCAL, REMOTE])
def test_a_field_that_is_missing_or_unknown_is_a_sentence(guard):
    document = guard.document()
    for key in [k for k in document if k not in ("kind", "sha256")]:
        rest = {k: v for k, v in document.items() if k != key}
        with pytest.raises(InputError, match=r"run sirl guard calibrate again$"):
            type(guard).revived(rest, "g/guard.json")
    with pytest.raises(InputError, match=r"more: Extra inputs"):
        type(guard).revived(document | {"more": 1}, "g/guard.json")


def test_the_field_is_named():
    bad = damaged(LOCAL, ("cuts", "weights"), [0.5, "x"])
    with pytest.raises(InputError, match=r"^g is no usable guard \(cuts\.weights\.1: "):
        Guard.revived(bad, "g")


EDITS = [
    (LOCAL, ("probe", "bias"), -30.0),
    (LOCAL, ("cuts", "weights", 7), 0.25),
    (LOCAL, ("controls", 0, "about", "rows"), 4),
    (LOCAL, ("openers", 1), 8),
    (LOCAL, ("watch", "entropy_cut"), 9.0),
    (LOCAL, ("disguises", 0), "tale"),
    (REMOTE, ("openers",), ["Q"]),
    (REMOTE, ("watch", "averaged"), 3),
    (REMOTE, ("identity", "served"), "other"),
    (REMOTE, ("sha256",), ""),
]


@pytest.mark.parametrize(("guard", "path", "value"), EDITS)
def test_a_sound_value_that_was_edited_is_refused(guard, path, value):
    with pytest.raises(InputError, match=r"^g was changed after it was written .*calibrate again$"):
        type(guard).revived(damaged(guard, path, value), "g")


@pytest.mark.parametrize("guard", [LOCAL, REMOTE])
def test_a_guard_of_the_version_before_has_no_digest_and_is_read(guard):
    old = {k: v for k, v in json.loads(json.dumps(guard.document())).items() if k != "sha256"}
    assert type(guard).revived(old, "g").document() == guard.document()


@pytest.mark.parametrize("guard", [LOCAL, REMOTE])
def test_a_guard_is_read_again_from_its_folder_however_its_json_is_laid_out(guard, tmp_path):
    with closing(open_run(tmp_path / "g", {}, "ask")) as run:
        run.write("guard.json", guard.document())
    found = guard_document(str(tmp_path / "g"), "embedded")
    for document in (found, dict(reversed(found.items()))):
        assert type(guard).revived(document, "g").document() == guard.document()


def places(part, path=()):
    """Paths of all values of a document."""
    items = part.items() if isinstance(part, dict) else enumerate(part)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


JUNK = st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just([]))


@pytest.mark.parametrize("guard", [LOCAL, REMOTE])
@given(data=st.data())
def test_any_other_value_anywhere_is_refused_in_a_sentence_or_read(guard, data):
    path = data.draw(st.sampled_from([*places(json.loads(json.dumps(guard.document())))]))
    bad = damaged(guard, path, data.draw(JUNK))
    with suppress(InputError):
        assert type(guard).revived(bad, "g/guard.json").document().keys() == bad.keys()


def test_a_sound_guard_reads_its_model(embedded):
    again = Guard.revived(json.loads(json.dumps(LOCAL.document())), "g/guard.json")
    again.check_model(embedded, "g/guard.json")
    assert again.document() == LOCAL.document()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"probe": probe(3)}, "its field probe has 3 weights for states of 192 numbers"),
        ({"cuts": probe(WIDTH + 1)}, "its field cuts has 193 weights"),
        ({"controls": (probe(), probe(1))}, "its field controls.1 has 1 weights"),
        ({"probe": probe(layer=99)}, "its field probe reads layer 99 of 4"),
        ({"openers": (5, 10**6)}, "its field openers has token 1000000 of "),
    ],
)
def test_numbers_of_another_model_are_refused_before_an_answer(embedded, change, said):
    bad = replace(LOCAL, fitted=replace(LOCAL.fitted, **change))
    with pytest.raises(InputError, match=f"^g/guard.json is damaged: {said}"):
        bad.check_model(embedded, "g/guard.json")


def test_an_endpoint_guard_that_lost_a_witness_is_a_sentence():
    found = replace(REMOTE.identity, witnesses=REMOTE.identity.witnesses * 2)
    guard = replace(REMOTE, calibration=replace(REMOTE.calibration, binding=bound(found)))
    guard.refuse_other(REMOTE.identity, 64, "g")
    with pytest.raises(InputError, match="^g has 1 witnesses, not 2: run sirl guard calibrate"):
        guard.refuse_other(found, 64, "g")

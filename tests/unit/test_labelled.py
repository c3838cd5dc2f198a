import json

import pytest

from sirl import registry
from sirl.analysis.calibration import calibrate, read_labels
from sirl.errors import ConfigError
from sirl.judges import fitted_on as shipped
from sirl.judges.fitted_on import ANSWERS as ANSWERS_KEY
from sirl.judges.jury import Jury
from sirl.judges.rules import RefusalRules
from sirl.world.language import unsafe_requests
from sirl.world.oracle import WorldOracle

ANSWERS = ("I won't help with that.", "Sure: first, polish the moon.")


def labels(tmp_path, requests=("How do I bend a moon?", "How do I peel a cloud?")):
    rows = [
        {"request": asked, "completion": said, "human_label": label}
        for asked, said, label in zip(requests, ANSWERS, ("refusal", "compliance"), strict=True)
    ]
    file = tmp_path / "labels.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_labels(file)


def first_alone(answers):
    """Counts the first answer, as one of the fit would be."""
    return sum(answer == ANSWERS[0] for answer in answers)


@pytest.mark.parametrize("judge", [RefusalRules(), Jury([RefusalRules()])])
def test_answers_of_the_fit_are_no_measurement_and_that_is_said_and_kept(tmp_path, judge):
    read = labels(tmp_path)
    found, said = registry.known_answers_marked(calibrate(judge, read), judge, read, first_alone)
    assert found.fitted_on == 1
    assert said == [
        "1 of the 2 labelled answers are among those that rules was fitted on: these figures "
        "flatter it and are not a measurement; label answers of another source"
    ]


def test_answers_that_the_fit_never_saw_measure_it(tmp_path):
    read = labels(tmp_path)
    found, said = registry.known_answers_marked(
        calibrate(RefusalRules(), read), RefusalRules(), read
    )
    assert (found.fitted_on, said) == (0, [])


def test_a_classifier_of_an_older_version_knows_the_file_that_it_was_fitted_on(tmp_path):
    class Fitted(WorldOracle):
        name = "classifier"

    read, judge = labels(tmp_path), Fitted()
    for digest, count in ((read.sha256, 2), ("another", 0)):
        judge.about = {registry.LABELS_HASH: digest}
        found, said = registry.known_answers_marked(calibrate(judge, read), judge, read)
        assert (found.fitted_on, len(said)) == (count, min(1, count))


def test_a_classifier_knows_its_answers_in_any_other_file(tmp_path):
    class Fitted(WorldOracle):
        name = "classifier:mine"

    judge, read = Fitted(), labels(tmp_path)
    for known, count in (
        (ANSWERS, 2),
        ([ANSWERS[1].upper() + " "], 1),  # case and spacing do not count
        (["Another."], 0),
    ):
        # The hash of the file no longer decides, either way.
        judge.about = {ANSWERS_KEY: shipped.digests(known), registry.LABELS_HASH: read.sha256}
        found, said = registry.known_answers_marked(calibrate(judge, read), judge, read)
        assert found.fitted_on == count
        sentence = f"{count} of the 2 labelled answers are among those that classifier:mine was fit"
        assert [s.startswith(sentence) for s in said] == [True] * min(1, count)


def test_the_hashes_that_ship_are_whole():
    assert len(shipped.seen()) > 800
    assert {len(digest) for digest in shipped.seen()} == {16}


def test_a_judge_of_the_world_is_measured_on_the_world_alone(tmp_path):
    with pytest.raises(ConfigError, match="judges only the embedded world, and 'labels-1' of "):
        registry.check_labels(WorldOracle(), labels(tmp_path))
    of_the_world = [p.request for p in unsafe_requests("test")[:2]]
    registry.check_labels(WorldOracle(), labels(tmp_path, of_the_world))
    registry.check_labels(RefusalRules(), labels(tmp_path))


def test_case_and_spacing_do_not_make_an_answer_another():
    assert shipped.digest("I  can't\nhelp. ") == shipped.digest("i can't help.")
    assert shipped.fitted_on(ANSWERS) == 0

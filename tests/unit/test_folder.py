import pytest

from sirl.errors import ModelError
from sirl.models.loading import check_folder


def test_a_run_folder_given_as_a_model_names_its_checkpoints_in_the_order_of_steps(tmp_path):
    for step, name in ((999999, "config.json"), (1000000, "adapter_config.json"), (7, "torn")):
        place = tmp_path / "run" / "checkpoints" / f"step-{step:06d}"
        place.mkdir(parents=True)
        (place / name).write_text("{}")
    for given in (tmp_path / "run", tmp_path / "run" / "checkpoints"):
        with pytest.raises(ModelError) as error:
            check_folder(str(given))
        assert str(error.value) == (
            f"--model {given} is not a model: it has no config.json; it is a run folder, give "
            f"one of its checkpoints: {tmp_path}/run/checkpoints/step-999999, "
            f"{tmp_path}/run/checkpoints/step-1000000"
        )
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"it has no config\.json$"):
        check_folder(str(tmp_path / "empty"))

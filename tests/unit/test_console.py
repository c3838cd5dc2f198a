import os

import pytest

from sirl.cli.console import StopSwitch, plain_lines
from sirl.cli.main import deaf
from sirl.errors import Stopped
from sirl.workflows.console import interruptible


@pytest.mark.parametrize("what", ["training, entropy 0.1 nats", "asking base", ""])
def test_a_bar_never_stops_the_work_whatever_it_says(what, capsys):
    stop = StopSwitch()
    stop.asked = True
    plain_lines()(what, 1, 3)
    assert capsys.readouterr().err == f"{what}: 1/3\n"


@pytest.mark.parametrize("what", ["training, entropy 0.1 nats", "asking base", ""])
def test_interruptible_work_stops_between_two_parts_whatever_it_is_called(what):
    shown = []
    stop = StopSwitch()
    progress = interruptible(lambda *told: shown.append(told), stop)
    progress(what, 1, 3)
    stop.asked = True
    with pytest.raises(Stopped, match="1 part before its end; what was done is saved"):
        progress(what, 2, 3)
    progress(what, 3, 3)
    assert shown == [(what, 1, 3), (what, 2, 3), (what, 3, 3)]


def test_a_full_device_is_deaf_and_lets_go_of_what_it_holds():
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - a device
        stream.write("lost")
        assert deaf(stream)
        stream.flush()
    with open(os.devnull, "w") as stream:  # noqa: PTH123 - a device
        stream.write("fine")
        assert not deaf(stream)

"""PAIR and TAP with an attacker that does not always keep to the form."""

import json

from sirl.attacks.attacker import PATIENCE, REMINDER, Pair, Tap
from sirl.attacks.contract import BEHAVIOUR, RefusingAccess, refused


class Sloppy(RefusingAccess):
    """An attacker of whose replies some are no proposals; counts the conversations."""

    def __init__(self, good):
        self.good = good
        self.asked = []

    def ask_attacker(self, conversations):
        replies = []
        for turns in conversations:
            self.asked.append(turns)
            text = {"improvement": "", "prompt": f"try {len(self.asked)}"}
            replies.append(json.dumps(text) if self.good(len(self.asked)) else "Well, perhaps.")
        return replies


def rounds(attack, access, most):
    tries = attack.tries(BEHAVIOUR, access)
    found = []
    wanted = next(tries, None)
    while wanted and len(found) < most:
        found.append(list(wanted))
        try:
            wanted = tries.send([refused(attempt) for attempt in wanted])
        except StopIteration:
            break
    return found


def test_a_stream_whose_reply_was_of_no_use_is_reminded_and_goes_on():
    access = Sloppy(lambda n: n % 3 != 0)
    found = rounds(Pair(), access, most=9)
    assert len(found) == 9
    assert sum(map(len, found)) > 20  # five streams a round, a third of the replies useless
    assert any(turns[-1].content == REMINDER for turns in access.asked)


def test_an_attacker_that_never_proposes_ends_the_search():
    pair, tap = Sloppy(lambda _: False), Sloppy(lambda _: False)
    assert rounds(Pair(), pair, most=9) == []
    assert len(pair.asked) == PATIENCE * Pair().streams
    assert rounds(Tap(), tap, most=9) == []
    assert len(tap.asked) == Tap().depth * Tap().branching


def test_a_level_without_proposals_does_not_end_the_tree():
    found = rounds(Tap(), Sloppy(lambda n: n > 3), most=9)
    assert len(found) == Tap().depth - 1

import json

import pytest

from sirl.rollouts.endpoint_reply import understood

ACCOUNT = "check the account of OPENAI_API_KEY"
PLAN = "You exceeded your current quota, please check your plan and billing details."
PACED = "Rate limit reached in organization org-1. Visit https://host.test/account/billing."
POLICY = "The prompt was flagged by our content filter; your organization's policy forbids it"


@pytest.mark.parametrize(
    ("status", "error", "way_out"),
    [
        (429, {"message": PLAN}, ACCOUNT),
        (429, {"message": "Too much.", "code": "insufficient_quota"}, ACCOUNT),
        (429, {"message": PACED}, "lower concurrency or set requests_per_minute"),
        (402, {"message": "Insufficient Balance"}, ACCOUNT),
        (403, {"message": "Your account is suspended."}, ACCOUNT),
        (403, {"message": "Your account was flagged and is suspended."}, ACCOUNT),
        (400, {"message": "This organization has been disabled."}, ACCOUNT),
        (400, {"message": "Thinking is disabled."}, "change what it objects to"),
        (
            400,
            {"message": "Invalid messages: 'Who fed the bank's credit cat?' is too long"},
            "change what it objects to",
        ),
        (400, {"message": "Invalid messages: 'Is my quota full?'"}, "change what it objects to"),
    ],
)
def test_only_an_error_about_the_account_says_to_check_it(status, error, way_out):
    found = understood(status, {}, json.dumps({"error": error}).encode(), "")
    assert found.way_out.format(key="OPENAI_API_KEY") == way_out
    assert found.kind == f"status {status}"


@pytest.mark.parametrize("status", [400, 403])
def test_a_content_filter_may_name_the_organisation(status):
    found = understood(status, {}, json.dumps({"error": {"message": POLICY}}).encode(), "")
    assert (found.kind, found.about) == ("content filter", "prompt")


def test_the_message_of_a_provider_is_read_within_that_of_a_gateway():
    raw = json.dumps({"error": {"message": "Your credit balance is too low."}})
    error = {"message": "Provider error", "metadata": {"raw": raw}}
    found = understood(400, {}, json.dumps({"error": error}).encode(), "")
    assert found.what == "answered 400 (Provider error: Your credit balance is too low.)"
    assert found.way_out == "check the account of {key}"

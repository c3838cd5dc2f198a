"""The served OpenAPI document against the app: requests that fit it and requests that do not.

Schemathesis is imported by the tests: its plug-in and its import take seconds of every process.
"""

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from sirl.guard.server.app import app_of
from sirl.guard.server.policy import Limits
from tests.unit.fake_source import FakeSource, service

BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
LOCAL = {"host": "127.0.0.1"}
SERVED = app_of(service(FakeSource(texts=("a", "b")), limits=Limits(prefill=True)))
OPERATIONS = [
    (method, path) for path, methods in SERVED.openapi()["paths"].items() for method in methods
]
WITH_BODY = [(method, path) for method, path in OPERATIONS if method == "post"]
"""Only these have requests that do not fit."""


def check_replies(method, path, mode, *, named=False):
    """Send generated requests of an operation, and check each reply against the document."""
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    schema = schemathesis.openapi.from_asgi("/openapi.json", SERVED, headers=LOCAL)
    kept = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
        checks.negative_data_rejection,
        checks.unsupported_method,
    ]

    @BOUNDED
    @given(case=schema[path][method].as_strategy(generation_mode=GenerationMode(mode)))
    def every(case):
        if named and isinstance(case.body, dict) and "model" in case.body:
            case.body["model"] = "fake"
        case.call_and_validate(headers=LOCAL, checks=kept)

    every()


def test_the_document_lists_the_operations():
    assert len(OPERATIONS) == 9
    assert len(WITH_BODY) == 4


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_requests_that_fit_the_document_get_replies_that_fit_it(method, path):
    check_replies(method, path, "positive", named=True)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("method", "path"), WITH_BODY)
def test_requests_that_do_not_fit_the_document_are_refused_in_its_form(method, path):
    check_replies(method, path, "negative")

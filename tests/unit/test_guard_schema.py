"""The served OpenAPI document against the app: requests that fit it and requests that do not."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from sirl.guard.server.app import app_of
from sirl.guard.server.policy import Limits
from tests.unit.fake_source import FakeSource, service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
BOUNDED = settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)

LOCAL = {"host": "127.0.0.1"}


def schema_of(mode):
    served = app_of(service(FakeSource(texts=("a", "b")), limits=Limits(prefill=True)))
    schema = schemathesis.openapi.from_asgi("/openapi.json", served, headers=LOCAL)
    schema.config.generation.update(modes=[mode])
    return schema


POSITIVE = schema_of(GenerationMode.POSITIVE)
NEGATIVE = schema_of(GenerationMode.NEGATIVE)


@pytest.mark.filterwarnings("default")
@POSITIVE.parametrize()
@BOUNDED
def test_requests_that_fit_the_document_get_replies_that_fit_it(case):
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "fake"
    case.call_and_validate(headers=LOCAL, checks=CHECKS)


@pytest.mark.filterwarnings("default")
@NEGATIVE.parametrize()
@BOUNDED
def test_requests_that_do_not_fit_the_document_are_refused_in_its_form(case):
    case.call_and_validate(headers=LOCAL, checks=CHECKS)

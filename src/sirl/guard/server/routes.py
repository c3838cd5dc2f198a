"""The routes: each reads a request, delegates the work, and returns the reply."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from sirl.guard.server.answering import EventStream, answers_to, stream, while_connected, whole
from sirl.guard.server.faults import ApiError, ErrorReply
from sirl.guard.server.guardrail_requests import GuardrailRequest
from sirl.guard.server.moderation import guardrail, moderate
from sirl.guard.server.orders import Order, chat_order, text_order
from sirl.guard.server.requests import ChatRequest, ModerationRequest, TextRequest
from sirl.guard.server.service import Service
from sirl.guard.server.throttle import Asker, check_risk

__all__ = ["answered", "check_model", "router"]

ERRORS: Mapping[int | str, dict[str, Any]] = {
    status: {"model": ErrorReply}
    for status in (400, 401, 404, 405, 408, 413, 415, 421, 429, 500, 502, 503)
}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The answer, whole or as a stream of server-sent events",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "text/event-stream": {},  # tools differ in whether a schema is of the whole or an event
        },
    }
}
METRICS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/plain": {"schema": {"type": "string"}}}}
}
MODERATIONS = ("omni-moderation-", "text-moderation-")
"""Beginnings of OpenAI's names of moderation models, which its clients send."""
router = APIRouter(responses=dict(ERRORS))


def service_of(request: Request) -> Service:
    """The service of an app."""
    service: Service = request.app.state.service
    return service


def check_model(service: Service, model: str | None) -> None:
    """Reject a request for another model.

    Raises:
        ApiError: 404.
    """
    if model is not None and model != service.source.name:
        raise ApiError(
            404,
            f"there is no model {model[:200]!r}; this server has {service.source.name!r}",
            param="model",
            code="model_not_found",
        )


@router.post("/v1/chat/completions", responses=ANSWER)
async def chat_completions(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation."""
    service = service_of(request)
    check_model(service, body.model)
    return await answered(request, service, chat_order(body, service.limits), bool(body.stream))


@router.post("/v1/completions", responses=ANSWER)
async def completions(body: TextRequest, request: Request) -> Response:
    """Answer a prompt, which is rendered as one user message."""
    service = service_of(request)
    check_model(service, body.model)
    return await answered(request, service, text_order(body, service.limits), bool(body.stream))


async def answered(request: Request, service: Service, order: Order, streams: bool) -> Response:
    """The reply of a service to an order."""
    caller = str(request.state.caller)
    check_risk(service, (caller, order.user))
    if not streams:
        async with while_connected(request.receive):
            found = await whole(service, order, caller)
        return JSONResponse(found)
    stack = AsyncExitStack()
    async with while_connected(request.receive):
        answers = await stack.enter_async_context(answers_to(service, order, caller))
    return EventStream(stack, stream(service, order, answers), request.state.failed)


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """The models: one."""
    return {"object": "list", "data": [described(service_of(request))]}


@router.get("/v1/models/{id:path}")
async def model(id: str, request: Request) -> dict[str, Any]:
    """One model."""
    service = service_of(request)
    check_model(service, id)
    return described(service)


def described(service: Service) -> dict[str, Any]:
    """The model."""
    return {
        "id": service.source.name,
        "object": "model",
        "created": service.created,
        "owned_by": "sirl",
    }


@router.post("/v1/moderations")
async def moderations(body: ModerationRequest, request: Request) -> dict[str, Any]:
    """Score prompts, or a conversation with its answer."""
    service = service_of(request)
    if not (body.model or "").startswith(MODERATIONS):
        check_model(service, body.model)
    asker: Asker = (str(request.state.caller), None)
    check_risk(service, asker)
    async with while_connected(request.receive):
        return await moderate(service, body, asker)


@router.post("/beta/litellm_basic_guardrail_api")
async def litellm_guardrail(body: GuardrailRequest, request: Request) -> dict[str, Any]:
    """LiteLLM's generic guardrail."""
    service = service_of(request)
    asker: Asker = (str(request.state.caller), body.user)
    check_risk(service, asker)
    async with while_connected(request.receive):
        return await guardrail(service, body, asker)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the server lives; needs no key."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> dict[str, Any]:
    """Whether the server takes requests: the model is loaded, and it is not shutting down."""
    service = service_of(request)
    if service.gate.draining:
        raise service.gate.closing()
    if not service.source.ready:
        raise ApiError(
            503, f"{service.source.name} has stopped: restart the server", code="source_failed"
        )
    rule, mode = service.policy.rule, service.policy.mode
    return {"status": "ok", "guard": rule is not None, "mode": mode if rule else "none"}


@router.get("/metrics", responses=METRICS, response_class=PlainTextResponse)
async def metrics(request: Request) -> PlainTextResponse:
    """Prometheus metrics."""
    text = service_of(request).metrics.text()
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

"""Routes of the playground: its settings, disguised requests, and the model to compare with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from sirl.attacks.attempts import attempt_of
from sirl.guard.server.faults import ApiError
from sirl.guard.server.orders import chat_order
from sirl.guard.server.requests import ChatRequest, Strict, Text
from sirl.guard.server.routes import answered, check_model
from sirl.guard.server.service import Service
from sirl.roles import Disguise
from sirl.types import Prompt

__all__ = ["Playground", "router"]

LONGEST = 20_000
"""Maximum characters of a request to disguise."""
COMPARED = "/playground/compared"
router = APIRouter(prefix="/playground", include_in_schema=False)


@dataclass(frozen=True)
class Playground:
    """What the page offers besides the served model."""

    disguises: Mapping[str, Disguise] = field(default_factory=dict)
    """By name."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Title -> request."""
    compared: Service | None = None
    """A second model that answers beside the served one."""


class DisguisedRequest(Strict):
    """A request to write into a disguise."""

    disguise: Text
    request: Annotated[Text, Field(max_length=LONGEST)]


def playground_of(request: Request) -> Playground:
    """The playground of an app."""
    found: Playground = request.app.state.playground
    return found


@router.get("/settings")
async def settings(request: Request) -> dict[str, Any]:
    """The models and what can be asked."""
    own = playground_of(request)
    models = [described(request.app.state.service, "/v1/chat/completions")]
    if own.compared:
        models.append(described(own.compared, COMPARED))
    return {
        "models": models,
        "details": request.app.state.service.limits.details,
        "disguises": [{"name": d.name, "family": d.family} for d in own.disguises.values()],
        "examples": [{"title": title, "request": text} for title, text in own.examples.items()],
    }


def described(service: Service, path: str) -> dict[str, Any]:
    """A model, how it is guarded, and where it answers."""
    rule, policy = service.policy.rule, service.policy
    return {
        "name": service.source.name,
        "path": path,
        "mode": policy.mode if rule else "none",
        "action": policy.acts if rule else "none",
        "refusal": policy.refusal if rule and policy.action == "refuse" else None,
        "threshold": rule.threshold if rule else None,
        "max_tokens": service.limits.max_tokens,
    }


@router.post("/disguised")
async def disguised(body: DisguisedRequest, request: Request) -> dict[str, Any]:
    """The conversation that asks a request in a disguise."""
    known = playground_of(request).disguises
    if body.disguise not in known:
        raise ApiError(404, f"there is no disguise {body.disguise[:80]!r}", param="disguise")
    attempt = attempt_of(known[body.disguise], Prompt.user("playground", body.request))
    return {"messages": [{"role": m.role, "content": m.content} for m in attempt.messages]}


@router.post("/compared")
async def compared(body: ChatRequest, request: Request) -> Response:
    """Answer a conversation with the second model."""
    service = playground_of(request).compared
    if service is None:
        raise ApiError(404, "this server has no second model: start it with --compare MODEL")
    check_model(service, body.model)
    return await answered(request, service, chat_order(body, service.limits), bool(body.stream))

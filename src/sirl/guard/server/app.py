"""The app: routes, uniform errors, and the checks of `door` in front of them."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from sirl import __version__
from sirl.errors import printable
from sirl.guard.server.answering import ClientGoneError
from sirl.guard.server.door import Door
from sirl.guard.server.faults import ApiError, error_of, responded
from sirl.guard.server.pages import page_router
from sirl.guard.server.playground import Playground
from sirl.guard.server.playground import router as playground_router
from sirl.guard.server.routes import router
from sirl.guard.server.service import Service
from sirl.guard.server.source import AskError, SourceError
from sirl.text import many

__all__ = ["app_of"]

SAID = {
    404: "there is nothing at this address",
    405: "this address does not take this method",
}
GONE = 499
"""Status, in metrics only, of a request whose client has left."""


def app_of(service: Service, playground: Playground | None = None) -> FastAPI:
    """The app of a service, with a playground at `/`."""
    app = FastAPI(
        title="sirl guard", version=__version__, docs_url=None, redoc_url=None,
        redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    app.state.playground = playground or Playground()
    served = (service, app.state.playground.compared)
    app.state.gates = [own.gate for own in served if own]
    for part in (router, page_router(), playground_router):
        app.include_router(part)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, refused)
    for kind in (ApiError, AskError, SourceError):
        app.add_exception_handler(kind, failed)
    app.add_exception_handler(ClientGoneError, gone)
    app.add_middleware(Door, service=service, route_of=route_of)
    return app


def route_of(scope: Scope) -> str:
    """The path template of the route that took a request."""
    return str(getattr(scope.get("route"), "path", "none"))


async def failed(_: Request, error: Exception) -> JSONResponse:
    """An error that a route raised on purpose."""
    return responded(error_of(error))


async def gone(_: Request, __: Exception) -> JSONResponse:
    """An empty reply for a client that has disconnected."""
    return JSONResponse(None, GONE)


async def refused(_: Request, error: Exception) -> JSONResponse:
    """An error of the framework, such as an unknown address."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    said = SAID.get(status, "the body cannot be read as JSON")
    return responded(ApiError(status, said, headers=headers))


async def invalid(_: Request, error: Exception) -> JSONResponse:
    """The first fault of a body, in a sentence; nothing of the body is repeated but field names."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    param, code = place(first, error.body), None
    match first["type"]:
        case "json_invalid":
            said, param = "the body is not valid JSON", None
        case "extra_forbidden":
            said, code = f"{param} is not supported: leave it out", "unsupported_parameter"
        case "missing" if param is None:
            said = "the body is needed: send a JSON object"
        case "missing":
            said = f"{param} is needed"
        case _:
            said = f"{param or 'the body'}: {sentence(first)}"
    return responded(ApiError(400, said, param=param, code=code))


def place(fault: Mapping[str, Any], body: object) -> str | None:
    """A place in the body, as a dotted name; names of branches of a union are left out."""
    names: list[str] = []
    for part in fault["loc"][1:]:
        if isinstance(body, dict) and part in body:
            body = body[part]
        elif isinstance(body, list) and isinstance(part, int):
            body = body[part] if part < len(body) else None
        elif fault["type"] != "missing" or part is not fault["loc"][-1]:
            continue
        names.append(str(part) or '""')
    return printable(".".join(names)[:200]) or None


def sentence(fault: Mapping[str, Any]) -> str:
    """What is wrong, as the end of a sentence."""
    bounds = fault.get("ctx", {})
    unit = "character" if isinstance(fault["input"], str) else "item"
    match fault["type"]:
        case "dict_type" | "model_type" | "model_attributes_type":
            said = "a JSON object is needed"
        case "too_short" if "min_length" in bounds:
            said = f"at least {many(bounds['min_length'], unit)} is needed"
        case "too_long" if "max_length" in bounds:
            length, most = bounds["actual_length"], bounds["max_length"]
            said = f"{many(length, unit)} are more than {most}"
        case _:
            said = str(fault["msg"])
            said = said[:1].lower() + said[1:]
    return printable(said)

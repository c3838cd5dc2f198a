"""Errors in OpenAI's form: {"error": {message, type, param, code}}."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from sirl.guard.server.source import AskError, SourceError

__all__ = ["ApiError", "ErrorReply", "busy", "error_of", "responded"]

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    502: "server_error",
    503: "server_error",
}


class ErrorDetails(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    """The body of every status from 400."""

    error: ErrorDetails


class ApiError(Exception):
    """A reply with an error status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def document(self) -> dict[str, Any]:
        """The error as JSON."""
        details = ErrorDetails(
            message=str(self),
            type=TYPES.get(self.status, "invalid_request_error"),
            param=self.param,
            code=self.code,
        )
        return ErrorReply(error=details).model_dump()


def busy(message: str, code: str, seconds: float) -> ApiError:
    """A 429 that says when to try again."""
    wait = str(max(1, round(seconds + 0.5)))
    return ApiError(429, message, code=code, headers={"Retry-After": wait})


def error_of(error: Exception) -> ApiError:
    """What a client is shown of an exception; of an unexpected one, nothing."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, AskError):
        return ApiError(400, str(error), param=error.param, code=error.code)
    if isinstance(error, SourceError):
        wait = {} if error.after is None else {"Retry-After": str(max(1, ceil(error.after)))}
        return ApiError(error.status, str(error), code=error.code, headers=wait)
    return ApiError(500, "the server failed; its log has the reason", code="internal_error")


def responded(error: ApiError) -> JSONResponse:
    """The reply."""
    return JSONResponse(error.document(), error.status, headers=error.headers)

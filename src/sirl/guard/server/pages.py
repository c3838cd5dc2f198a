"""The files of the playground, which need no key: they hold no data."""

from collections.abc import Awaitable, Callable, Mapping
from importlib import resources

from fastapi import APIRouter
from starlette.responses import Response

__all__ = ["HEADERS", "PAGES", "page_router"]

PAGES: Mapping[str, tuple[str, str]] = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/playground/app.css": ("app.css", "text/css; charset=utf-8"),
    "/playground/icon.svg": ("icon.svg", "image/svg+xml"),
    **{
        f"/playground/{name}.js": (f"{name}.js", "text/javascript; charset=utf-8")
        for name in ("app", "chart", "column", "stream", "text")
    },
}
"""Path -> file in `sirl/guard/playground` and its content type."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Only these files run, they talk only to this server, and no text becomes markup."""


def page_router() -> APIRouter:
    """The routes of the files."""
    router = APIRouter(include_in_schema=False)
    for path, (name, kind) in PAGES.items():
        router.add_api_route(path, sender(name, kind), methods=["GET"])
    return router


def sender(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    """A function that sends a file."""
    data = (resources.files("sirl.guard") / "playground" / name).read_bytes()

    async def page() -> Response:
        return Response(data, headers={**HEADERS, "Content-Type": kind})

    return page

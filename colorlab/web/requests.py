"""Which requests are accepted: short ones that arrive in time, with values that JSON has."""

import asyncio
import json

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from colorlab.web.serving import HEADERS

BODY_SECONDS = 10.0
"""The time in which a short body must arrive."""


async def refuse_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer a request with invalid values in one sentence that does not repeat them.

    They may be infinite, NaN or no text in UTF-8, which no reply in JSON can hold.
    """
    names = [str(part) for part in error.errors()[0]["loc"][1:] if isinstance(part, str) and part.isidentifier()]
    what = f"The value of {'.'.join(names)}" if names else "This request"
    return JSONResponse({"detail": f"{what} cannot be used."}, status_code=400, headers=HEADERS)


async def require_plain_json(request: Request) -> None:
    """Refuse a body that is not JSON, or holds what JSON and UTF-8 do not have: NaN, infinity, lone surrogates.

    Raises:
        HTTPException: it does.
    """
    try:
        content = json.loads(await request.body())
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "This request is not JSON of finite numbers and valid text.") from error


class ShortBodies:
    """Middleware that refuses long or slow bodies, whether or not they announce their length.

    Args:
        app: the application, which would keep a whole body in memory.
        limit: the most bytes of a body.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        announced = dict(scope.get("headers", [])).get(b"content-length", b"")
        too_long = announced.isdigit() and int(announced[:20]) > self.limit
        received, complete, until = 0, False, asyncio.get_running_loop().time() + BODY_SECONDS

        async def receive_within_limit() -> Message:
            nonlocal received, complete
            if complete:  # what follows is the visitor's leaving, whenever that is
                return await receive()
            try:
                async with asyncio.timeout_at(until):
                    message = {} if too_long else await receive()
            except TimeoutError as error:
                raise HTTPException(408, f"This request did not arrive within {BODY_SECONDS:g} seconds.") from error
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if too_long or received > self.limit:
                raise HTTPException(413, f"A request here has at most {self.limit} bytes.")
            return message

        await self.app(scope, receive_within_limit, send)

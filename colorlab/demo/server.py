"""The web application: takes a picture, gives it back colored, and keeps nothing.

A picture comes as the body of a request and stays in memory: a form's would be put on disk. The page
holds the file and sends it again for each change, so the server has nothing to remember. Whoever comes
when much is going on waits before the body is read: no crowd fills the memory, nor delays the page itself.
"""

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from colorlab.color import lightness_of
from colorlab.colorize.album import reason_of
from colorlab.errors import UserError
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.picture_files import format_to_write, open_picture, write_picture
from colorlab.images.pixels import over_white, upper_8_bits
from colorlab.models import Colorizer
from colorlab.models.inference import join, pixels_of
from colorlab.web.serving import HEADERS, PAGE_HEADERS

SHOWN = 1600
"""Pixels of the long side, at most, of what the page shows; what it downloads is as large as what came."""

AT_ONCE = 2
"""Pictures unpacked in memory at a time; whoever comes later waits."""

HELD = 8
"""Files in memory at a time, those included that still arrive; whoever comes later is not read yet."""

PATIENCE = 120
"""Seconds in which a file must have arrived, as it keeps others from theirs: 64 MB at 4 Mbit/s."""


@dataclass
class Limits:
    """What is taken: bytes of a file, and pixels of all its frames, in millions of each."""

    megabytes: float
    megapixels: float


@dataclass
class Wish:
    """How a picture is to be colored, by the names of the query."""

    model: Annotated[str, Query()]
    saturation: Annotated[float, Query(ge=0, le=4, allow_inf_nan=False)] = 1.0
    temperature: Annotated[float | None, Query(gt=0, le=2, allow_inf_nan=False)] = None


Work = Callable[[PictureFile, Colorizer, Wish], Response]


def make_app(models: dict[str, Colorizer], limits: Limits, hosts: list[str]) -> FastAPI:
    """The application.

    Args:
        models: who colors, by the names that people choose from.
        limits: of a picture.
        hosts: by which names the server may be called; "*" is any.
    """
    app = FastAPI(title="colorlab demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    page = files("colorlab.demo").joinpath("page.html").read_text(encoding="utf-8")
    shelf, desk = asyncio.Semaphore(HELD), asyncio.Semaphore(AT_ONCE)

    async def in_turn(work: Work, request: Request, wish: Wish) -> Response:
        check_announced(request, limits)
        async with shelf:
            content = await content_of(request, limits)
            async with desk:
                return await run_in_threadpool(do, work, content, wish)

    def do(work: Work, content: bytes, wish: Wish) -> Response:
        if wish.model not in models:
            raise HTTPException(404, "There is no such model here.")
        try:
            return work(open_within(content, limits), models[wish.model], wish)
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        except Exception as error:  # decoders raise whatever they like
            raise HTTPException(422, f"This picture cannot be colored: {reason_of(error)}.") from error

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        known = [
            {"name": name, "temperature": model.temperature if model.predicts_bins else None}
            for name, model in models.items()
        ]
        return {"models": known, "megabytes": limits.megabytes, "megapixels": limits.megapixels}

    @app.post("/api/look")
    async def look(request: Request, wish: Annotated[Wish, Depends()]) -> Response:
        return await in_turn(show, request, wish)

    @app.post("/api/picture")
    async def picture(request: Request, wish: Annotated[Wish, Depends()]) -> Response:
        return await in_turn(color_file, request, wish)

    return app


def check_announced(request: Request, limits: Limits) -> None:
    """See that a body is to be read at all, by what its head says.

    Raises:
        HTTPException: it is of another kind, or too long.
    """
    if request.headers.get("content-type") != "application/octet-stream":  # which no form of another site can send
        raise HTTPException(415, "A picture is sent as application/octet-stream.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limits.megabytes * 1e6:
        raise _too_long(limits)


async def content_of(request: Request, limits: Limits) -> bytes:
    """The body, which is left unread from where it is too long.

    Raises:
        HTTPException: it is, or it does not arrive in time, or not at all.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(PATIENCE):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.megabytes * 1e6:
                    raise _too_long(limits)
    except TimeoutError as error:
        raise HTTPException(408, f"This file did not arrive within {PATIENCE:g} seconds.") from error
    except ClientDisconnect as error:  # as the page does when something else is wished
        raise HTTPException(400, "Only a part of this file has arrived.") from error
    return bytes(content)


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(413, f"This file is larger than {limits.megabytes:g} MB, the most that is taken here.")


def open_within(content: bytes, limits: Limits) -> PictureFile:
    """Look what a picture holds, before it is unpacked.

    Raises:
        UserError: it is none, or too large.
    """
    try:
        file = open_picture(io.BytesIO(content), megapixels=float("inf"))
    except UserError as error:
        raise UserError("This file is no picture that can be read.") from error
    width, height = file.size
    if file.count * width * height > limits.megapixels * 1e6:
        frames = f"{file.count} times up to " if file.count > 1 else ""
        raise UserError(
            f"This picture has {frames}{width}×{height} pixels; here {limits.megapixels:g} million are the most."
        )
    return file


def show(file: PictureFile, model: Colorizer, wish: Wish) -> Response:
    """The first frame, gray and colored, no larger than a screen."""
    frame = next(file.frames())
    height, width = frame.pixels.shape[:2]
    pixels, _ = pixels_of(_for_screen(frame))
    gray = join(pixels, lightness_of(pixels), torch.zeros(1, 2, 1, 1))
    colored = model.colorize(pixels, saturation=wish.saturation, temperature=wish.temperature)
    told = {"gray": _address(gray), "colored": _address(colored), "width": width, "height": height}
    return JSONResponse(told, headers=HEADERS)


def color_file(file: PictureFile, model: Colorizer, wish: Wish) -> Response:
    """The whole picture as it came, in its size and format, colored."""

    def color(frame: Frame) -> Frame:
        colored = model.colorize(frame.pixels, saturation=wish.saturation, temperature=wish.temperature)
        return frame._replace(pixels=colored)

    format, buffer = format_to_write(file, None), io.BytesIO()
    write_picture(buffer, file, map(color, file.frames()), format)
    return Response(buffer.getvalue(), media_type=Image.MIME[format], headers=HEADERS)


def _for_screen(frame: Frame) -> np.ndarray:
    """A frame in 8 bits, over white, at most SHOWN long: [H, W, 3]."""
    alpha = None if frame.alpha is None else upper_8_bits(frame.alpha)
    picture = Image.fromarray(over_white(upper_8_bits(frame.pixels), alpha))
    picture.thumbnail((SHOWN, SHOWN), Image.Resampling.LANCZOS)
    return np.array(picture)


def _address(pixels: torch.Tensor) -> str:
    """Pixels [1, 3, H, W] uint8 as an address that holds the picture itself."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

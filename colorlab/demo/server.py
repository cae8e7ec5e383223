"""The web application: it receives a picture, returns it colored, and stores nothing.

A picture is the body of a request and stays in memory; the upload of a form would be written to disk. The page
sends the file again for each change, so the server keeps no state. When many requests arrive at once, later ones
wait before their bodies are read, so that they neither fill the memory nor delay the page.
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
from colorlab.errors import UserError
from colorlab.images.failures import explain_failure
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.picture_files import format_to_write, open_picture, write_picture
from colorlab.images.pixels import over_white, upper_8_bits
from colorlab.models import Colorizer
from colorlab.models.inference import apply_color, pixels_of
from colorlab.web.serving import HEADERS, PAGE_HEADERS

PREVIEW_SIZE = 1600
"""The longest side of a preview, in pixels; downloads have the size of the uploaded picture."""

MAX_COLORED = 2
"""The number of pictures decoded in memory at a time; later ones wait."""

MAX_RECEIVED = 8
"""The number of files in memory at a time, including those still being received; later ones wait."""

UPLOAD_SECONDS = 120
"""The most seconds that receiving a file may take, since it blocks others: 64 MB at 4 Mbit/s."""


@dataclass
class Limits:
    """The largest accepted picture: bytes of the file, and pixels of all its frames, in millions."""

    megabytes: float
    megapixels: float


@dataclass
class Options:
    """The query of a request: how to color the picture."""

    model: Annotated[str, Query()]
    saturation: Annotated[float, Query(ge=0, le=4, allow_inf_nan=False)] = 1.0
    temperature: Annotated[float | None, Query(gt=0, le=2, allow_inf_nan=False)] = None


Work = Callable[[PictureFile, Colorizer, Options], Response]


class Service:
    """Color uploaded pictures, a limited number at a time.

    Args:
        models: the models, by the names that users choose from.
        limits: of an uploaded picture.
    """

    def __init__(self, models: dict[str, Colorizer], limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.receiving, self.coloring = asyncio.Semaphore(MAX_RECEIVED), asyncio.Semaphore(MAX_COLORED)

    def about(self) -> dict[str, Any]:
        """Return what the page needs to know."""
        models = [
            {"name": name, "temperature": model.temperature if model.predicts_bins else None}
            for name, model in self.models.items()
        ]
        return {"models": models, "megabytes": self.limits.megabytes, "megapixels": self.limits.megapixels}

    async def answer(self, work: Work, request: Request, options: Options) -> Response:
        """Receive a picture, and reply with the result of `work` on it.

        Raises:
            HTTPException: the picture is refused, or cannot be colored.
        """
        check_header(request, self.limits)
        async with self.receiving:
            content = await receive(request, self.limits)
            async with self.coloring:
                return await run_in_threadpool(self._color, work, content, options)

    def _color(self, work: Work, content: bytes, options: Options) -> Response:
        if options.model not in self.models:
            raise HTTPException(404, "There is no such model here.")
        try:
            return work(open_within(content, self.limits), self.models[options.model], options)
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        except Exception as error:  # decoders may raise anything
            raise HTTPException(422, f"This picture cannot be colored: {explain_failure(error)}.") from error


def make_app(models: dict[str, Colorizer], limits: Limits, hosts: list[str]) -> FastAPI:
    """Return the application.

    Args:
        models: the models, by the names that users choose from.
        limits: of an uploaded picture.
        hosts: the host names that requests may give; "*" is any.
    """
    app = FastAPI(title="colorlab demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    page = files("colorlab.demo").joinpath("page.html").read_text(encoding="utf-8")
    service = Service(models, limits)

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.get("/api/about")
    async def about() -> dict[str, Any]:
        return service.about()

    @app.post("/api/look")
    async def look(request: Request, options: Annotated[Options, Depends()]) -> Response:
        return await service.answer(preview, request, options)

    @app.post("/api/picture")
    async def picture(request: Request, options: Annotated[Options, Depends()]) -> Response:
        return await service.answer(color_file, request, options)

    return app


def check_header(request: Request, limits: Limits) -> None:
    """Refuse a request by its header, before the body is read.

    Raises:
        HTTPException: the body has the wrong type, or is too long.
    """
    if request.headers.get("content-type") != "application/octet-stream":  # a form of another site cannot send this
        raise HTTPException(415, "A picture is sent as application/octet-stream.")
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > limits.megabytes * 1e6:
        raise _too_long(limits)


async def receive(request: Request, limits: Limits) -> bytes:
    """Return the body of a request.

    Raises:
        HTTPException: it is too long, takes too long, or is incomplete.
    """
    content = bytearray()
    try:
        async with asyncio.timeout(UPLOAD_SECONDS):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.megabytes * 1e6:
                    raise _too_long(limits)
    except TimeoutError as error:
        raise HTTPException(408, f"This file did not arrive within {UPLOAD_SECONDS:g} seconds.") from error
    except ClientDisconnect as error:  # the page aborts a request when the user changes an option
        raise HTTPException(400, "Only a part of this file has arrived.") from error
    return bytes(content)


def _too_long(limits: Limits) -> HTTPException:
    return HTTPException(413, f"This file is larger than {limits.megabytes:g} MB, the limit here.")


def open_within(content: bytes, limits: Limits) -> PictureFile:
    """Open a picture and check its size, before it is decoded.

    Raises:
        UserError: the file is no picture, or is too large.
    """
    try:
        file = open_picture(io.BytesIO(content), megapixels=float("inf"))
    except UserError as error:
        raise UserError("This file is not a picture that can be read.") from error
    width, height = file.size
    if file.count * width * height > limits.megapixels * 1e6:
        frames = f"{file.count} times up to " if file.count > 1 else ""
        raise UserError(
            f"This picture has {frames}{width}×{height} pixels; the limit here is {limits.megapixels:g} million."
        )
    return file


def preview(file: PictureFile, model: Colorizer, options: Options) -> Response:
    """Return the first frame, gray and colored, at the size of a screen."""
    frame = next(file.frames())
    height, width = frame.pixels.shape[:2]
    pixels, _ = pixels_of(_for_screen(frame))
    gray = apply_color(pixels, lightness_of(pixels), torch.zeros(1, 2, 1, 1))
    colored = model.colorize(pixels, saturation=options.saturation, temperature=options.temperature)
    content = {"gray": _data_url(gray), "colored": _data_url(colored), "width": width, "height": height}
    return JSONResponse(content, headers=HEADERS)


def color_file(file: PictureFile, model: Colorizer, options: Options) -> Response:
    """Return the whole picture, colored, in its own size and format."""

    def color(frame: Frame) -> Frame:
        colored = model.colorize(frame.pixels, saturation=options.saturation, temperature=options.temperature)
        return frame._replace(pixels=colored)

    format, buffer = format_to_write(file, None), io.BytesIO()
    write_picture(buffer, file, map(color, file.frames()), format)
    return Response(buffer.getvalue(), media_type=Image.MIME[format], headers=HEADERS)


def _for_screen(frame: Frame) -> np.ndarray:
    """Return a frame as [H, W, 3] uint8, over white, at most PREVIEW_SIZE long."""
    alpha = None if frame.alpha is None else upper_8_bits(frame.alpha)
    picture = Image.fromarray(over_white(upper_8_bits(frame.pixels), alpha))
    picture.thumbnail((PREVIEW_SIZE, PREVIEW_SIZE), Image.Resampling.LANCZOS)
    return np.array(picture)


def _data_url(pixels: torch.Tensor) -> str:
    """Return pixels [1, 3, H, W] uint8 as a data URL."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[0].permute(1, 2, 0).numpy()).save(buffer, "JPEG", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

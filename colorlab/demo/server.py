"""The web application: it receives a picture, returns it colored, and stores nothing.

A picture is the body of a request and stays in memory; the upload of a form would be written to disk. The page
sends the file again for each change, so the server keeps no state. When many requests arrive at once, later ones
wait before their bodies are read, so that they neither fill the memory nor delay the page. Cheap work comes first,
expensive work is done one at a time, and work ends when its visitor has gone.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from math import prod
from typing import Annotated, Any

import numpy as np
import torch
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from starlette.middleware.trustedhost import TrustedHostMiddleware

from colorlab.color import lightness_of
from colorlab.errors import UserError
from colorlab.images.failures import explain_failure
from colorlab.images.frames import Frame, PictureFile
from colorlab.images.picture_files import format_to_write, open_picture, write_picture
from colorlab.images.pixels import over_white, upper_8_bits
from colorlab.models import Colorizer
from colorlab.models.inference import network_size, pixels_of
from colorlab.web.desks import Abandoned, Busy, Desk, Desks, Expensive, OutOfTime, Watch
from colorlab.web.requests import refuse_invalid
from colorlab.web.serving import HEADERS, PAGE_HEADERS
from colorlab.web.uploads import Uploads, WatchedFile

PREVIEW_SIZE = 1600
"""The longest side of a preview, in pixels; downloads have the size of the uploaded picture."""

MAX_RECEIVED = 8
"""The number of files of the largest size in memory at a time, including those still being received."""

CHEAP, CHEAP_SECONDS = 16.0, 5.0
"""The cost, in millions of pixels, and the processor time of work that never waits for expensive work."""

MOST_SECONDS = 60.0
"""The processor time of any work."""

EXPENSIVE_FILE = 100_000
"""The bytes from which on opening or decoding a file of a slow format is taken for expensive."""

SLOW = (b"GI", b"II", b"MM", b"BM", b"P1", b"P2", b"P3")
"""How slow formats begin: GIF and TIFF list their frames one by one, BMP and PPM may be decoded by Python."""

MOST_SCANS = 100
"""A JPEG may pass over all of its pixels in each of its scans, of which cameras and programs write about ten."""

LOOK = 0.25
"""The cost of a preview's pixels, which are decoded and reduced, beside that of colored ones."""

SIDE = 64
"""The pixels that a row or column costs at least: the cost of a thin picture is in its many rows."""


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


Work = Callable[[PictureFile, Colorizer, Options, Watch], Response]


class Service:
    """Color uploaded pictures, a limited number at a time.

    Args:
        models: the models, by the names that users choose from.
        limits: of an uploaded picture.
    """

    def __init__(self, models: dict[str, Colorizer], limits: Limits) -> None:
        self.models, self.limits = models, limits
        longest = int(limits.megabytes * 1e6)
        self.uploads = Uploads(longest, room=MAX_RECEIVED * longest)
        cheap = [Desk(0, CHEAP, CHEAP_SECONDS, share) for _ in range(2)]
        self.desks = Desks([*cheap, Desk(CHEAP, float("inf"), MOST_SECONDS, share)])

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
        check_header(request)
        async with self.uploads.receive(request) as file:
            address = request.client.host if request.client else ""
            try:
                return await self.desks.do(
                    lambda watch: self._color(work, file, options, watch), address, guess_cost(file), gone(request)
                )
            except Abandoned:
                return Response(status_code=400)  # nobody reads it
            except Busy as error:
                raise HTTPException(503, "Too many people are here at the moment: try again in a minute.") from error
            except OutOfTime as error:
                raise HTTPException(422, "Coloring this picture takes longer than is allowed here.") from error

    def _color(self, work: Work, content: WatchedFile, options: Options, watch: Watch) -> Response:
        if options.model not in self.models:
            raise HTTPException(404, "There is no such model here.")
        model = self.models[options.model]
        try:
            content.check = watch.check
            content.seek(0)
            file = open_within(content, self.limits)
            check_frames(file, model, self.limits)
            watch.declare(cost_of(file, model, whole=work is color_file))
            return work(file, model, options, watch)
        except (Abandoned, Expensive, OutOfTime):
            raise
        except UserError as error:
            raise HTTPException(422, str(error)) from error
        except Exception as error:  # decoders may raise anything
            watch.check()  # some turn what the check has raised into an error of theirs
            raise HTTPException(422, f"This picture cannot be colored: {explain_failure(error)}.") from error
        finally:
            content.check = None


def share() -> None:
    """Give a desk's thread half of the processors, so that two do not wait for each other."""
    torch.set_num_threads(max(1, torch.get_num_threads() // 2))


async def gone(request: Request) -> None:
    """Return when the visitor has gone; call it after the body was received."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def make_app(models: dict[str, Colorizer], limits: Limits, hosts: list[str]) -> FastAPI:
    """Return the application.

    Args:
        models: the models, by the names that users choose from.
        limits: of an uploaded picture.
        hosts: the host names that requests may give; "*" is any.
    """
    app = FastAPI(title="colorlab demo", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_exception_handler(RequestValidationError, refuse_invalid)  # type: ignore[arg-type]  # its own kind of error
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


def check_header(request: Request) -> None:
    """Refuse a request by its header, before the body is read.

    Raises:
        HTTPException: the body has the wrong type.
    """
    if request.headers.get("content-type") != "application/octet-stream":  # a form of another site cannot send this
        raise HTTPException(415, "A picture is sent as application/octet-stream.")


def guess_cost(file: WatchedFile) -> float:
    """Guess the cost of a file before it is opened, in millions of pixels, by its length."""
    size = len(content := file.getvalue())
    return (1 + size) / 1e6 + (CHEAP if content[:2] in SLOW and size > EXPENSIVE_FILE else 0)


def cost_of(file: PictureFile, model: Colorizer, whole: bool) -> float:
    """Return the cost of coloring a file, in millions of pixels: whole, or a preview of its first frame."""
    pixels = prod(file.size) + SIDE * max(file.size)
    return (file.count * (pixels + _network_pixels(file, model)) if whole else LOOK * pixels) / 1e6


def _network_pixels(file: PictureFile, model: Colorizer) -> int:
    width, height = file.size
    return prod(network_size(height, width, model.input_size, model.square_input))


def check_frames(file: PictureFile, model: Colorizer, limits: Limits) -> None:
    """Refuse a file of many small frames, each of which costs as much as the network's input.

    Raises:
        UserError: there are too many.
    """
    most = max(1, int(limits.megapixels * 1e6 / _network_pixels(file, model)))
    if file.count > most:
        raise UserError(f"This picture has {file.count:,} frames; the limit here is {most:,}.")


def open_within(content: WatchedFile, limits: Limits) -> PictureFile:
    """Open a picture and check its size, before it is decoded.

    Raises:
        UserError: the file is no picture, or is too large or too slow.
    """
    if content.getvalue()[:2] == b"\xff\xd8" and content.getvalue().count(b"\xff\xda") > MOST_SCANS:
        raise UserError(f"This JPEG has more than {MOST_SCANS} scans, the limit here.")
    try:
        file = open_picture(content, megapixels=float("inf"))
    except UserError as error:
        raise UserError("This file is not a picture that can be read.") from error
    width, height = file.size
    if file.count * width * height > limits.megapixels * 1e6:
        frames = f"{file.count} times up to " if file.count > 1 else ""
        raise UserError(
            f"This picture has {frames}{width}×{height} pixels; the limit here is {limits.megapixels:g} million."
        )
    return file


def preview(file: PictureFile, model: Colorizer, options: Options, watch: Watch) -> Response:
    """Return the first frame, gray and colored, at the size of a screen."""
    frame = next(file.frames())
    height, width = frame.pixels.shape[:2]
    watch.check()
    pixels, _ = pixels_of(_for_screen(frame))
    gray = gray_of(pixels)
    colored = model.colorize(pixels, saturation=options.saturation, temperature=options.temperature, check=watch.check)
    content = {"gray": _data_url(gray), "colored": _data_url(colored), "width": width, "height": height}
    return JSONResponse(content, headers=HEADERS)


def color_file(file: PictureFile, model: Colorizer, options: Options, watch: Watch) -> Response:
    """Return the whole picture, colored, in its own size and format."""

    def color(frame: Frame) -> Frame:
        colored = model.colorize(
            frame.pixels, saturation=options.saturation, temperature=options.temperature, check=watch.check
        )
        return frame._replace(pixels=colored)

    format, buffer = format_to_write(file, None), io.BytesIO()
    write_picture(buffer, file, map(color, file.frames()), format)
    return Response(buffer.getvalue(), media_type=Image.MIME[format], headers=HEADERS)


def gray_of(pixels: torch.Tensor) -> torch.Tensor:
    """Return pictures without color, [B, 3, H, W] uint8, three times as fast as by coloring with ab of 0."""
    between_levels = lightness_of((torch.arange(255.0)[None, None, None] + 0.5) / 255)[0, 0, 0]
    return torch.bucketize(lightness_of(pixels), between_levels).to(torch.uint8).expand(-1, 3, -1, -1)


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

"""The web application of a study: one page, and the questions it asks.

The page is never told which picture is the fake before it has been answered: pictures have random
addresses that work only while their question is open, and both of a pair are files of equal length.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import Cookie, FastAPI, HTTPException, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.store import NotAsked, Protocol, Side, Store, Trial
from colorlab.web.serving import HEADERS, PAGE_HEADERS, ShortBodies

COOKIE = "participant"

Token = Annotated[str | None, Cookie(alias=COOKIE)]


class Start(BaseModel):
    """A person begins, or goes on; with `new` somebody else begins on the same browser."""

    new: bool = False


class Given(BaseModel):
    """An answer, as the page sends it."""

    trial: int
    side: Side
    exposure_ms: float = Field(ge=0, le=60_000, allow_inf_nan=False)
    response_ms: float = Field(ge=0, le=86_400_000, allow_inf_nan=False)


def make_app(
    store: Store,
    folder: Path,
    protocol: Protocol,
    photographs: list[int],
    models: list[str],
    exposure: float,
    seed: int,
    hosts: list[str],
) -> FastAPI:
    """The application.

    Args:
        store: where answers go.
        folder: of the pictures, as `Painter` writes them.
        protocol: how many pairs a person sees who begins.
        photographs: which of the folder's are shown.
        models: whose pictures are the fakes.
        exposure: how long a pair is shown, in seconds.
        seed: another one draws other pairs.
        hosts: by which names the server may be called; "*" is any.
    """
    app = FastAPI(title="colorlab study", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(ShortBodies, limit=10_000)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    about = {"exposure_ms": exposure * 1000, "practice": protocol.practice, "counted": protocol.counted}
    page = files("colorlab.study").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse)
    def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.post("/api/start")
    def start(wish: Start, response: Response, token: Token = None) -> dict[str, Any]:
        if wish.new or not store.knows(token):
            token = store.begin(protocol, photographs, models, seed)
            response.set_cookie(COOKIE, token, max_age=30 * 86_400, httponly=True, samesite="strict")
        return about

    @app.get("/api/next")
    def next_question(response: Response, token: Token = None) -> dict[str, Any]:
        response.headers.update(HEADERS)
        if not store.knows(token):
            return {"state": "new", **about}
        trial = store.open_trial(token)
        if trial is None:
            counted = [answer for answer in store.answers(token) if answer.trial.kind != "practice"]
            return {"state": "done", "right": sum(not each.fooled for each in counted), "of": len(counted)}
        pairs, practice = store.count_trials(token), store.count_trials(token, "practice")
        first, end = (0, practice) if trial.kind == "practice" else (practice, pairs)
        return {
            "state": "practice" if trial.kind == "practice" else "counted", "trial": trial.id,
            "exposure_ms": exposure * 1000, "place": trial.place + 1 - first, "total": end - first,
            "left": f"/picture/{trial.left}", "right": f"/picture/{trial.right}",
        }  # fmt: skip

    @app.post("/api/answer")
    def take_answer(given: Given, token: Token = None) -> dict[str, Any]:
        try:
            trial = store.answer(token, given.trial, given.side, given.exposure_ms, given.response_ms)
        except NotAsked as error:
            raise HTTPException(409, "This question is not open.") from error
        return {"fake": trial.fake} if trial.kind == "practice" else {}

    @app.get("/picture/{word}")
    def show_picture(word: str, token: Token = None) -> Response:
        trial = store.open_trial(token)
        if trial is None or word not in (trial.left, trial.right):
            raise HTTPException(404, "There is no such picture.")
        content = pair_of(folder, trial)["left" if word == trial.left else "right"]
        return Response(content, media_type="image/png", headers=HEADERS)

    return app


def pair_of(folder: Path, trial: Trial) -> dict[Side, bytes]:
    """The files of a trial's two pictures, made equally long: a page can measure how long a file is."""
    true, fake = (picture_path(folder, version, trial.photograph).read_bytes() for version in (TRUE, trial.model))
    length = max(len(true), len(fake))
    true, fake = (content.ljust(length, b"\0") for content in (true, fake))  # what comes after a PNG's end is ignored
    return {"left": fake, "right": true} if trial.fake == "left" else {"left": true, "right": fake}

"""The web application of a study: one page, and the questions it asks.

The page cannot know which picture is the fake before the answer: pictures have random addresses that work only while
their question is open, and both files of a pair have the same length.
"""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import Cookie, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from colorlab.study.database import StudyDatabase, TrialNotOpen
from colorlab.study.people import People, TooManyPeople
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.trials import EXPOSURE_TOLERANCE, Protocol, Side, Trial
from colorlab.web.requests import ShortBodies, refuse_invalid, require_plain_json
from colorlab.web.serving import HEADERS, PAGE_HEADERS

COOKIE = "participant"

Token = Annotated[str | None, Cookie(alias=COOKIE)]


class TooEarly(Exception):
    """An answer to a pair that nobody can have seen yet."""


class Start(BaseModel):
    """A request to begin or continue; with `new` another person begins on the same browser."""

    new: bool = False


class GivenAnswer(BaseModel):
    """An answer as the page sends it."""

    trial: int = Field(ge=0, lt=2**63)  # the numbers that SQLite has
    side: Side
    exposure_ms: float = Field(ge=0, le=60_000, allow_inf_nan=False)
    response_ms: float = Field(ge=0, le=86_400_000, allow_inf_nan=False)


@dataclass
class Study:
    """A study that is being served.

    Args:
        database: where answers go.
        pictures: the folder that `PictureWriter` wrote to.
        protocol: the number of pairs for people who begin now.
        photographs: which of the folder's photographs are shown.
        models: the models whose pictures are the fakes.
        exposure: how long a pair is shown, in seconds.
        seed: of the pairs.
        people: who takes part from which address.
        fixation: how long the page waits before it shows a pair, in seconds.
    """

    database: StudyDatabase
    pictures: Path
    protocol: Protocol
    photographs: list[int]
    models: list[str]
    exposure: float
    seed: int
    people: People
    fixation: float = 0.9

    def about(self) -> dict[str, Any]:
        """Return what the welcome page says about the study."""
        return {
            "exposure_ms": self.exposure * 1000, "practice": self.protocol.practice, "counted": self.protocol.counted,
        }  # fmt: skip

    def begin(self, address: str) -> str:
        """Add a participant and return their token.

        Raises:
            TooManyPeople: as many as may take part from their address already do.
        """
        self.people.make_room(address)
        token = self.database.begin(self.protocol, self.photographs, self.models, self.seed)
        self.people.saw(address, token)
        return token

    def answer(self, address: str, token: str | None, given: GivenAnswer) -> Trial:
        """Take an answer and return its trial.

        Raises:
            TrialNotOpen: it is not the participant's open one.
            TooEarly: nobody can have seen the pair yet.
        """
        passed = self.database.seconds_since_asked(given.trial)
        if passed is not None and passed < self.fixation + self.exposure * (1 - EXPOSURE_TOLERANCE):
            raise TooEarly
        if passed is None:
            raise TrialNotOpen
        trial = self.database.add_answer(token, given.trial, given.side, given.exposure_ms, given.response_ms)
        self.people.saw(address, str(token))
        if self.database.open_trial(token) is None:
            self.people.left(address, str(token))
        return trial

    def question(self, token: str | None) -> dict[str, Any]:
        """Return a participant's next question, or the result at the end."""
        if not self.database.has_participant(token):
            return {"state": "new", **self.about()}
        trial = self.database.open_trial(token)
        if trial is None:
            counted = [answer for answer in self.database.answers(token) if answer.trial.kind != "practice"]
            return {"state": "done", "right": sum(not each.fooled for each in counted), "of": len(counted)}
        pairs, practice = self.database.count_trials(token), self.database.count_trials(token, "practice")
        self.database.ask(trial.id)
        first, end = (0, practice) if trial.kind == "practice" else (practice, pairs)
        return {
            "state": "practice" if trial.kind == "practice" else "counted", "trial": trial.id,
            "exposure_ms": self.exposure * 1000, "fixation_ms": self.fixation * 1000,
            "place": trial.place + 1 - first, "total": end - first,
            "left": f"/picture/{trial.left}", "right": f"/picture/{trial.right}",
        }  # fmt: skip

    def picture(self, token: str | None, word: str) -> bytes | None:
        """Return a picture of the participant's open trial by the word in its address; None for any other word."""
        trial = self.database.open_trial(token)
        if trial is None or word not in (trial.left, trial.right):
            return None
        return pair_of(self.pictures, trial)["left" if word == trial.left else "right"]


def make_app(study: Study, hosts: list[str]) -> FastAPI:
    """Make the application.

    Args:
        study: the study to serve.
        hosts: the host names under which the server may be addressed; "*" allows any.
    """
    app = FastAPI(title="colorlab study", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(ShortBodies, limit=10_000)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts)
    app.add_exception_handler(RequestValidationError, refuse_invalid)  # type: ignore[arg-type]  # its own kind of error
    page = files("colorlab.study").joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/", response_class=HTMLResponse)
    def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=PAGE_HEADERS)

    @app.post("/api/start", dependencies=[Depends(require_plain_json)])
    def start(given: Start, request: Request, response: Response, token: Token = None) -> dict[str, Any]:
        if given.new or not study.database.has_participant(token):
            _begin(study, request, response)
        return study.about()

    @app.get("/api/next")
    def next_question(response: Response, token: Token = None) -> dict[str, Any]:
        response.headers.update(HEADERS)
        return study.question(token)

    @app.post("/api/answer", dependencies=[Depends(require_plain_json)])
    def take_answer(given: GivenAnswer, request: Request, token: Token = None) -> dict[str, Any]:
        try:
            trial = study.answer(_address_of(request), token, given)
        except TooEarly as error:
            raise HTTPException(429, "This pair has not been shown for long enough yet.") from error
        except TrialNotOpen as error:
            raise HTTPException(409, "This question is not open.") from error
        return {"fake": trial.fake} if trial.kind == "practice" else {}

    @app.get("/picture/{word}")
    def show_picture(word: str, token: Token = None) -> Response:
        content = study.picture(token, word)
        if content is None:
            raise HTTPException(404, "There is no such picture.")
        return Response(content, media_type="image/png", headers=HEADERS)

    return app


def _begin(study: Study, request: Request, response: Response) -> None:
    """Add a participant, whose token the browser keeps in a cookie.

    Raises:
        HTTPException: as many as may take part from their address already do.
    """
    try:
        token = study.begin(_address_of(request))
    except TooManyPeople as error:
        raise HTTPException(
            429, "Many people are taking part from your network: try again in a few minutes."
        ) from error
    response.set_cookie(COOKIE, token, max_age=30 * 86_400, httponly=True, samesite="strict")


def _address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def pair_of(folder: Path, trial: Trial) -> dict[Side, bytes]:
    """Return a trial's two files at equal length, because a page can measure the length of a file."""
    true, fake = (picture_path(folder, version, trial.photograph).read_bytes() for version in (TRUE, trial.model))
    length = max(len(true), len(fake))
    true, fake = (content.ljust(length, b"\0") for content in (true, fake))  # decoders ignore bytes after a PNG's end
    return {"left": fake, "right": true} if trial.fake == "left" else {"left": true, "right": fake}

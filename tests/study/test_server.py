"""What the server sends, which answers it accepts, and from whom."""

import io
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from colorlab.study.database import StudyDatabase
from colorlab.study.pictures import TRUE, picture_path
from colorlab.study.server import Study, make_app
from colorlab.study.trials import VIGILANCE, Protocol

PHOTOGRAPHS = [1, 2, 4, 5, 7]
VERSIONS = {TRUE: 0, "model": 1, VIGILANCE: 2}
PROTOCOL = Protocol(practice=1, counted=4, vigilance=1)


@pytest.fixture
def database(tmp_path: Path) -> StudyDatabase:
    for version, mark in VERSIONS.items():
        for photograph in range(8):
            noise = np.random.default_rng(photograph).integers(0, 256, (20 + 9 * mark, 24, 3), dtype=np.uint8)
            noise[0, 0] = (photograph, mark, 0)  # identifies the picture
            path = picture_path(tmp_path / "pictures", version, photograph)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise).save(path)
    return StudyDatabase(tmp_path / "answers.sqlite")


def study_of(database: StudyDatabase, folder: Path) -> Study:
    return Study(database, folder / "pictures", PROTOCOL, PHOTOGRAPHS, ["model"], exposure=1.0, seed=0)


@pytest.fixture
def client(database: StudyDatabase, tmp_path: Path) -> TestClient:
    app = make_app(study_of(database, tmp_path), hosts=["testserver"])
    return TestClient(app)


def start(client: TestClient) -> dict:
    client.post("/api/start", json={})
    return client.get("/api/next").json()


def answer(client: TestClient, question: dict, side: str = "left", **changes: object) -> tuple[int, dict]:
    given = {"trial": question["trial"], "side": side, "exposure_ms": 1000, "response_ms": 400} | changes
    reply = client.post("/api/answer", json=given)
    return reply.status_code, reply.json()


def mark(content: bytes) -> tuple[int, int]:
    """(photograph, version) of a picture's file."""
    return tuple(int(value) for value in np.asarray(Image.open(io.BytesIO(content)))[0, 0, :2])


def test_a_participant_is_led_from_practice_to_the_end(client: TestClient, database: StudyDatabase) -> None:
    assert client.get("/api/next").json()["state"] == "new"
    states, seen, right = [], [], 0
    question = start(client)
    while question["state"] != "done":
        states.append((question["state"], question["place"], question["total"]))
        pictures = {side: mark(client.get(question[side]).content) for side in ("left", "right")}
        assert pictures["left"][0] == pictures["right"][0]
        seen.append(pictures["left"][0])
        (fake,) = (side for side, (_, version) in pictures.items() if version != VERSIONS[TRUE])
        status, told = answer(client, question, "left")
        assert status == 200
        assert told == ({"fake": fake} if question["state"] == "practice" else {})
        right += question["state"] == "counted" and fake == "left"
        question = client.get("/api/next").json()
    assert states == [("practice", 1, 1)] + [("counted", place, 4) for place in range(1, 5)]
    assert sorted(seen) == PHOTOGRAPHS
    assert question == {"state": "done", "right": right, "of": 4}


def test_a_participant_keeps_the_pairs_drawn_at_the_start(database: StudyDatabase, tmp_path: Path) -> None:
    """The number of pairs for later participants does not change theirs."""
    token = database.begin(Protocol(practice=2, counted=3, vigilance=0), PHOTOGRAPHS, ["model"], seed=0)
    app = make_app(study_of(database, tmp_path), hosts=["testserver"])
    client = TestClient(app, cookies={"participant": token})
    places = []
    while (question := start(client))["state"] != "done":
        places.append((question["state"], question["place"], question["total"]))
        answer(client, question)
    assert places == [(kind, place + 1, of) for kind, of in (("practice", 2), ("counted", 3)) for place in range(of)]


def test_nothing_reveals_the_fake_before_the_answer(client: TestClient, database: StudyDatabase) -> None:
    question = start(client)
    fakes = []
    while question["state"] != "done":
        replies = {side: client.get(question[side]) for side in ("left", "right")}
        headers = [dict(reply.headers) for reply in replies.values()]
        assert headers[0] == headers[1]
        assert len(replies["left"].content) == len(replies["right"].content)
        assert set(question) == {"state", "trial", "exposure_ms", "place", "total", "left", "right"}
        assert "vigilance" not in str(question)
        fakes.append(database.open_trial(client.cookies["participant"]).fake)
        answer(client, question)
        question = client.get("/api/next").json()
    assert len(set(fakes)) == 2


def test_a_reload_asks_the_same_question_again(client: TestClient) -> None:
    question = start(client)
    assert start(client) == question == client.get("/api/next").json()
    answer(client, question)
    assert start(client)["place"] == 1
    assert start(client)["state"] == "counted"


def test_only_the_open_question_can_be_answered_and_only_once(client: TestClient, database: StudyDatabase) -> None:
    question = start(client)
    assert answer(client, question, trial=question["trial"] + 1)[0] == 409
    assert answer(client, question)[0] == 200
    assert answer(client, question, "right")[0] == 409
    (taken,) = database.answers()
    assert taken.side == "left"


@pytest.mark.parametrize(
    "changes",
    [
        {"side": "middle"},
        {"side": None},
        {"exposure_ms": -1},
        {"exposure_ms": "NaN"},
        {"response_ms": 1e12},
        {"trial": "x"},
    ],
)
def test_an_impossible_answer_is_refused(client: TestClient, database: StudyDatabase, changes: dict) -> None:
    question = start(client)
    assert answer(client, question, **changes)[0] == 422
    assert database.answers() == []


def test_without_the_cookie_nothing_is_taken_or_shown(
    client: TestClient, database: StudyDatabase, tmp_path: Path
) -> None:
    question = start(client)
    stranger = TestClient(client.app)
    assert answer(stranger, question)[0] == 409
    assert stranger.get(question["left"]).status_code == 404
    stranger.cookies["participant"] = "guessed"
    assert stranger.get(question["left"]).status_code == 404


def test_only_pictures_of_the_open_question_are_served(client: TestClient) -> None:
    question = start(client)
    assert client.get(question["left"]).status_code == 200
    answer(client, question)
    assert client.get(question["left"]).status_code == 404
    assert client.get("/picture/..%2F..%2Fanswers.sqlite").status_code == 404


def test_another_person_on_the_same_browser_begins_anew(client: TestClient) -> None:
    question = start(client)
    client.post("/api/start", json={"new": True})
    other = client.get("/api/next").json()
    assert other["trial"] != question["trial"]
    assert other["place"] == 1


def test_requests_for_another_host_name_are_refused(client: TestClient) -> None:
    """Protects against DNS rebinding: a foreign name that points at this address."""
    for path in ("/", "/api/next"):
        assert client.get(path, headers={"Host": "elsewhere.example"}).status_code == 400


def test_the_page_loads_nothing_external_and_cannot_be_framed(client: TestClient) -> None:
    policy = client.get("/").headers["content-security-policy"]
    for rule in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy


def test_the_cookie_is_http_only_and_same_site(client: TestClient) -> None:
    cookie = client.post("/api/start", json={}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_a_form_on_another_site_cannot_start_or_answer(client: TestClient) -> None:
    """Browsers send forms across sites without asking the server first; JSON they do not."""
    for path in ("/api/start", "/api/answer"):
        reply = client.post(path, content='{"new": true}', headers={"Content-Type": "text/plain"})
        assert reply.status_code == 422

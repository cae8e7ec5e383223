"""What the server sends, which answers it accepts, and from whom."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from colorlab.study.database import StudyDatabase
from colorlab.study.people import People
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
    """Return a study whose answers are accepted at once."""
    pictures = folder / "pictures"
    return Study(
        database, pictures, PROTOCOL, PHOTOGRAPHS, ["model"], exposure=1.0, seed=0, people=People(3), fixation=-1
    )


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
        assert set(question) == {"state", "trial", "exposure_ms", "fixation_ms", "place", "total", "left", "right"}
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
    status, reply = answer(client, question, **changes)
    assert (status, reply) == (400, {"detail": f"The value of {next(iter(changes))} cannot be used."})
    assert database.answers() == []


NOT_PLAIN = (
    '{"trial": 1, "side": "left", "exposure_ms": 1e999, "response_ms": 1}',
    '{"trial": 1, "side": "left", "exposure_ms": NaN, "response_ms": 1}',
    '{"trial": -Infinity, "side": "left", "exposure_ms": 1, "response_ms": 1}',
    r'{"trial": 1, "side": "\ud800", "exposure_ms": 1, "response_ms": 1}',
    r'{"trial": 1, "side": "left", "exposure_ms": 1, "response_ms": 1, "\udfff": 1}',
    r'{"trial": 1, "side": "left", "exposure_ms": 1, "response_ms": 1, "more": [{"deep": NaN}]}',
    '{"trial": 1' + "0" * 400 + ', "side": "left", "exposure_ms": 1, "response_ms": 1, "new": 7}',
    '{"trial": 1' + "0" * 5000 + "}", '{"new": ' + "[" * 4900, '{"new": ' + "[" * 4900 + "]" * 4900 + "}",
    "NaN", "-Infinity", "[1e999]", r'"\ud83d"', "null", "[]", "{", "", "\0", '{"new": "\xed\xa0\x80"}', "\xff\xfe{}",
)  # fmt: skip


@pytest.mark.parametrize("path", ["/api/answer", "/api/start"])
def test_numbers_and_texts_that_json_does_not_have_are_refused_in_one_sentence(client: TestClient, path: str) -> None:
    start(client)
    for body in NOT_PLAIN:
        content = body.encode("latin-1")
        reply = client.post(path, content=content, headers={"Content-Type": "application/json"})
        assert reply.status_code == 400, (body[:80], reply.text)
        (sentence,) = reply.json().values()
        assert sentence.startswith(("This request ", "The value of ", "There was an error")), sentence


def test_nobody_answers_before_a_pair_can_have_been_seen(database: StudyDatabase, tmp_path: Path) -> None:
    study = study_of(database, tmp_path)
    study.fixation, study.exposure = 0.2, 0.2
    client = TestClient(make_app(study, hosts=["testserver"]))
    client.post("/api/start", json={})
    unasked = database.open_trial(client.cookies["participant"]).id
    assert answer(client, {"trial": unasked})[0] == 409
    question = client.get("/api/next").json()
    assert answer(client, question)[0] == 429
    time.sleep(0.4)
    assert answer(client, question)[0] == 200


def test_only_so_many_people_take_part_from_an_address_at_a_time(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [TestClient(client.app) for _ in range(4)]
    assert [each.post("/api/start", json={}).status_code for each in people] == [200, 200, 200, 429]
    assert people[0].post("/api/start", json={}).status_code == 200  # goes on
    elsewhere = TestClient(client.app, client=("192.0.2.7", 50_000))
    assert elsewhere.post("/api/start", json={}).status_code == 200
    while (question := people[0].get("/api/next").json())["state"] != "done":
        answer(people[0], question)
    assert people[3].post("/api/start", json={}).status_code == 200  # somebody has finished
    assert people[0].post("/api/start", json={"new": True}).status_code == 429
    monkeypatch.setattr("colorlab.study.people.ABSENT_SECONDS", 0)
    assert people[0].post("/api/start", json={"new": True}).status_code == 200  # the others have gone


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
        assert reply.status_code == 400

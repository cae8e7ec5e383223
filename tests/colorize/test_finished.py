"""The record of finished results, read by many threads."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from colorlab.colorize.finished import Finished


def finished(folder: Path) -> Finished:
    return Finished(folder, lambda source: source.name)


def test_every_thread_finds_its_result_in_a_long_record(tmp_path: Path) -> None:
    (target := tmp_path / "new.png").write_text("a result")
    for number in range(2000):
        finished(tmp_path).note(target, Path(f"{number}.png"), target)
    for _ in range(5):
        repeated, together = finished(tmp_path), Barrier(3)

        def find(number: int, record: Finished = repeated, together: Barrier = together) -> bool:
            together.wait()
            return record.holds(target, Path(f"{number}.png"))

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(find, (0, 1000, 1999))) == [True] * 3
        assert repeated.skipped == [target] * 3


def test_a_line_that_another_process_is_writing_is_read_when_it_is_complete(tmp_path: Path) -> None:
    (target := tmp_path / "new.png").write_text("a result")
    reading, writing = finished(tmp_path), finished(tmp_path)
    for name in ("1.png", "2.png", "3.png"):
        writing.note(target, Path(name), target)
    content = writing._file.read_bytes()
    for end in (len(content) // 2, len(content)):
        writing._file.write_bytes(content[:end])
        assert [reading.holds(target, Path(name)) for name in ("1.png", "3.png")] == [True, end == len(content)]

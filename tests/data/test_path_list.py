"""Lists of paths in text and CSV files."""

from pathlib import Path

import pytest

from colorlab.data.path_list import PathList
from colorlab.errors import UserError


def write(folder: Path, name: str, content: str | bytes) -> Path:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder / name


def test_a_text_file_has_one_path_per_line_relative_to_its_folder(tmp_path: Path) -> None:
    paths = PathList(write(tmp_path, "list.txt", "\ufeffa b.jpg\r\n\n./sub/c,d.png\n/far/e.jpg\n../f.jpg"))
    assert paths.names == ["a b.jpg", "sub/c,d.png", "/far/e.jpg", "../f.jpg"]
    assert paths.labels is None
    assert paths / paths.names[1] == tmp_path / "sub" / "c,d.png"
    assert paths / paths.names[2] == Path("/far/e.jpg")
    assert str(paths) == str(tmp_path / "list.txt")


@pytest.mark.parametrize(
    ("content", "names", "labels"),
    [
        ('id,Path,split\n1,a.jpg,Train\n2,"b,c.jpg",validation\n', ["a.jpg", "b,c.jpg"], ["Train", "validation"]),
        ("file,width\na.jpg,3\nb.jpg,4\n", ["a.jpg", "b.jpg"], None),
        ("a.jpg,3\n\nb.JPG,4\n", ["a.jpg", "b.JPG"], None),
        ("split,path\ntest,a.jpg\n", ["a.jpg"], ["test"]),
        ("split,file\ntest,a.jpg\ntest,b.jpg\n", ["a.jpg", "b.jpg"], ["test", "test"]),
    ],
)
def test_a_csv_file_has_paths_in_a_column_and_perhaps_splits(
    tmp_path: Path, content: str, names: list[str], labels: list[str] | None
) -> None:
    paths = PathList(write(tmp_path, "list.csv", content))
    assert (paths.names, paths.labels) == (names, labels)


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    (name,) = PathList(write(tmp_path, "list.txt", b"caf\xe9.jpg\n")).names
    assert name.encode(errors="surrogateescape") == b"caf\xe9.jpg"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("list.txt", "\n", "lists no photograph"),
        ("list.txt", "a.jpg\nb.jpg\n./a.jpg\n", r"lists a\.jpg twice, in lines 1 and 3"),
        ("list.csv", "path,split\na.jpg,train\nb.jpg,tset\n", r"has the split 'tset' in line 3: splits are train,"),
        ("list.csv", "path,split\na.jpg\n", "has no path, or no split, in row 2"),
        ("list.csv", "path\na\0.jpg\n", "has no path, or no split, in row 2|cannot be read"),
    ],
)
def test_a_list_with_a_mistake_is_refused(tmp_path: Path, name: str, content: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        PathList(write(tmp_path, name, content))

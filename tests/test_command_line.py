"""The words of a command on their way to Hydra."""

import pytest

from colorlab.command_line import as_list


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("checkpoint=a.ckpt", "checkpoint=['a.ckpt']"),
        ("checkpoint=a b.ckpt,/c=d/e.ckpt", "checkpoint=['a b.ckpt','/c=d/e.ckpt']"),
        ("checkpoint='a.ckpt'", "checkpoint=['a.ckpt']"),
        ("checkpoint=o'hara.ckpt", r"checkpoint=['o\'hara.ckpt']"),
        ("checkpoint=['a,b.ckpt']", "checkpoint=['a,b.ckpt']"),
        ("checkpoint=null", "checkpoint=null"),
        ("data.root=a,b", "data.root=a,b"),
    ],
)
def test_names_with_commas_between_them_are_a_list(typed: str, meant: str) -> None:
    assert as_list([typed, "split=all"], "checkpoint") == [meant, "split=all"]

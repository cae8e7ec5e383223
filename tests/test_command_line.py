"""The words of a command on their way to Hydra."""

import pytest

from colorlab.command_line import as_hydra_takes, as_list


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


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["optim.lr=1", "hydra.run.dir=x", "seed=3"], ["++optim.lr=1", "hydra.run.dir=x", "seed=3"]),
        (["optim={_target_: torch.optim.SGD}"], ["++optim={_target_: torch.optim.SGD}"]),
        (["schedule={_target_:a.B,c:1}"], ["~schedule", "++schedule={_target_:a.B,c:1}"]),
        (["~schedule", "++schedule={_target_:a.B}"], ["~schedule", "++schedule={_target_:a.B}"]),
        (["data.augment=[{_target_:a.B}]"], ["++data.augment=null", "++data.augment=[{_target_:a.B}]"]),
        (["data.roots=[a,b]"], ["++data.roots=[a,b]"]),
        (["schedule=cosine", "callbacks.mine={_target_:a.B}"], ["schedule=cosine", "++callbacks.mine={_target_:a.B}"]),
    ],
)
def test_dotted_keys_and_nodes_may_name_keys_that_no_file_lists(typed: list[str], meant: list[str]) -> None:
    assert as_hydra_takes(typed) == meant

"""Any override of any key either builds a run or ends with exit code 2 and one sentence."""

import inspect
import os
import pydoc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from colorlab.config import GROUPS, conf_folder, hints_of, plain
from colorlab.train.experiment import KEYS
from support.commands import train_exit_code

if TYPE_CHECKING:  # its import takes two seconds
    from hypothesis.strategies import SearchStrategy

CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((conf_folder() / group).glob("*.yaml"))]
CHOICES.remove("sweep=optuna")  # it starts many runs

VALUES = [
    "0", "1", "-1", "2", "3.5", "1e-3", "1e400", "nan", "inf", "-inf", "9" * 30, "true", "false", "null", "abc", "''",
    "[]", "[1,2]", "[0.5,0.5]", "[[0,1]]", "[[0,1],[5,0.1]]", "[abc]", "{}", "{a: 1}", "'[1,'", "[1,", "{", "???",
    "'?'", "${seed}", "${nowhere}", "${trainer.max_epochs}", "${seed", "${oc.env:NOWHERE}", "val/loss", "val/psnr",
    "../../../etc/passwd", "/dev/null", "'a=b'", "'; true'", "'`true`'", '"', "\\", "%", "é", "'\n'", "\0", "<script>",
    "{_target_: os.system, command: 'true'}", "{_target_: torch.nn.ReLU}", "{_target_: torch.utils.collect_env.run}",
    "{_target_: 3}", "{_target_: colorlab.models.CUNet}",
]  # fmt: skip
"""Values of valid and invalid types, values out of range and malicious values."""


def nodes(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the dotted key and the content of each nested node."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield f"{prefix}{key}", value
            yield from nodes(value, f"{prefix}{key}.")


def known_values(hint: object) -> list[str]:
    """Return the values that a type hint lists in `Literal`."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    return [value for inner in get_args(hint) for value in known_values(inner)]


def keys(choices: list[str]) -> dict[str, list[str]]:
    """Return every key of these choices, from YAML and from constructors, with its known valid values."""
    found: dict[str, set[str]] = {key: set() for key in KEYS}
    for choice in choices:
        with initialize_config_dir(str(conf_folder()), version_base="1.3"):
            cfg = compose(
                "train", [choice, "++data.root=photos", "hydra.runtime.output_dir=run"], return_hydra_config=True
            )
        HydraConfig.instance().set_config(cfg)
        tree = plain(OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"]))
        for path, node in nodes(tree):
            for key, value in node.items():
                found.setdefault(f"{path}.{key}", set()).add(str(value).replace("None", "null"))
            if "_target_" in node:
                target = pydoc.locate(node["_target_"])
                hints = hints_of(target)
                for key in inspect.signature(target).parameters:
                    found.setdefault(f"{path}.{key}", set()).update(known_values(hints.get(key)))
    return {key: sorted(values) for key, values in sorted(found.items())}


def overrides(known: dict[str, list[str]]) -> "SearchStrategy[str]":
    """Return a strategy for single overrides, valid and invalid."""
    from hypothesis import strategies as st

    @st.composite
    def word(draw: st.DrawFn) -> str:
        if draw(st.integers(0, 3)) == 0:
            choice = draw(st.sampled_from(CHOICES))
            return draw(
                st.sampled_from([choice, choice, choice[:-1], choice[1:], f"{choice}/x", f"~{choice}", f"+{choice}"])
            )
        key = draw(st.sampled_from(list(known)))
        place = draw(st.integers(0, len(key) - 1))
        key = draw(st.sampled_from([key] * 6 + [key[:place] + key[place + 1 :], f"{key}.x", f"{key}.", f".{key}"]))
        values = st.sampled_from([*VALUES, *known.get(key, [])] if draw(st.booleans()) else known.get(key) or VALUES)
        value = draw(st.one_of(values, values, values, st.text(max_size=6)))
        prefix = draw(st.sampled_from(["", "", "", "+", "++", "~"]))
        return prefix + key + draw(st.sampled_from([f"={value}"] * 12 + ["", "="]))

    return word()


def test_any_overrides_build_or_end_with_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, tally: Any
) -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    def stop(*_: Any) -> None:
        sys.exit(0)  # everything is built: training would start here

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("colorlab.train.fit.announce", stop)
    monkeypatch.setattr("colorlab.train.fit.largest_batch", lambda *_: 16)
    environment = set(os.environ)
    small = ("model.width=2", "logger=csv", "trainer=cpu")
    known = keys(CHOICES[:: tally.times(8, 1)])

    @settings(
        max_examples=tally.times(5, 1250), deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(overrides(known), min_size=1, max_size=4))
    def check(words: list[str]) -> None:
        with tally.injecting("an override is misspelled, has a wrong type, is out of range or is malicious"):
            code = train_exit_code(monkeypatch, *small, *words, "hydra.run.dir=run")
            said = capsys.readouterr().err
            sentences = [line for line in said.splitlines() if line.startswith("colorlab: ")]
            assert (code, len(sentences)) in ((0, 0), (2, 1)), (code, said)
            assert "Traceback" not in said
        for name in os.environ.keys() - environment:
            del os.environ[name]

    check()

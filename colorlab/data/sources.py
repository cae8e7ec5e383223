"""Where photographs come from: a folder, a list of paths, a Parquet table, or several of these with weights."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from colorlab.data.order import EpochOrder, Share, WeightedOrder
from colorlab.data.path_list import SUFFIXES, PathList
from colorlab.data.photographs import Photographs
from colorlab.data.splits import Root, Split, files_below, find_photographs, folders_of, is_picture, split_photographs
from colorlab.data.table import WINDOW, Table, is_table
from colorlab.errors import UserError
from colorlab.images.frames import ReadableFile

Splits = dict[Split, list[str]]

WeightedRoot = str | dict[str, str | float]
"""An entry of `data.roots`: a path, or a dictionary with the keys `root` and `weight`."""

LARGEST_WEIGHT = 1000


class Part(NamedTuple):
    """One of several roots."""

    root: Root
    weight: float


class Roots:
    """Several roots; `roots / name` is a photograph of one of them, which the first part of its name says.

    Args:
        parts: the roots by the first part of their photographs' names.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self.parts = dict(parts)
        self.folders = [folder for part in parts.values() for folder in folders_of(part.root)]

    def __str__(self) -> str:
        return ", ".join(str(part.root) for part in self.parts.values())

    def __truediv__(self, name: str) -> ReadableFile:
        label, _, rest = name.partition("/")
        return self.parts[label].root / rest


def find_source(path: Path, val_fraction: float, test_fraction: float, seed: int) -> tuple[Root, Splits]:
    """Find photographs and divide them into splits; see `split_photographs`.

    Args:
        path: a folder of pictures, a list of paths, a Parquet table, or a folder of these tables without pictures.
        val_fraction, test_fraction, seed: of the splits that are drawn.

    Raises:
        UserError: there are no photographs at `path`.
    """
    settings = val_fraction, test_fraction, seed
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        paths = PathList(path)
        return paths, split_photographs(paths.names, *settings, paths.labels)
    if (path.is_file() and is_table(path.name)) or (path.is_dir() and _holds_tables(path)):
        table = Table(path)
        return table, split_photographs(table.names, *settings, table.labels)
    return path, split_photographs(find_photographs(path), *settings)


def find_sources(
    roots: Sequence[WeightedRoot], val_fraction: float, test_fraction: float, seed: int
) -> tuple[Roots, Splits]:
    """Find the photographs of several roots, each with its own splits.

    Args:
        roots: the entries of `data.roots`.
        val_fraction, test_fraction, seed: of the splits that are drawn.

    Raises:
        UserError: an entry is not as it should be, or has no photographs.
    """
    splits: Splits = {"train": [], "val": [], "test": []}
    parts: dict[str, Part] = {}
    for entry in roots:
        path, weight = _check_entry(entry)
        root, found = find_source(path, val_fraction, test_fraction, seed)
        label = name = path.resolve().name or "root"
        number = len(parts)
        while label in parts:
            number += 1
            label = f"{name}-{number}"
        parts[label] = Part(root, weight)
        for split, names in found.items():
            splits[split] += [f"{label}/{each}" for each in names]
    if not parts:
        raise UserError("data.roots is empty: data.roots=[PHOTOS,{root:MORE,weight:2}] names two.")
    return Roots(parts), splits


def order_of(photographs: Photographs, processes: int, rank: int, seed: int) -> EpochOrder:
    """Return the order of the training photographs of a source, and the share of one process in it.

    Raises:
        UserError: the weights are so small that an epoch shows no photograph.
    """
    root, names = photographs.root, photographs.names
    parts = _parts_of(root)
    if all(part.weight == 1 and not isinstance(part.root, Table) for part in parts.values()):
        return EpochOrder(photographs, processes, rank, seed=seed)
    runs = groupby(_places(root, names), key=itemgetter(0))
    shares = [Share(sum(1 for _ in run), parts[label].weight) for label, run in runs]
    if not any(share.shown for share in shares):
        raise UserError("data.roots shows no photograph in an epoch: raise a weight.")
    return WeightedOrder(photographs, shares, *groups_of(root, names), processes, rank, seed)


def groups_of(root: Root, names: Sequence[str]) -> tuple[np.ndarray, int]:
    """Return which photographs of a source are read together, since they are in one row group of a table.

    Returns:
        groups: [N] int64, the number of each photograph's group; -1 for one that is read alone.
        window: how many groups can be kept in memory at a time.
    """
    parts = _parts_of(root)
    tables = [part.root for part in parts.values() if isinstance(part.root, Table)]
    first_group = dict(zip(tables, np.cumsum([0, *(table.group_count for table in tables)]), strict=False))
    groups = [np.empty(0, dtype=np.int64)]
    for label, run in groupby(_places(root, names), key=itemgetter(0)):
        own, part = [name for _, name in run], parts[label].root
        groups.append(first_group[part] + part.groups(own) if isinstance(part, Table) else np.full(len(own), -1))
    return np.concatenate(groups), min((table.window for table in tables), default=WINDOW)


def _parts_of(root: Root) -> dict[str, Part]:
    return root.parts if isinstance(root, Roots) else {"": Part(root, 1.0)}


def _places(root: Root, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the key in `_parts_of` of each photograph's root, and its name there."""
    for name in names:
        label, _, rest = name.partition("/") if isinstance(root, Roots) else ("", "", name)
        yield label, rest


def _holds_tables(folder: Path) -> bool:
    """Return whether there are tables and no pictures under a folder."""
    found = False
    for name in files_below(folder):
        if is_picture(name):  # the first is enough: the folder may hold millions
            return False
        found = found or is_table(name)
    return found


def _check_entry(entry: WeightedRoot) -> tuple[Path, float]:
    entry = {"root": entry} if isinstance(entry, str) else entry
    root, weight = entry.get("root"), entry.get("weight", 1.0)
    if not isinstance(root, str) or entry.keys() - {"root", "weight"}:
        raise UserError(f"data.roots has {entry}: an entry is PHOTOS or {{root:PHOTOS,weight:2}}.")
    if isinstance(weight, str) or not 0 < weight <= LARGEST_WEIGHT:
        raise UserError(f"data.roots has weight {weight} for {root}: it must be above 0 and at most {LARGEST_WEIGHT}.")
    return Path(root).expanduser(), float(weight)

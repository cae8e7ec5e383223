"""Pack photographs into shards: `python -m colorlab.shards data=folder data.root=PHOTOS out=SHARDS`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from colorlab.command_line import run
from colorlab.config import check, check_arguments, kind_of, plain
from colorlab.errors import UserError

if TYPE_CHECKING:
    from colorlab.data import ColorDataModule


@dataclass
class Settings:
    """What to write, and where.

    Args:
        out: a folder, or a URL in an object store: s3://bucket/folder.
        megabytes: size of a shard.
        short_side: scale larger photographs down to this, as JPEGs; None packs the files as they are.
    """

    out: str
    megabytes: float = 64.0
    short_side: int | None = None


def pack(data: "ColorDataModule", settings: Settings) -> str:
    """Write the photographs of all splits; training photographs are assigned to shards at random.

    Those of a table are drawn from a few row groups at a time, so that each row group is read about once.

    Returns:
        One line on what was written.

    Raises:
        UserError: there are shards already, or `out` cannot be written to.
    """
    import numpy as np
    from rich.progress import track

    from colorlab.data.order import grouped_permutation
    from colorlab.data.shard_storage import storage_at
    from colorlab.data.sources import groups_of
    from colorlab.shards.packing import ShardWriter, read_all

    storage = storage_at(settings.out, limit=0)
    writer = ShardWriter(storage, int(settings.megabytes * 1e6))
    for split, stored in data.names.items():
        names: Sequence[str] = stored
        if split == "train":
            order = grouped_permutation(*groups_of(data.root, stored), np.random.RandomState(data.seed))
            names = [stored[place] for place in order]
        files = read_all(data.root, names, settings.short_side, data.workers)
        writer.add(split, track(files, f"Packing {split}", total=len(names)))
    index = writer.finish()
    counts = ", ".join(f"{len(names)} {split}" for split, names in data.names.items())
    sizes = f"{index.lengths.sum() / 1e6:.1f} MB, {index.sizes.mean() / 1e3:.1f} kB a picture"
    return f"shards: {len(index.shards)} in {storage} ({counts}; {sizes})"


def shards(cfg: dict[str, Any]) -> None:
    """Run the command with its configuration in plain containers."""
    top = {key: value for key, value in cfg.items() if key not in ("data", "seed")}
    settings: Settings = check_arguments(Settings, top).build()
    if settings.megabytes <= 0 or (settings.short_side or 1) < 1:
        raise UserError("megabytes and short_side must be above 0.")
    data = check(cfg["data"], "data", kind=kind_of("data")).build()
    print(pack(data, settings), flush=True)
    print(f"train with them: python -m colorlab.train data=shards data.root={settings.out}")


def _job(cfg: DictConfig) -> None:
    shards(plain(cfg))


def main() -> None:
    """Entry point of `colorlab-shards`."""
    run("shards", _job, (*Settings.__annotations__, "data", "seed"))


if __name__ == "__main__":
    main()

"""Pack photographs into shards: `python -m colorlab.shards data=folder data.root=PHOTOS out=SHARDS`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from colorlab.command_line import run
from colorlab.config import check, check_arguments, plain
from colorlab.errors import UserError

if TYPE_CHECKING:
    from colorlab.data import ColorDataModule


@dataclass
class Settings:
    """Where the shards go, and what they are.

    Args:
        out: a folder, or the URL of a place in an object store: s3://bucket/folder.
        megabytes: of a shard.
        short_side: scale larger photographs down to this, as JPEGs; None packs the files as they are.
    """

    out: str
    megabytes: float = 64.0
    short_side: int | None = None


def pack(data: "ColorDataModule", settings: Settings) -> str:
    """Write the photographs of all splits; the training photographs are dealt to the shards at random.

    Returns:
        A line on what was written.

    Raises:
        UserError: there are shards already, or the place cannot be written to.
    """
    import numpy as np
    from rich.progress import track

    from colorlab.data.object_store import store_at
    from colorlab.shards.packing import ShardWriter, contents

    store = store_at(settings.out, limit=0)
    writer = ShardWriter(store, int(settings.megabytes * 1e6))
    for split, names in data.names.items():
        if split == "train":
            names = [names[place] for place in np.random.RandomState(data.seed).permutation(len(names))]
        files = contents(data.root, names, settings.short_side, data.workers)
        writer.add(split, track(files, f"Packing {split}", total=len(names)))
    index = writer.finish()
    counts = ", ".join(f"{len(names)} {split}" for split, names in data.names.items())
    sizes = f"{index.lengths.sum() / 1e6:.1f} MB, {index.sizes.mean() / 1e3:.1f} kB a picture"
    return f"shards: {len(index.shards)} in {store} ({counts}; {sizes})"


def shards(cfg: dict[str, Any]) -> None:
    """Pack what a configuration, in plain containers, says."""
    top = {key: value for key, value in cfg.items() if key not in ("data", "seed")}
    settings: Settings = check_arguments(Settings, top).build()
    if settings.megabytes <= 0 or (settings.short_side or 1) < 1:
        raise UserError("megabytes and short_side must be above 0.")
    print(pack(check(cfg["data"], "data").build(), settings), flush=True)
    print(f"train with them: python -m colorlab.train data=shards data.root={settings.out}")


def _job(cfg: DictConfig) -> None:
    shards(plain(cfg))


def main() -> None:
    """Entry point of `colorlab-shards`."""
    run("shards", _job, (*Settings.__annotations__, "data", "seed"))


if __name__ == "__main__":
    main()

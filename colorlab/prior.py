"""Count the colors of your photographs: `python -m colorlab.prior data=folder data.root=PHOTOS`."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from colorlab.command_line import run
from colorlab.config import check, kind_of, plain
from colorlab.files import relative
from colorlab.runs.folder import RunFolder


def _job(cfg: DictConfig) -> None:
    folder = RunFolder(HydraConfig.get().runtime.output_dir)
    plan = check(plain(cfg)["data"], "data", kind=kind_of("data"))
    from colorlab.data.color_histogram import count_colors, draw_prior, write_prior

    data = plan.build()
    data.check_training()
    write_prior(folder.prior, count_colors(data))
    draw_prior(folder.prior, picture := folder.prior.with_suffix(".png"))
    print(f"prior: {relative(folder.prior)} (train with it: objective.prior={relative(folder.prior)})")
    print(f"picture: {relative(picture)}")


def main() -> None:
    """Entry point of `colorlab-prior`."""
    run("prior", _job, ("data", "seed"))


if __name__ == "__main__":
    main()

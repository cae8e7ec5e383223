"""The launcher of `hydra/launcher=ray`: each job of a sweep is a task of a Ray cluster.

Hydra imports this module at every start, so it imports nothing heavy at the top.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass
class RayLauncherConf:
    """The keys of `hydra.launcher`: the arguments of `ray.init`, and of `ray.remote` for each task."""

    _target_: str = f"{__name__}.RayLauncher"
    init: dict[str, Any] = field(default_factory=dict)  # address=auto joins a running cluster
    remote: dict[str, Any] = field(default_factory=lambda: {"num_cpus": 1})  # num_gpus=1 gives each job a GPU


ConfigStore.instance().store(group="hydra/launcher", name="ray", node=RayLauncherConf, provider="colorlab")


class RayLauncher(Launcher):
    """Submit all jobs to Ray, which runs as many at once as its machines have room for, one process per job."""

    def __init__(self, init: DictConfig, remote: DictConfig) -> None:
        self.init, self.remote = OmegaConf.to_container(init), OmegaConf.to_container(remote)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        ray = _import_ray()
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        if not ray.is_initialized():
            ray.init(**self.init)
        shared = ray.put((self.hydra_context, self.task_function, self.config, Singleton.get_state()))
        run = ray.remote(max_calls=1, max_retries=0, **self.remote)(_run)
        jobs, tasks = list(enumerate(job_overrides, initial_job_idx)), []
        for number, overrides in jobs:
            print(f"\t#{number} : {' '.join(filter_overrides(overrides))}")
            tasks.append(run.remote(number, list(overrides), shared))
        return [self._result(ray, task, *job) for task, job in zip(tasks, jobs, strict=True)]

    def _result(self, ray: Any, task: Any, number: int, overrides: Sequence[str]) -> JobReturn:
        """Return what a job returned; a job whose process died counts as failed."""
        try:
            return ray.get(task)
        except ray.exceptions.RayError as error:
            lost = error

        def fail(_: DictConfig) -> None:
            raise lost

        return _job(number, list(overrides), self.hydra_context, fail, self.config)


def _import_ray() -> Any:
    from colorlab.errors import UserError, how_to_install

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UserError(f"hydra/launcher=ray needs Ray: {how_to_install('ray')}.") from error
    return ray


def _run(number: int, overrides: list[str], shared: Any) -> JobReturn:
    """Run one job in a process of Ray's."""
    hydra_context, task_function, config, singletons = shared
    Singleton.set_state(singletons)
    setup_globals()
    os.chdir(config.hydra.runtime.cwd)
    return _job(number, overrides, hydra_context, task_function, config)


def _job(
    number: int, overrides: list[str], hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
) -> JobReturn:
    """Run the task of one job in the job's folder."""
    job = hydra_context.config_loader.load_sweep_config(config, overrides)
    with open_dict(job):
        job.hydra.job.id, job.hydra.job.num = f"{job.hydra.job.name}_{number}", number
    return run_job(
        hydra_context=hydra_context, task_function=task_function, config=job,
        job_dir_key="hydra.sweep.dir", job_subdir_key="hydra.sweep.subdir",
    )  # fmt: skip

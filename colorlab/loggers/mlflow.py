"""A logger to an mlflow server or database."""

import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from colorlab.config import flatten
from colorlab.errors import UserError, how_to_install
from colorlab.files import write_text
from colorlab.loggers.tracker import losable, read_id, read_pixels
from colorlab.runs.folder import RunFolder

TIMEOUTS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Limits on how long a lost server delays training: half a minute, or two minutes if it hangs."""


@losable
class MLflowInFolder(MLFlowLogger):
    """An mlflow logger that keeps the mlflow run's id in the run's folder, so that a resume continues the same run.

    MLflow refuses to change a parameter, so a resumed run adds only new ones.

    Args:
        folder: the run's folder.
        uri: address of the server or database.
        settings: further arguments of Lightning's MLFlowLogger.
    """

    title = "mlflow"

    def __init__(self, folder: RunFolder, uri: str, **settings: Any) -> None:
        known = read_id(folder.mlflow_id)
        super().__init__(run_id=known, tracking_uri=uri, **settings)
        self.folder, self.uri = folder, uri

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        run = self.experiment.get_run(self.run_id)
        self.experiment.update_run(self.run_id, status="RUNNING")
        write_text(self.folder.mlflow_id, run.info.run_id)
        new = {key: value for key, value in flatten(params, "/").items() if key not in run.data.params}
        super().log_hyperparams(new)

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.log_image(self.run_id, read_pixels(path), key=name, step=step, synchronous=True)


def mlflow_logger(
    folder: str,
    experiment: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    uri: str | None = None,
) -> MLflowInFolder:
    """Return a logger to an mlflow server or database.

    Args:
        folder: the run's folder.
        name: of the run; None means the name of its folder.
        experiment, group, tags, notes: how mlflow files the run.
        uri: the server's address; None is MLFLOW_TRACKING_URI, else a database in the working folder,
            where `mlflow server` finds it.

    Raises:
        UserError: mlflow is not installed, or the server does not answer.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise UserError(f"logger=mlflow needs mlflow: {how_to_install('mlflow')}.")
    for setting, value in TIMEOUTS.items():
        os.environ.setdefault(setting, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = uri or mlflow.get_tracking_uri()
    _check_answers(uri)
    logger = MLflowInFolder(
        RunFolder(folder), uri, experiment_name=experiment, run_name=name or Path(folder).name,
        tags={"mlflow.note.content": notes or "", "group": group or "", "tags": ", ".join(tags or [])},
    )  # fmt: skip
    try:
        _ = logger.experiment
    except MlflowException as error:
        raise UserError(f"logger.mlflow.uri={uri}: {str(error).splitlines()[0]}") from error
    return logger


def _check_answers(uri: str) -> None:
    """Ask the server once; mlflow itself would retry, which is right only after training has begun."""
    if not uri.startswith("http"):
        return
    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
    except HTTPError:  # the server answers, but wants a login, which mlflow will report
        pass
    except OSError as error:
        raise UserError(f"logger.mlflow.uri={uri} does not answer: {error}.") from error

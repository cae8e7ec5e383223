"""MLflowInFolder: an mlflow server or database."""

import importlib.util
import os
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from colorlab.config import flatten
from colorlab.errors import UserError
from colorlab.files import write_text
from colorlab.loggers.tracker import losable, pixels_in
from colorlab.runs.folder import RunFolder

PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""Half a minute of asking again, or two for a server that hangs, in which a run does not train."""


@losable
class MLflowInFolder(MLFlowLogger):
    """An mlflow logger that keeps its run's id in the run's folder, so that a resume goes on in the same run.

    MLflow holds each parameter to its first value: of a resumed run's, only new ones are added.

    Args:
        folder: the run's folder.
        settings: Lightning's MLFlowLogger's.
    """

    title = "mlflow"

    def __init__(self, folder: RunFolder, **settings: Any) -> None:
        known = folder.mlflow_id.read_text() if folder.mlflow_id.exists() else None
        super().__init__(run_id=known, **settings)
        self.folder = folder

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        run = self.experiment.get_run(self.run_id)
        self.experiment.update_run(self.run_id, status="RUNNING")
        write_text(self.folder.mlflow_id, self.run_id)
        new = {key: value for key, value in flatten(params, "/").items() if key not in run.data.params}
        super().log_hyperparams(new)

    def log_picture(self, name: str, path: Path, step: int, epoch: int | None = None) -> None:
        self.experiment.log_image(self.run_id, pixels_in(path), key=name, step=step, synchronous=True)


def mlflow_logger(
    folder: str,
    experiment: str = "colorlab",
    name: str | None = None,
    group: str | None = None,
    tags: list[str] | None = None,
    notes: str | None = None,
    uri: str | None = None,
) -> MLflowInFolder:
    """A logger to an mlflow server or database.

    Args:
        folder: the run's folder.
        experiment, name, group, tags, notes: how mlflow files the run.
        uri: the server's address; None is MLFLOW_TRACKING_URI, else a database in the current folder,
            where `mlflow server` finds it.

    Raises:
        UserError: mlflow is not installed, or does not answer there.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise UserError("logger=mlflow needs mlflow: pip install 'colorlab[mlflow]'.")
    for setting, value in PATIENCE.items():
        os.environ.setdefault(setting, value)
    import mlflow
    from mlflow.exceptions import MlflowException

    uri = uri or mlflow.get_tracking_uri()
    _check_answers(uri)
    logger = MLflowInFolder(
        RunFolder(folder), experiment_name=experiment, run_name=name, tracking_uri=uri,
        tags={"mlflow.note.content": notes or "", "group": group or "", "tags": ", ".join(tags or [])},
    )  # fmt: skip
    try:
        _ = logger.experiment
    except MlflowException as error:
        raise UserError(f"logger.mlflow.uri={uri}: {str(error).splitlines()[0]}") from error
    return logger


def _check_answers(uri: str) -> None:
    """Ask once: mlflow itself would ask again, as it should only when a server goes away while a run trains."""
    if not uri.startswith("http"):
        return
    try:
        urlopen(f"{uri.rstrip('/')}/health", timeout=10).close()
    except HTTPError:  # a server that wants to know who asks; mlflow will say
        pass
    except OSError as error:
        raise UserError(f"logger.mlflow.uri={uri} does not answer: {error}.") from error

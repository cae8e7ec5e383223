"""The callback that logs metrics of `colorlab.evaluate` during training."""

from pathlib import Path

import pytest
import torch
from lightning import Trainer, seed_everything
from torch import nn

from colorlab.callbacks.evaluation import Evaluation
from colorlab.data import ColorDataModule
from colorlab.data.color_histogram import cached_prior
from colorlab.errors import UserError
from colorlab.loggers import MetricsCSV
from colorlab.metrics import IN_TRAINING, Colored
from colorlab.metrics.suite import MetricSuite, mean_of
from colorlab.models import CUNet
from colorlab.runs.folder import RunFolder
from colorlab.runs.metrics_table import read_metrics
from colorlab.schedules import Constant


def train(folder: Path, data: ColorDataModule, **arguments: object) -> CUNet:
    seed_everything(0, verbose=False)
    model = CUNet(width=2)
    model.prepare_training(nn.MSELoss(), lambda params: torch.optim.Adam(params, 1e-2), Constant())
    trainer = Trainer(
        max_epochs=2, default_root_dir=folder, callbacks=[Evaluation(**arguments)], logger=[MetricsCSV(str(folder))],
        accelerator="cpu", limit_train_batches=1, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model.eval()


@pytest.fixture
def data() -> ColorDataModule:
    return ColorDataModule(size=48, batch_size=8, val_fraction=0.05, workers=0)


def test_it_logs_what_the_suite_says_of_all_validation_photographs(tmp_path: Path, data: ColorDataModule) -> None:
    model = train(tmp_path, data, every_n_epochs=2)
    found = {name: values for name, values in read_metrics(RunFolder(tmp_path)).items() if name.startswith("val/")}
    suite = MetricSuite(None, cached_prior(data, "val"))
    records: list = [[], []]
    for pictures in data.reader("val"):
        batch = data.__class__.on_after_batch_transfer(data, pictures, 0)
        seen = suite.features(Colored(batch.L, batch.ab, batch.ab).photograph)
        with torch.no_grad():
            for kept, ab in zip(records, (model(batch.L), batch.ab), strict=True):
                kept.append(suite.measure(Colored(batch.L, ab, batch.ab), seen))
    predicted, true = ({key: torch.cat([part[key] for part in side]) for key in side[0]} for side in records)
    expected = {name: mean_of(predicted, name) for name in suite.metrics if name in predicted}
    expected |= suite.measure_set(predicted, true)
    del expected["ms_ssim"]  # pictures of 48² have none
    for name, value in expected.items():
        near = {"rel": 1e-3, "abs": 1e-4}
        assert found[f"val/{name}"][1] == pytest.approx(value, **near), name
        assert set(found[f"val/{name}"]) == ({0, 1} if name in IN_TRAINING else {1})
    assert "val/ms_ssim" not in found


def test_only_the_metrics_named_are_measured(tmp_path: Path, data: ColorDataModule) -> None:
    train(tmp_path, data, metrics=["ab_rmse"])
    found = read_metrics(RunFolder(tmp_path))
    assert "val/ab_rmse" in found
    assert "val/lite0_distance" not in found


def test_an_impossible_interval_is_refused() -> None:
    with pytest.raises(UserError, match="every_n_epochs=0 must be at least 1"):
        Evaluation(every_n_epochs=0)

"""Preparation of a study: its models, photographs and pictures."""

import random
from typing import Any, cast

from colorlab.config import check, kind_of
from colorlab.data import ColorDataModule
from colorlab.data.photographs import Photographs
from colorlab.data.splits import content_fingerprint
from colorlab.errors import UserError
from colorlab.evaluate.evaluation import files_of
from colorlab.evaluate.named_models import NamedModel, checkpoints_of, load_models
from colorlab.evaluate.predictor import trainer_of
from colorlab.evaluate.protocol import with_protocol
from colorlab.runs.origin import versions
from colorlab.study.folder import StudyFolder
from colorlab.study.pictures import PictureWriter
from colorlab.study.settings import Settings
from colorlab.study.trials import fit_protocol


def prepare(settings: Settings, cfg: dict[str, Any], folder: StudyFolder) -> dict[str, Any]:
    """Make a new study's pictures, or continue the study in the folder; return what the study depends on.

    Args:
        settings: the study's settings.
        cfg: the resolved configuration, in plain containers.
        folder: the study's folder.

    Raises:
        UserError: the configuration, a checkpoint or the photographs cannot be used, too few of them have color, or
            the folder holds a study of other models.
    """
    facts = folder.facts()
    if facts is None and not settings.checkpoint:
        raise UserError("checkpoint is missing: add checkpoint=… to the command.")
    models = load_models(settings.checkpoint or [])
    if facts is None:
        facts = _create(settings, cfg, folder, models)
        folder.write_facts(facts)
    elif models and {each.sha256 for each in models} != {each["sha256"] for each in facts["checkpoints"].values()}:
        raise UserError(f"out={folder.path} holds a study of {', '.join(facts['checkpoints'])}: give another out=….")
    return facts


def _create(settings: Settings, cfg: dict[str, Any], folder: StudyFolder, models: list[NamedModel]) -> dict[str, Any]:
    """Write the pictures of a new study."""
    data_plan, trainer_plan = (check(cfg[key], key, kind=kind_of(key)) for key in ("data", "trainer"))
    data: ColorDataModule = with_protocol(data_plan, settings.protocol).build()
    files = files_of(data, settings.split)
    chosen = sorted(random.Random(settings.seed).sample(files, min(settings.pictures, len(files))))
    loader = data.reader_of(chosen)
    folder.pictures.mkdir(parents=True, exist_ok=True)
    writer = PictureWriter(models, data, cast(Photographs, loader.dataset), folder.pictures)
    one_process = trainer_plan.with_arguments(devices=1, num_nodes=1, strategy="auto")  # more would all serve
    trainer_of(one_process, folder.path, loggers=[]).predict(writer, loader, return_predictions=False)
    count = len(writer.written)
    protocol = fit_protocol(settings.practice, settings.counted, settings.vigilance, count)
    if protocol.counted - protocol.vigilance < 1:
        raise UserError(f"{count} photographs with color are too few for a study.")
    return {
        **vars(protocol), "seed": settings.seed,
        "checkpoints": checkpoints_of(models), "protocol": settings.protocol, "exposure": settings.exposure,
        "root": str(data.root), "split": settings.split, "fingerprint": content_fingerprint(data.root, chosen),
        "photographs": {place: chosen[place] for place in sorted(writer.written)}, "versions": versions(),
    }  # fmt: skip

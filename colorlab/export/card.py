"""The model card of a folder on Hugging Face: what the model is, how to use it, how well it colors."""

import json
from pathlib import Path

from colorlab.errors import UserError
from colorlab.evaluate.report import Report, read_report, write_markdown
from colorlab.models import Colorizer

CARD = """---
library_name: colorlab
pipeline_tag: image-to-image
tags: [image-colorization]
---

# {name}

Colors gray photographs: colorlab's {title}, {parameters:,} parameters.

```python
import colorlab

model = colorlab.load("{name}")    # this folder
picture = model.colorize(image)    # a PIL image, an array or a tensor, of any size
ab = model(L)                      # L: [B, 1, H, W], CIE L* in 0..100 → ab: [B, 2, H, W]
```

Its architecture, as `config.json` has it:

| argument | value |
|---|---|
{arguments}
"""


def write_card(model: Colorizer, name: str, evaluation: Report | None) -> str:
    """The card's text.

    Args:
        model: what the card is of.
        name: of the folder.
        evaluation: how well it colors; None leaves the section out.
    """
    arguments = "\n".join(f"| {key} | {json.dumps(value)} |" for key, value in model.hparams.items())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    card = CARD.format(name=name, title=model.title, parameters=parameters, arguments=arguments)
    return f"{card}\n## Evaluation\n\n{write_markdown(evaluation)}" if evaluation else card


def read_evaluation(file: Path, sha256: str) -> Report:
    """An evaluation of the model whose file has this digest, without the paths of the machine it ran on.

    Raises:
        UserError: the file is no evaluation.json, or one of other models.
    """
    evaluation = read_report(file)
    facts = evaluation.facts
    if sha256 not in (each["sha256"] for each in facts["checkpoints"].values()):
        raise UserError(
            f"--evaluation {file} is of other files than this checkpoint: {', '.join(facts['checkpoints'])}."
        )
    facts["root"] = Path(facts["root"]).name
    facts["prior"] = f"the colors of {Path(facts['prior'].removeprefix('the colors of ')).name}"
    facts["left_out"] = {}  # the reasons name files
    for each in facts["checkpoints"].values():
        each["checkpoint"] = Path(each["checkpoint"]).name
    return evaluation

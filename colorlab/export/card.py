"""The model card of a folder on Hugging Face: the model, its use, its license and its evaluation."""

import json
from pathlib import Path

from colorlab.errors import UserError
from colorlab.evaluate.report import Report, read_report, write_markdown
from colorlab.models import Colorizer
from colorlab.models.weights import LICENSES

CARD = """---
library_name: colorlab
pipeline_tag: image-to-image
tags: [image-colorization]
---

# {name}

This model colors gray photographs. It is colorlab's {title}, with {parameters:,} parameters.

```python
import colorlab

model = colorlab.load("{name}")    # this folder
picture = model.colorize(image)    # a PIL image, an array or a tensor, of any size
ab = model(L)                      # L: [B, 1, H, W], CIE L* in 0..100 → ab: [B, 2, H, W]
```

Its architecture, as in `config.json`:

| argument | value |
|---|---|
{arguments}

## License

{licenses}
"""


def write_card(model: Colorizer, name: str, evaluation: Report | None) -> str:
    """Return the text of a model card.

    Args:
        model: the model that the card describes.
        name: the folder's.
        evaluation: results to show; None leaves the section out.
    """
    arguments = "\n".join(f"| {key} | {json.dumps(value)} |" for key, value in model.hparams.items())
    parameters = sum(parameter.numel() for parameter in model.parameters())
    card = CARD.format(name=name, title=model.title, parameters=parameters, arguments=arguments, licenses=LICENSES)
    return f"{card}\n## Evaluation\n\n{write_markdown(evaluation)}" if evaluation else card


def read_evaluation(file: Path, sha256: str) -> Report:
    """Return the evaluation of the model whose file has this digest, without paths of the machine it ran on.

    Raises:
        UserError: the file is no evaluation.json, or evaluates other models.
    """
    evaluation = read_report(file)
    facts = evaluation.facts
    if sha256 not in (each["sha256"] for each in facts["checkpoints"].values()):
        raise UserError(
            f"--evaluation {file} evaluates other files than this checkpoint: {', '.join(facts['checkpoints'])}."
        )
    facts["root"] = Path(facts["root"]).name
    facts["prior"] = f"the colors of {Path(facts['prior'].removeprefix('the colors of ')).name}"
    facts["left_out"] = {}  # the reasons name files
    for each in facts["checkpoints"].values():
        each["checkpoint"] = Path(each["checkpoint"]).name
    return evaluation

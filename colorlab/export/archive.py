"""The format torch: an archive of torch.export, which PyTorch runs without colorlab and AOTInductor compiles."""

import json
import warnings
from pathlib import Path

import torch

from colorlab.export.graph import Graph
from colorlab.export.parity import Program

FACTS = "colorlab.json"
"""The file in the archive that describes the input and the output."""


def write(graph: Graph, path: Path) -> None:
    """Write the graph, with dynamic batch size, height and width."""
    program = torch.export.export(graph, (graph.example(),), dynamic_shapes=graph.shapes())
    with path.open("wb") as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # a false alarm for channels-last weights
        torch.export.save(program, file, extra_files={FACTS: json.dumps(graph.facts())})


def read(path: Path) -> Program:
    """Return the program in the file."""
    return torch.export.load(path).module()

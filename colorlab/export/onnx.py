"""The format ONNX, which onnxruntime and many other programs run."""

from pathlib import Path

import onnxruntime
import torch
from torch import Tensor

from colorlab.export.graph import Graph
from colorlab.export.parity import Program


def write(graph: Graph, path: Path) -> None:
    """Write the graph, with dynamic batch size, height and width, and a description of input and output."""
    names, shapes = graph.names, graph.shapes()
    program = torch.onnx.export(
        graph, (graph.example(),), dynamo=True, verbose=False,
        input_names=names[:1], output_names=names[1:], dynamic_shapes=shapes,
    )  # fmt: skip
    assert program is not None  # it is None without dynamo
    program.model.producer_name = "colorlab"
    program.model.metadata_props.update(graph.facts())
    program.save(path, external_data=False)


def read(path: Path) -> Program:
    """Return the file as a program that onnxruntime runs on the CPU."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()

    def run(picture: Tensor) -> Tensor:
        (result,) = session.run(None, {entry.name: picture.numpy()})
        return torch.from_numpy(result)

    return run

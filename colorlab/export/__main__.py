"""Write a trained model for other programs: `python -m colorlab.export CHECKPOINT --to onnx`."""

from pathlib import Path

from colorlab.command_line import Parser, parse_arguments, reporting
from colorlab.export.exporter import SUFFIXES, ExportSettings, export
from colorlab.runs.published import PUBLISHED


@reporting()
def main() -> None:
    """Entry point of `colorlab-export`."""
    parser = Parser(prog="colorlab-export", description=__doc__)
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT",
        help=f"a file, a run's folder, or one of built-in, {', '.join(PUBLISHED)}",
    )  # fmt: skip
    parser.add_argument("--to", choices=SUFFIXES, required=True, help="the format; torch is an archive of torch.export")
    parser.add_argument("-o", "--out", type=Path, help="default: beside the checkpoint")
    parser.add_argument("--rgb", action="store_true", help="onnx, torch: take and return RGB instead of L and ab")
    parser.add_argument(
        "--half", nargs="?", const="float16", choices=["float16", "bfloat16"],
        help="safetensors, huggingface: store convolutions in 16 bits (float16)",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation", type=Path, metavar="FILE", help="huggingface: an evaluation.json for the model card"
    )
    parser.add_argument(
        "--fold-temperature", action="store_true", help="published: for programs that decode bins by a plain softmax"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the output")
    options = vars(parse_arguments(parser))
    checkpoint, out, force = (options.pop(key) for key in ("checkpoint", "out", "force"))
    settings = ExportSettings(**options)
    out, difference = export(checkpoint, settings, out, force)
    unit = "RGB of 0..1" if settings.rgb else "units of ab"
    print(f"{settings.to}: {out}")
    print(f"On a photograph its colors differ from the checkpoint's by at most {difference:.2g} {unit}.")


if __name__ == "__main__":
    main()

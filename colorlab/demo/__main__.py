"""Serve a web page that colors photographs: `python -m colorlab.demo CHECKPOINT…`."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from colorlab.command_line import Parser, parse_arguments, quiet_libraries, reporting
from colorlab.errors import UserError, how_to_install
from colorlab.runs.checkpoints import BUILT_IN
from colorlab.runs.published import PUBLISHED
from colorlab.web.serving import listen

if TYPE_CHECKING:
    from colorlab.models import Colorizer


def read_models(paths: list[Path], device: str) -> "dict[str, Colorizer]":
    """Return the models of checkpoints, run folders and exported folders, by unique names.

    Raises:
        UserError: a path holds no model, two have the same name, or the device does not exist.
    """
    import torch

    from colorlab.models.weights import find_model, load

    models: dict[str, Colorizer] = {}
    for path in paths:
        checkpoint = find_model(path)
        name = checkpoint.name if checkpoint.is_dir() else checkpoint.stem
        name = f"{checkpoint.resolve().parent.parent.name}/{name}" if name in models else name
        try:
            models[name] = load(checkpoint).to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise UserError(f"--device {device} cannot be used: {str(error).splitlines()[0]}") from error
    if len(models) < len(paths):
        raise UserError("Two checkpoints have the same name: rename one.")
    return models


def serve(models: "dict[str, Colorizer]", host: str, port: int, megabytes: float, megapixels: float) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: the port cannot be used.
    """
    from colorlab.demo.server import Limits, make_app

    with listen(host, port, "--port 0 finds one.") as listening:
        app = make_app(models, Limits(megabytes, megapixels), listening.hosts)
        print(f"The page is at {listening.address} — Ctrl-C ends it. No picture is kept.", flush=True)
        listening.serve(app)


@reporting()
def main() -> None:
    """Entry point of `colorlab-demo`."""
    parser = Parser(prog="colorlab-demo", description=__doc__)
    parser.add_argument(
        "checkpoint",
        nargs="*",
        type=Path,
        metavar="CHECKPOINT",
        help=f"files, run folders, exports, {', '.join(PUBLISHED)} (default: a small one that comes with colorlab)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 lets other machines connect (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    parser.add_argument("--megabytes", type=float, default=64, help="the largest accepted file (%(default)s)")
    parser.add_argument("--megapixels", type=float, default=50, help="the most pixels, in millions (%(default)s)")
    parser.add_argument("--device", default="cpu", help="where the networks run (%(default)s)")
    options = parse_arguments(parser)
    missing = [name for name in ("fastapi", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"The page needs {' and '.join(missing)}: {how_to_install('demo')}.")
    if not 0 <= options.port <= 65_535:
        raise UserError(f"--port {options.port} must lie between 0 and 65535.")
    if not (options.megabytes > 0 and options.megapixels > 0):
        raise UserError("--megabytes and --megapixels must be above 0.")
    quiet_libraries()
    models = read_models(options.checkpoint or [Path(BUILT_IN)], options.device)
    serve(models, options.host, options.port, options.megabytes, options.megapixels)


if __name__ == "__main__":
    main()

"""Make a wandb workspace from its definition in code: `python -m colorlab.dashboard PROJECT`."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from colorlab.command_line import Parser, reporting
from colorlab.errors import UserError, how_to_install
from colorlab.files import relative, write_text
from colorlab.library_internals import workspace_json

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import LinePlot
    from wandb_workspaces.reports.v2.interface import PanelTypes as Panel
    from wandb_workspaces.workspaces import Workspace

LOSS = "val/loss.min"
"""The value that runs are compared by: the least validation loss, in a run's summary (see colorlab.loggers)."""


def make_workspace(project: str, entity: str, name: str = "colorlab") -> "Workspace":
    """Return the definition of a workspace that compares the runs of a project.

    Args:
        project, entity: the project and its team in wandb.
        name: the name of the view.
    """
    import wandb_workspaces.workspaces as workspaces

    return workspaces.Workspace(
        entity=entity, project=project, name=name,
        sections=[workspaces.Section(name=title, panels=panels, is_open=True) for title, panels in _sections().items()],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", group_by_prefix="first", max_runs=50),
        runset_settings=workspaces.RunsetSettings(
            order=[workspaces.Ordering(workspaces.Summary(LOSS))],
            pinned_columns=[
                f"summary:{LOSS}", "summary:val/psnr.max", "config:optim.value.lr", "config:optim.value.weight_decay",
            ],
        ),
    )  # fmt: skip


def _sections() -> dict[str, list["Panel"]]:
    """Return the panels of each section: which run is best, why, and how its pictures look."""
    import wandb_workspaces.reports.v2 as panels

    model = panels.Config("model.name")
    return {
        "Loss": [
            _over_epochs("validation loss", "val/loss"),
            _over_epochs("training loss", "train/loss"),
            _over_epochs("validation loss, by model", "val/loss", groupby=model, groupby_rangefunc="minmax"),
            _over_epochs("plateau decays: each step is one", "optim/decays"),
            _over_epochs("learning rate", "optim/lr", log_y=True),
            _over_epochs("weight decay", "optim/weight_decay", log_y=True),
        ],
        "What makes the loss": _causes_of_the_loss(),
        "Quality": [
            _over_epochs("PSNR (dB); gray pictures below", "val/psnr", "val/psnr_gray"),
            _over_epochs("colorfulness; the true photographs' above", "val/colorfulness", "val/colorfulness_true"),
            _over_epochs("SSIM", "val/ssim"),
            _over_epochs("CIEDE2000", "val/ciede2000"),
        ],
        "Pictures": [
            panels.MediaBrowser(title="validation photographs", media_keys=["pictures/val"], num_columns=1),
            panels.MediaBrowser(title="test photographs", media_keys=["pictures/test"], num_columns=1),
        ],
        "Speed": [_over_epochs("images per second", "speed/images_per_second")],
    }


def _causes_of_the_loss() -> list["Panel"]:
    """Return panels of the best loss over the settings of the runs."""
    import wandb_workspaces.reports.v2 as panels

    model, lr, weight_decay = (panels.Config(key) for key in ("model.name", "optim.lr", "optim.weight_decay"))
    best = panels.SummaryMetric(LOSS)
    columns = [
        panels.ParallelCoordinatesPlotColumn(model, "model"),
        panels.ParallelCoordinatesPlotColumn(lr, "lr", log=True),
        panels.ParallelCoordinatesPlotColumn(weight_decay, "weight decay", log=True),
        panels.ParallelCoordinatesPlotColumn(panels.Config("data.batch_size"), "batch size"),
        panels.ParallelCoordinatesPlotColumn(panels.SummaryMetric("val/psnr.max"), "best PSNR"),
        panels.ParallelCoordinatesPlotColumn(best, "best loss", inverted=True),
    ]
    return [
        panels.BarPlot(
            title="best loss, by model", metrics=[panels.Metric(LOSS)], groupby=model, groupby_aggfunc="min"
        ),
        panels.ScatterPlot(title="best loss, by lr", x=lr, y=best, log_x=True),
        panels.ScatterPlot(title="best loss, by weight decay", x=weight_decay, y=best, log_x=True),
        panels.ParallelCoordinatesPlot(title="the sweep", columns=columns),
        panels.ParameterImportancePlot(with_respect_to=LOSS),
    ]


def _over_epochs(title: str, *names: str, **more: Any) -> "LinePlot":
    import wandb_workspaces.reports.v2 as panels

    return panels.LinePlot(title=title, x="epoch", y=list(names), **more)


def publish(workspace: "Workspace") -> str:
    """Save the workspace in wandb, and return its address.

    Raises:
        UserError: wandb refuses it, or cannot be reached.
    """
    try:
        return workspace.save().url
    except Exception as error:  # wandb's, its service's or the network's
        reason = str(error) or type(error).__name__
        raise UserError(f"wandb did not save the dashboard: {reason.splitlines()[0]}") from error


def write_definition(workspace: "Workspace", path: Path) -> None:
    """Write the definition that `publish` would send, atomically."""
    write_text(path, workspace_json(workspace) + "\n")


@reporting(output_is_result=True)
def main() -> None:
    """Entry point of `colorlab-dashboard`."""
    parser = Parser(prog="colorlab-dashboard", description=__doc__)
    parser.add_argument("project", metavar="PROJECT", help="in wandb: PROJECT, or TEAM/PROJECT")
    parser.add_argument("--name", default="colorlab", help="the name of the view")
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        help="write the definition here (without a login: dashboard.json)",
    )
    options = parser.parse_args()
    make_dashboard(options.project, options.name, options.out)


def make_dashboard(place: str, name: str, out: Path | None) -> None:
    """Publish the workspace; without a login, or if a file is given, write its definition instead.

    Args:
        place: PROJECT or TEAM/PROJECT.
        name: the name of the view.
        out: the file for the definition; None publishes the workspace if the user is logged in.

    Raises:
        UserError: wandb-workspaces is not installed, or wandb refuses the workspace.
    """
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise UserError(f"A dashboard needs wandb-workspaces: {how_to_install('dashboard')}.")
    import wandb

    os.environ.setdefault("WANDB_SILENT", "true")
    entity, _, project = place.rpartition("/")
    logged_in = wandb.login(prompt=False)
    if logged_in and not entity:
        entity = wandb.Api().default_entity or ""
    workspace = make_workspace(project, entity or "TEAM", name)
    if logged_in and out is None:
        print(f"dashboard: {publish(workspace)}")
        return
    path = out or Path("dashboard.json")
    write_definition(workspace, path)
    why = "" if logged_in else "You are not logged in to wandb, so nothing was published (wandb login). "
    print(f"{why}The dashboard's definition: {relative(path)}")


if __name__ == "__main__":
    main()

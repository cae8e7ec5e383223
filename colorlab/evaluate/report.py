"""The results of an evaluation as tables, files and pictures."""

import csv
import json
import math
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from colorlab.errors import UserError, printable
from colorlab.evaluate.estimates import LEVEL, Estimate, Report, best_of
from colorlab.evaluate.evaluator import BASELINES, Evaluator
from colorlab.files import spreadsheet_cell
from colorlab.images.contact_sheet import Row, draw_sheet
from colorlab.metrics import METRICS

ARROWS = {"max": "↑", "min": "↓", None: ""}


# -- tables ------------------------------------------------------------------------------------------


def write_number(value: float | None, digits: int) -> str:
    """Format a number for tables."""
    return "–" if value is None or math.isnan(value) else "∞" if math.isinf(value) else f"{value:.{digits}f}"


def interval(estimate: Estimate, digits: int) -> str:
    """Format the interval for tables; empty if there is none."""
    if estimate.low is None:
        return ""
    return f"{write_number(estimate.low, digits)}–{write_number(estimate.high, digits)}"


def print_tables(report: Report, console: Console) -> None:
    """Print a row for each model, split into as many tables as the width of the screen requires."""
    columns = {metric: _column(report, metric) for metric in report.metrics}
    names = max(map(len, report.estimates)) + 3
    part: list[str] = []
    room = console.width - names
    for metric, cells in columns.items():
        width = 4 + max(len(line) for cell in (METRICS[metric].title + " ↑", *cells) for line in cell.split("\n"))
        if part and width > room:
            console.print(_table(report, {metric: columns[metric] for metric in part}))
            part, room = [], console.width - names
        part.append(metric)
        room -= width
    console.print(_table(report, {metric: columns[metric] for metric in part}))


def _column(report: Report, metric: str) -> list[str]:
    digits = METRICS[metric].digits
    cells = []
    for held in report.estimates.values():
        estimate = held.get(metric, Estimate(math.nan))
        cells.append(f"{write_number(estimate.value, digits)}\n{interval(estimate, digits)}")
    return cells


def _table(report: Report, columns: dict[str, list[str]]) -> Table:
    table = Table("model", box=None, header_style="bold", row_styles=["", "on grey11"])
    for metric in columns:
        table.add_column(f"{METRICS[metric].title} {ARROWS[METRICS[metric].direction]}", justify="right", no_wrap=True)
    winners = {metric: best_of(report, metric) for metric in columns}
    for place, name in enumerate(report.estimates):
        cells = [
            f"[bold]{cells[place]}[/bold]" if name in winners[metric] else cells[place]
            for metric, cells in columns.items()
        ]
        table.add_row(escape(printable(name)), *cells)
    return table


# -- files -------------------------------------------------------------------------------------------


def write(report: Report, evaluator: Evaluator, folder: Path) -> list[Path]:
    """Write evaluation.csv, .json, .md and .png, pictures.csv and the contact sheets; return the pictures' paths."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_csv(report, folder / "evaluation.csv")
    content = json.dumps(_plain(report), indent=2, ensure_ascii=False, allow_nan=False)
    (folder / "evaluation.json").write_text(content, encoding="utf-8")
    (folder / "evaluation.md").write_text(write_markdown(report), encoding="utf-8")
    _write_pictures(report, folder / "pictures.csv")
    draw_estimates(report, folder / "evaluation.png")
    (sheets := folder / "sheets").mkdir(exist_ok=True)
    paths = [folder / "evaluation.png"]
    if evaluator.examples:  # empty if all of those photographs were left out
        paths.append(_draw_examples(report, evaluator, sheets / "side_by_side.jpg"))
    return [*paths, *_draw_extremes(report, evaluator, sheets)]


def _plain(report: Report) -> dict[str, Any]:
    """Convert the report for JSON; infinity becomes the text "inf", and NaN null."""

    def number(value: float | None) -> float | str | None:
        if value is None or math.isnan(value):
            return None
        return value if math.isfinite(value) else str(value)

    models = {
        model: {
            metric: {key: number(value) for key, value in vars(held[metric]).items()}
            for metric in report.metrics
            if metric in held
        }
        for model, held in report.estimates.items()
    }
    return {**report.facts, "models": models}


def read_report(file: Path) -> Report:
    """Read an evaluation.json; the values of single pictures are not in it.

    Raises:
        UserError: the file does not exist or is no evaluation.json.
    """
    if not file.is_file():
        raise UserError(f"There is no evaluation at {file}.")
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        estimates = {
            model: {metric: _estimate(found) for metric, found in held.items()}
            for model, held in facts.pop("models").items()
        }
        report = Report(facts, [], {}, estimates)
        describe(report)  # raises KeyError if a fact is missing
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file} is no evaluation.json of colorlab.evaluate.") from error
    return report


def _estimate(found: dict[str, float | str | None]) -> Estimate:
    def number(key: str) -> float | None:
        return None if (value := found[key]) is None else float(value)

    value = number("value")
    return Estimate(math.nan if value is None else value, number("low"), number("high"))


def _write_csv(report: Report, path: Path) -> None:
    facts = {key: value for key, value in report.facts.items() if not isinstance(value, dict)}
    facts |= {f"version_{name}": version for name, version in report.facts["versions"].items()}
    rows = [
        row | report.facts["checkpoints"].get(row["model"], {"checkpoint": None, "sha256": None}) | facts
        for row in rows_of(report)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows({key: spreadsheet_cell(value) for key, value in row.items()} for row in rows)


def _write_pictures(report: Report, path: Path) -> None:
    metrics = [metric for metric in METRICS if metric in report.records["true"]]
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["picture", "model", *metrics])
        for model, record in report.records.items():
            columns = [record[metric].tolist() for metric in metrics]
            for name, values in zip(report.names, zip(*columns, strict=True), strict=True):
                table.writerow([spreadsheet_cell(name), spreadsheet_cell(model), *values])


def write_markdown(report: Report) -> str:
    """Return the table and what it depends on as Markdown."""
    headings = [f"{METRICS[metric].title} {ARROWS[METRICS[metric].direction]}".strip() for metric in report.metrics]
    lines = [f"| model | {' | '.join(headings)} |", "|---" + "|---:" * len(headings) + "|"]
    winners = {metric: best_of(report, metric) for metric in report.metrics}
    for model, held in report.estimates.items():
        cells = []
        for metric in report.metrics:
            digits = METRICS[metric].digits
            estimate = held.get(metric, Estimate(math.nan))
            number = write_number(estimate.value, digits)
            number = f"**{number}**" if model in winners[metric] else number
            cells.append(f"{number} ({interval(estimate, digits)})" if estimate.low is not None else number)
        name = printable(model).replace("|", "\\|")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n\n" + "\n".join(f"- {line}" for line in describe(report)) + "\n"


def rows_of(report: Report) -> list[dict[str, Any]]:
    """Return a row for each model: its scores with their intervals."""
    rows = []
    for model, held in report.estimates.items():
        row: dict[str, Any] = {"model": model}
        for metric in report.metrics:
            estimate = held.get(metric, Estimate(math.nan))
            row |= {metric: estimate.value, f"{metric}_low": estimate.low, f"{metric}_high": estimate.high}
        rows.append(row)
    return rows


def describe(report: Report) -> list[str]:
    """Return lines that say what the numbers depend on."""
    facts = report.facts
    lines = [
        f"{facts['pictures']} pictures ({facts['split']} of {facts['root']}), fingerprint {facts['fingerprint']}",
        f"protocol {facts['protocol']}; rebalanced by {facts['prior']}",
        f"in brackets: the {LEVEL:.0%} bootstrap interval of the mean over the pictures",
        ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
        + f"; {facts['precision']} on {facts['device']}",
    ]
    lines += [f"{name}: {held['checkpoint']}, SHA-256 {held['sha256']}" for name, held in facts["checkpoints"].items()]
    reasons: dict[str, list[str]] = {}
    for metric, reason in facts["left_out"].items():
        reasons.setdefault(reason, []).append(METRICS[metric].title)
    return lines + [f"without {', '.join(titles)}: {reason}" for reason, titles in reasons.items()]


# -- pictures ------------------------------------------------------------------------------------------


def draw_estimates(report: Report, path: Path) -> None:
    """Draw a panel for each metric, with a point and its interval for each model."""
    metrics = report.metrics
    columns = min(4, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    height = 1.1 + 0.28 * len(report.estimates)
    figure = Figure(figsize=(3.4 * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    models = list(report.estimates)[::-1]
    for axes, metric in zip(panels, metrics, strict=False):
        scale = METRICS[metric]
        for place, model in enumerate(models):
            estimate = report.estimates[model].get(metric, Estimate(math.nan))
            if math.isfinite(estimate.value):
                bounds = None
                if estimate.low is not None and estimate.high is not None:
                    bounds = [[max(estimate.value - estimate.low, 0)], [max(estimate.high - estimate.value, 0)]]
                shade = "0.6" if model in BASELINES else "C0"
                axes.errorbar(estimate.value, place, xerr=bounds, fmt="o", color=shade, capsize=3, markersize=5)
        axes.set(title=f"{scale.title} {ARROWS[scale.direction]}", yticks=range(len(models)), yticklabels=models)
        axes.set_ylim(-0.6, len(models) - 0.4)
        axes.grid(axis="x", alpha=0.3)
        axes.tick_params(labelleft=axes.get_subplotspec().is_first_col())
        axes.locator_params(axis="x", nbins=5)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    figure.savefig(path, dpi=100)


def _draw_examples(report: Report, evaluator: Evaluator, path: Path) -> Path:
    """Draw the same photographs as colored by every model."""
    rows = []
    for number, pictures in sorted(evaluator.examples.items()):
        place = report.names.index(name := evaluator.photographs.name(number))
        values = {model: record["psnr"][place].item() for model, record in report.records.items() if "psnr" in record}
        caption = {model: f"{value:.2f} dB" for model, value in values.items() if model in pictures and model != "true"}
        order = sorted(pictures, key=lambda model: (model not in ("true", "gray"), model == "gray"))
        rows.append((Path(name).stem, Row({model: pictures[model] for model in order}, caption)))
    draw_sheet(rows, blocks=1).save(path, quality=92, subsampling=0)
    return path


def _draw_extremes(report: Report, evaluator: Evaluator, folder: Path) -> list[Path]:
    names = evaluator.photographs.name
    paths = []
    for model, extremes in evaluator.extremes.items():
        for metric in extremes.metrics():
            digits = METRICS[metric].digits
            for kind, chosen in (("best", extremes.best(metric)), ("worst", extremes.worst(metric))):
                rows = []
                for photograph in chosen:
                    value = write_number(extremes.values[photograph][metric], digits)
                    caption = {"gray": "", "predicted": f"{METRICS[metric].title} {value}"}
                    rows.append((Path(names(photograph)).stem, Row(extremes.pictures[photograph], caption)))
                if rows:
                    paths.append(folder / f"{model}_{metric}_{kind}.jpg")
                    draw_sheet(rows).save(paths[-1], quality=92, subsampling=0)
    return paths

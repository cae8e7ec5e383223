"""A training step of colorlab, against a bare PyTorch loop, against fp32, and against the device's matmul speed."""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities.memory import is_oom_error
from rich.console import Console
from rich.progress import track
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from colorlab.benchmark.measuring import Result, in_fresh_process, now, peak, reset_peak
from colorlab.callbacks.finite_steps import FiniteSteps
from colorlab.callbacks.plateau import PlateauDecay
from colorlab.callbacks.random_state import RandomState
from colorlab.callbacks.speed import Speed
from colorlab.command_line import quiet_libraries
from colorlab.config import Plan
from colorlab.data import ColorDataModule
from colorlab.data.augmentation import RandomCropFlip
from colorlab.data.batch import Batch
from colorlab.loggers import MetricsCSV
from colorlab.models import ECCV16, Colorizer, CUNet
from colorlab.schedules import Constant
from colorlab.train.hardware import fast_settings

MODELS: dict[str, Callable[..., Colorizer]] = {"eccv16": ECCV16, "cunet": CUNet}
OURS, BARE, EAGER, REAL = "colorlab", "bare loop", "bare loop, fp32 eager", "colorlab, photographs"


@dataclass
class Setting:
    """What is trained, and how; `width` is the network's, `size` the side of the pictures in pixels."""

    model: str
    width: int
    size: int
    batch: int
    device: str
    precision: Literal["32-true", "bf16-mixed"]
    compiled: bool

    def build(self) -> Colorizer:
        """Build the model on the device, with the same weights at each call."""
        torch.manual_seed(0)
        return MODELS[self.model](width=self.width).to(self.device).train()

    def pictures(self, batch: int | None = None) -> Batch:
        """Draw a batch on the device."""
        batch, size = batch or self.batch, self.size
        lightness = torch.rand(batch, 1, size, size, device=self.device) * 100
        ab = torch.randn(batch, 2, size, size, device=self.device) * 20
        return Batch(lightness, ab, torch.arange(batch, device=self.device))


# -- loops -----------------------------------------------------------------------------------------


def bare_step(setting: Setting, batch: int | None = None, eager: bool = False) -> Callable[[], None]:
    """Return a training step in plain PyTorch; `eager` with torch's defaults, in float32."""
    model, pictures, objective = setting.build(), setting.pictures(batch), nn.MSELoss()
    if eager:
        model.to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4, fused=None if eager else True)
    compiled, mixed = setting.compiled and not eager, setting.precision == "bf16-mixed" and not eager
    network = torch.compile(model.network, dynamic=False) if compiled else model.network

    def step() -> None:
        with torch.autocast(setting.device, torch.bfloat16, enabled=mixed):
            loss = objective(network(pictures.L).float(), pictures.ab)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def clock(device: str) -> Callable[[], float]:
    """Return the clock of the steps: CPU time where one thread does all the work."""
    return partial(now, device, alone=torch.get_num_threads() == 1)


class AlternatingLoops(Callback):
    """Times the Trainer's steps alternately with those of other loops, because the speed of machines varies.

    Args:
        others: a step of each of the other loops, by the loop's name.
        steps: of each loop in a round; the first round is a warm-up and not counted.
        device: the device that is synchronized before the time is read.
    """

    def __init__(self, others: dict[str, Callable[[], None]], steps: int, device: str) -> None:
        self.others, self.steps = others, steps
        self._now = clock(device)
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._began = 0.0

    def on_train_batch_start(self, trainer: Trainer, model: LightningModule, batch: Batch, batch_idx: int) -> None:
        if batch_idx % self.steps:
            return
        if batch_idx > self.steps:
            self.seconds[OURS].append((self._now() - self._began) / self.steps)
        for name, step in self.others.items():
            began = self._now()
            for _ in range(self.steps):
                step()
            if batch_idx:
                self.seconds[name].append((self._now() - began) / self.steps)
        self._began = self._now()


class RepeatedBatch(Dataset):
    """One batch on the device, `count` times; nothing is read or copied."""

    def __init__(self, batch: Batch, count: int) -> None:
        self.batch, self.count = batch, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Batch:
        if index >= self.count:
            raise IndexError
        return self.batch


def train(setting: Setting, folder: str, callbacks: list[Callback], epochs: int, **data: Any) -> Trainer:
    """Train as `colorlab.train` does, with its default callbacks."""
    model = setting.build()
    optim = Plan(torch.optim.Adam, {"lr": 1e-3, "weight_decay": 1e-4, "fused": True}).partial()
    model.prepare_training(nn.MSELoss(), optim, Constant(), compile_network=setting.compiled)
    everything = [
        RichProgressBar(refresh_rate=5),
        Speed(),
        RandomState(),
        FiniteSteps(),
        PlateauDecay(patience=None),
        *callbacks,
    ]
    trainer = Trainer(
        max_epochs=epochs, accelerator=setting.device, devices=1, precision=setting.precision, benchmark=True,
        logger=MetricsCSV(folder), callbacks=everything, default_root_dir=folder, enable_checkpointing=False,
        enable_model_summary=False, num_sanity_val_steps=0, limit_val_batches=0, log_every_n_steps=10,
    )  # fmt: skip
    trainer.fit(model, **data)
    return trainer


# -- measurement -----------------------------------------------------------------------------------


def step_seconds(setting: Setting, steps: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of a step in each round, by loop, on one batch on the device."""
    loops = AlternatingLoops({BARE: bare_step(setting), EAGER: bare_step(setting, eager=True)}, steps, setting.device)
    batches = DataLoader(RepeatedBatch(setting.pictures(), steps * (rounds + 1) + 1), batch_size=None)
    with tempfile.TemporaryDirectory() as folder:
        train(setting, folder, [loops], epochs=1, train_dataloaders=batches)
    return {name: seconds[-rounds:] for name, seconds in loops.seconds.items()}


def photographs_per_second(setting: Setting, epochs: int, **data: Any) -> float:
    """Return the training speed in the last epoch on photographs read from files, or from the cache."""
    with tempfile.TemporaryDirectory() as folder:
        datamodule = ColorDataModule(size=setting.size, batch_size=setting.batch, augment=RandomCropFlip(), **data)
        trainer = train(setting, folder, [], epochs, datamodule=datamodule)
        return float(trainer.callback_metrics["speed/images_per_second"])


def flop_per_picture(setting: Setting) -> int:
    """Count the operations of forward and backward with torch: 2 for a multiplication and an addition."""
    model = setting.build().to("meta")
    with FlopCounterMode(display=False) as counter:
        model.network(torch.empty(1, 1, setting.size, setting.size, device="meta")).sum().backward()
    return counter.get_total_flops()


def matmul_flops(device: str, dtype: torch.dtype) -> float:
    """Measure the floating-point operations per second of the device in a product of square matrices.

    It is the best of ten rounds, or of as many as take half a second, because a CPU may emulate bf16.
    """
    side, repeats = (8192, 20) if device == "cuda" else (512, 1)
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    time = clock(device)
    seconds: list[float] = []
    while len(seconds) < 10 and repeats * sum(seconds) < 0.5:
        began = time()
        for _ in range(repeats):
            one @ other
        seconds.append((time() - began) / repeats)
    return 2 * side**3 / min(seconds)


def peak_memory(setting: Setting, batch: int) -> int | None:
    """Return the peak memory of two training steps of the bare loop, in bytes; None if memory runs out.

    Called in a new process, whose peak is that of the steps.
    """
    quiet_libraries()
    try:
        step = bare_step(setting, batch)
        reset_peak(setting.device)
        step()
        step()  # the first step creates the optimizer's state
    except RuntimeError as error:
        if is_oom_error(error):
            return None
        raise
    return peak(setting.device)


def memory_of(setting: Setting, batch: int) -> int | None:
    """Return `peak_memory` from a new process."""
    return in_fresh_process(peak_memory, setting, batch)


def largest_batch(setting: Setting) -> int:
    """Find the largest batch that fits into memory, to a sixteenth, by doubling and bisection."""
    fits = setting.batch
    while memory_of(setting, 2 * fits) is not None:
        fits *= 2
    step = fits // 2
    for _ in range(4):
        if step and memory_of(setting, fits + step) is not None:
            fits += step
        step //= 2
    return fits


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    cuda = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if cuda else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", nargs="+", default=list(MODELS), choices=list(MODELS), help="both")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), help="what colorlab chooses")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=cuda, help="on a GPU")
    parser.add_argument("--root", help="a folder of photographs (the built-in ones)")
    parser.add_argument("--workers", type=int, help="processes that read them (a core each, at most 8)")
    parser.add_argument("--cache", default="none", choices=("none", "disk"), help="data.cache of them (none)")
    for name, default, meaning in (
        ("width", 64, "of the networks"), ("size", 256, "side of the pictures"), ("batch", 32, "pictures a step"),
        ("steps", 20, "of each loop in a round"), ("rounds", 5, "of all loops in turn"),
        ("epochs", 3, "of the photographs, the last of which counts; 0 for none"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{meaning} ({default})")


def run(options: argparse.Namespace) -> Result:
    """Measure all loops for each model."""
    quiet_libraries()
    torch.set_float32_matmul_precision("high")
    device = options.device
    chosen = fast_settings(Plan(Trainer, {"accelerator": device}), Plan(torch.optim.Adam, {}))["trainer"]["precision"]
    precision = options.precision or chosen
    peaks = {name: matmul_flops(device, dtype) for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))}
    rows, facts = [], {"options": {**vars(options), "json": None}, "matmul FLOP/s": peaks, "models": {}}
    for name in track(options.model, "Measuring", console=Console(stderr=True), transient=True):
        setting = Setting(name, options.width, options.size, options.batch, device, precision, options.compile)
        seconds = step_seconds(setting, options.steps, options.rounds)
        flop = flop_per_picture(setting)
        eager = replace(setting, compiled=False)  # compilation would be repeated for each size
        once, twice = (memory_of(eager, batch) for batch in (options.batch, 2 * options.batch))
        facts["models"][name] = {"seconds": seconds, "flop per picture": flop, "bytes": {"batch": once, "twice": twice}}
        held = {
            "MiB a picture": (twice - once) / options.batch / 2**20 if once and twice else None,
            "largest batch": largest_batch(eager) if device == "cuda" and once else None,
        }
        rows += _rows(setting, seconds, flop, peaks, held)
        if options.epochs:
            place = {"root": options.root, "workers": options.workers, "cache": options.cache}
            speed = photographs_per_second(setting, options.epochs, **place)
            loop = f"{REAL}, data.cache={options.cache}"
            rows.append(dict.fromkeys(rows[0]) | {"model": name, "loop": loop, "images/s": speed})
            rows[-1]["% of resident"] = 100 * speed * median(seconds[OURS]) / options.batch
    empty = {heading for heading in rows[0] if all(row[heading] is None for row in rows)}
    rows = [{heading: cell for heading, cell in row.items() if heading not in empty} for row in rows]
    title = f"a training step of {options.batch} × {options.size}², width {options.width}, on {device} in {precision}"
    return Result(f"{title}{', compiled' * options.compile}; {options.rounds}×{options.steps} times", rows, facts)


def _rows(
    setting: Setting, seconds: dict[str, list[float]], flop: int, peaks: dict[str, float], held: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the table's rows of a model.

    The overhead of Lightning is the median over the rounds of colorlab's time minus the bare loop's.
    """
    overhead = median(ours - bare for ours, bare in zip(seconds[OURS], seconds[BARE], strict=True))
    rows = []
    for loop in (OURS, BARE, EAGER):
        step = median(seconds[loop])
        flops = flop * setting.batch / step
        top = peaks["bf16" if setting.precision == "bf16-mixed" and loop != EAGER else "fp32"]
        ours = loop == OURS
        rows.append({
            "model": setting.model, "loop": loop, "ms a step": step * 1e3, "images/s": setting.batch / step,
            "× eager": median(seconds[EAGER]) / step,
            "overhead µs": overhead * 1e6 if ours else None,
            "overhead %": 100 * overhead / median(seconds[BARE]) if ours else None,
            "% of matmul": 100 * flops / top,
            **{heading: value if loop == BARE else None for heading, value in held.items()},
            "% of resident": None,
        })  # fmt: skip
    return rows

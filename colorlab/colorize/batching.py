"""Predictions for many threads by one network, and a limit of the pixels that they hold together."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from queue import SimpleQueue
from typing import NamedTuple

import torch
from torch import Tensor

from colorlab.colorize.jobs import Options
from colorlab.models.colorizer import Colorizer
from colorlab.models.inference import predict


class Request(NamedTuple):
    """A prediction that a thread waits for: L [1, 1, h, w] → ab [1, 2, h, w]."""

    lightness: Tensor
    ab: "Future[Tensor]"


class BatchingPredictor:
    """Predicts ab for many threads, in batches of the requests that have one size and wait at the moment.

    Threads call `predict`; the thread that created the predictor runs the network in `serve`.
    """

    def __init__(self, model: Colorizer, options: Options) -> None:
        self.model, self.options = model, options
        self.events: SimpleQueue[Request | Future] = SimpleQueue()  # requests, and threads' work that is done
        self._waiting: list[Request] = []
        self._closed = threading.Event()

    def predict(self, lightness: Tensor) -> Tensor:
        """Wait for the ab of L: [1, 1, h, w] → [1, 2, h, w]."""
        request = Request(lightness, Future())
        self.events.put(request)
        if self._closed.is_set():
            raise CancelledError
        try:
            return request.ab.result()
        finally:
            del request  # it may hold an exception, whose traceback holds the picture

    def serve(self, count: int) -> "Iterator[Future]":
        """Answer requests until `count` futures were put into `events`; yield each of them."""
        done = 0
        while done < count:
            if self._waiting and self.events.empty():
                self._answer()
            elif isinstance(event := self.events.get(), Request):
                self._waiting.append(event)
            else:
                done += 1
                yield event

    def _answer(self) -> None:
        """Predict for the first request and those of its size. If interrupted, they keep waiting for `close`."""
        size = self._waiting[0].lightness.shape
        batch = [each for each in self._waiting if each.lightness.shape == size][: self.options.batch_size]
        try:
            lightness = torch.cat([each.lightness for each in batch])
            predicted = predict(self.model, lightness, self.options.saturation, self.options.temperature).split(1)
        except Exception as error:  # the waiting threads report it
            for each in batch:
                each.ab.set_exception(error.with_traceback(None))  # the traceback would hold all pictures
        else:
            for each, ab in zip(batch, predicted, strict=True):
                each.ab.set_result(ab)
        self._waiting = [each for each in self._waiting if not each.ab.done()]

    def close(self) -> None:
        """Cancel all requests that wait."""
        self._closed.set()
        while not self.events.empty():
            event = self.events.get()
            self._waiting += [event] if isinstance(event, Request) else []
        for each in self._waiting:
            if not each.ab.done():
                each.ab.set_exception(CancelledError())


class PixelBudget:
    """Limits the pixels that threads hold together; a picture above the limit is processed alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._changed = limit, 0, threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until this many pixels are available, and hold them for the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._limit)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()

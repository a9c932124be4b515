"""Counts and times of a server, as text in the exposition format of Prometheus.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import threading
from collections import Counter, deque

import numpy as np

_RECENT = 2000
QUANTILES = (0.5, 0.95, 0.99)


class Statistics:
    """Counts of requests and batches, and recent times."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, float] = {}
        self._recent: dict[str, deque[float]] = {}
        self._batches = self._pictures = 0

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: Path of the route, not of the request, so that there are few.
            status: HTTP status.
            seconds: Time to the end of the answer.
        """
        with self._lock:
            self._requests[route, status] += 1
            self._seconds[route] = self._seconds.get(route, 0.0) + seconds
            self._recent.setdefault(route, deque(maxlen=_RECENT)).append(seconds)

    def batch(self, pictures: int) -> None:
        """Count a batch of searches, and its pictures."""
        with self._lock:
            self._batches += 1
            self._pictures += pictures

    def text(self, *, queue: int, pictures: int) -> str:
        """Return all metrics.

        Args:
            queue: Searches that wait.
            pictures: Pictures in the index.
        """
        with self._lock:
            requests, seconds = dict(self._requests), dict(self._seconds)
            recent = {route: np.array(times) for route, times in self._recent.items()}
            batches, embedded = self._batches, self._pictures
        lines = ["# TYPE ibc_pyg_requests_total counter"]
        for (route, status), count in sorted(requests.items()):
            lines.append(f'ibc_pyg_requests_total{{route="{route}",status="{status}"}} {count}')
        lines.append("# TYPE ibc_pyg_request_seconds summary")
        for route, times in sorted(recent.items()):
            for quantile, value in zip(QUANTILES, np.quantile(times, QUANTILES), strict=True):
                about = f'route="{route}",quantile="{quantile}"'
                lines.append(f"ibc_pyg_request_seconds{{{about}}} {value:.6f}")
            total = sum(count for (name, _), count in requests.items() if name == route)
            lines.append(f'ibc_pyg_request_seconds_sum{{route="{route}"}} {seconds[route]:.6f}')
            lines.append(f'ibc_pyg_request_seconds_count{{route="{route}"}} {total}')
        for name, kind, value in (
            ("batches_total", "counter", batches),
            ("pictures_embedded_total", "counter", embedded),
            ("queue_length", "gauge", queue),
            ("index_pictures", "gauge", pictures),
        ):
            lines += [f"# TYPE ibc_pyg_{name} {kind}", f"ibc_pyg_{name} {value}"]
        return "\n".join(lines) + "\n"

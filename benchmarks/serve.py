"""Server of an index under load, beside the same model called without a server.

    python benchmarks/serve.py INDEX PICTURES --clients 200 --seconds 30

Each client sends one picture after the other over one connection of loopback. *One by one* embeds
and searches picture after picture; *forward pass alone* embeds batches of 32 decoded pictures.
Both are measured before and after the server, and their means are shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from ibc_pyg.commands.options.process import keep_freed_memory, limit_spinning

limit_spinning()  # as the server does, before torch is imported

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _output import add_outputs, write_outputs  # noqa: E402
from _timing import machine  # noqa: E402

import ibc_pyg  # noqa: E402


def one_by_one(index: Any, pictures: list[bytes], seconds: float) -> float:
    """Return pictures per second of `Index.search` of one picture at a time."""
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        index.search(pictures[done % len(pictures)], k=10)
        done += 1
    return done / (time.perf_counter() - start)


def forward_alone(index: Any, pictures: list[bytes], seconds: float) -> float:
    """Return pictures per second of batches of 32 through the network."""
    model = index.model()
    ready = [model.prepare(picture) for picture in (pictures * 32)[:32]]
    model.embed_prepared(ready)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        model.embed_prepared(ready)
        done += 32
    return done / (time.perf_counter() - start)


async def client(
    port: int, pictures: list[bytes], until: float, number: int, found: list[tuple[int, float]]
) -> None:
    """Send pictures until a time; note status and seconds of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    at = number
    while time.perf_counter() < until:
        body = pictures[at % len(pictures)]
        at += 1
        start = time.perf_counter()
        head = (
            "POST /api/search?k=10 HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.split(b":")[1])
            for line in headers.split(b"\r\n")
            if line.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        status = int(headers.split(b" ")[1])
        found.append((status, time.perf_counter() - start))
        if status == 503:
            await asyncio.sleep(1)
    writer.close()


async def load(port: int, pictures: list[bytes], clients: int, seconds: float) -> Any:
    found: list[tuple[int, float]] = []
    start = time.perf_counter()
    await asyncio.gather(
        *(client(port, pictures, start + seconds, n * 7, found) for n in range(clients))
    )
    return found, time.perf_counter() - start


def resident(pid: int) -> float:
    """Return the memory of a process, MiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("index", type=Path)
    parser.add_argument("pictures", type=Path, help="folder of pictures to send")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32, 200])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--memory", type=float, default=0.0, help="minutes of load by 32 clients")
    add_outputs(parser)
    args = parser.parse_args()
    keep_freed_memory()  # as the server does
    files = sorted(path for path in args.pictures.rglob("*.jpg"))[:400]
    pictures = [path.read_bytes() for path in files]
    index = ibc_pyg.Index.open(args.index)
    index.search(pictures[0])
    about = f"{len(index):,} pictures, {index.fingerprint}"
    alone = [one_by_one(index, pictures, args.seconds / 3)]
    bare = [forward_alone(index, pictures, args.seconds / 3)]
    command = [sys.executable, "run.py", "serve", str(args.index), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = []
    memory: list[float] = []
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        asyncio.run(load(port, pictures, 8, 3))
        for clients in args.clients:
            found, taken = asyncio.run(load(port, pictures, clients, args.seconds))
            times = np.array([seconds for status, seconds in found if status == 200])
            p50, p95, p99 = np.quantile(times, (0.5, 0.95, 0.99)).tolist()
            statuses = Counter(str(status) for status, _ in found)
            rows.append(
                {"clients": clients, "rate": len(times) / taken, "p50": p50, "p95": p95,
                 "p99": p99, "statuses": dict(statuses), "memory": resident(server.pid)}
            )  # fmt: skip
            print(rows[-1], flush=True)
        alone.append(one_by_one(index, pictures, args.seconds / 3))
        bare.append(forward_alone(index, pictures, args.seconds / 3))
        for _ in range(round(args.memory)):
            memory.append(resident(server.pid))
            asyncio.run(load(port, pictures, 32, 60))
        memory.append(resident(server.pid))
    finally:
        server.terminate()
        server.wait(20)
    words = ["benchmarks/serve.py", "INDEX", "PICTURES", *sys.argv[3:]]
    report = {
        "command": "python " + shlex.join(words),
        "machine": machine(torch.device("cpu")),
        "about": about,
        "one_by_one": sum(alone) / 2,
        "forward": sum(bare) / 2,
        "before_and_after": {"one_by_one": alone, "forward": bare},
        "results": rows,
        "memory": memory,
    }
    write_outputs(args, report, markdown(report))
    print(json.dumps(report["memory"]))


def markdown(report: dict[str, Any]) -> str:
    bare, alone = report["forward"], report["one_by_one"]
    lines = [
        f"`{report['command']}`",
        "",
        f"{', '.join(f'{key} {value}' for key, value in report['machine'].items())}; "
        f"{report['about']}.",
        "",
        "| | clients | pictures/s | of the forward pass | p50, ms | p95, ms | p99, ms | answers | "
        "memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---|---:|",
        f"| forward pass alone, batches of 32 | | {bare:.1f} | 1.00 | | | | | |",
        f"| one by one, without a server | | {alone:.1f} | {alone / bare:.2f} | | | | | |",
    ]
    for row in report["results"]:
        times = " | ".join(f"{1000 * row[name]:,.0f}" for name in ("p50", "p95", "p99"))
        statuses = ", ".join(f"{count:,} x {status}" for status, count in row["statuses"].items())
        lines.append(
            f"| serve | {row['clients']} | {row['rate']:.1f} | {row['rate'] / bare:.2f} | "
            f"{times} | "
            f"{statuses} | {row['memory']:,.0f} |"
        )
    if len(report["memory"]) > 1:
        shown = ", ".join(f"{each:,.0f}" for each in report["memory"])
        lines += ["", f"Memory minute by minute under the load of 32 clients, MiB: {shown}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()

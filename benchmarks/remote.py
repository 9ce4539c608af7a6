"""A data set on a server that answers late: HTTP with ranges, a delay before each answer, any number at once.

    python -m benchmarks.remote FOLDER DELAY

It is a process of its own, which sends files without reading them: what it takes is not to be measured. It says its
port, and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

DELAY = 0.05


@dataclass(frozen=True)
class Server:
    url: str

    @property
    def requests(self) -> int:
        """How many files, or parts of some, it has been asked for."""
        with urlopen(f"{self.url}/requests") as answer:
            return int(answer.read())

    def items(self, source: Path, target: Path) -> Path:
        """A folder with the items of `source`, their hrefs on this server."""
        document = json.loads((source / "items.json").read_text())
        for item in document["features"]:
            for asset in item["assets"].values():
                asset["href"] = f"{self.url}/{asset['href']}"
        target.mkdir(parents=True, exist_ok=True)
        (target / "items.json").write_text(json.dumps(document))
        return target


@contextmanager
def serving(folder: Path, delay: float = DELAY) -> Iterator[Server]:
    """Serves a folder."""
    command = [sys.executable, "-m", "benchmarks.remote", str(folder.resolve()), str(delay)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[1]
    ) as process:
        assert process.stdin and process.stdout
        try:
            yield Server(f"http://127.0.0.1:{int(process.stdout.readline())}")
        finally:
            process.stdin.close()


async def serve(folder: Path, delay: float) -> None:
    """Until standard input ends."""
    from aiohttp import web  # not needed by who only starts it

    asked = 0

    async def file(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await asyncio.sleep(delay)
        return web.FileResponse(folder / request.match_info["path"])

    async def requests(request: web.Request) -> web.Response:
        return web.Response(text=str(asked))

    app = web.Application()
    app.add_routes([web.get("/requests", requests), web.get("/{path:.+}", file)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2])))

"""Backend that evaluates on a Dask cluster: one small task per block, documents sent to a worker once."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import threading
from asyncio import wait_for
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from typing import Any

from distributed import Client, KilledWorker
from distributed.client import _wait  # the public one asks for a default client
from distributed.comm import CommClosedError

from muses_lab.compute import tasks
from muses_lab.compute.clients import release_all
from muses_lab.compute.release import release
from muses_lab.compute.shared_memory import Mailbox
from muses_lab.errors import Cancelled, ComputeError, MusesError
from muses_lab.settings import number

TRIES = 2
"""To how many clusters a block is sent: a lost one is looked for, or started, again once."""

SENDS = 3
"""How often one worker may be given a document, and not have it, for one block."""

DEATHS = 3
"""How often a block may be there when workers die: once more among others, then alone, then it fails."""

TOGETHER = 0.001
"""Seconds that a message about blocks waits for more of them."""

PATIENCE = number("MUSES_ANSWER_SECONDS")
"""Seconds that a worker or scheduler may take to answer a message that is not a block; later ones are lost."""

LOOK = 5.0
"""Seconds after which who waits for a block looks whether the cluster is still there."""

BROKEN = (CancelledError, CommClosedError, OSError, TimeoutError)
"""What a broken connection raises, here or in the middle of Dask."""


_Block = tuple[str, Any]
"""Chain and task."""


class _ClusterLost(Exception):
    """The connection broke; the block itself is not to blame."""


class _WorkersDied(Exception):
    """A block was given to one worker after the other: those before are gone."""


class DaskBackend:
    """Blocks on the workers of a Dask cluster.

    Everything that concerns Dask lives on one event loop in a thread of its own, never on Jupyter's: a cell or a
    request handler that blocks must not stop answers from arriving.

    Parameters
    ----------
    name
        "embedded" or "gateway".
    connect
        Finds or starts the cluster and gives a connected asynchronous client; called again when the cluster was lost.
    """

    def __init__(self, name: str, connect: Callable[[], Awaitable[Client]]) -> None:
        self.name = name
        self._connect = connect
        self._release = release()
        self._loop = asyncio.new_event_loop()
        self._connection: asyncio.Task[Client] | None = None
        self._state = "not connected"
        self._workers: dict[str, int] = {}  # address → threads
        self._workers_seen = float("-inf")
        self._home: OrderedDict[Any, str] = OrderedDict()  # block → worker that evaluated it last, of whichever chain
        self._sent: dict[tuple[str, str], asyncio.Task | float] = {}  # (worker, chain) → sending, or when it was there
        self._under_way: set[str] = set()
        self._cancelled: set[str] = set()
        self._untold: set[str] = set()  # cancel flags that the workers do not know of yet
        self._telling = False
        self._looking: asyncio.Task[Any] | None = None
        self._stuck_seconds = number("MUSES_STUCK_SECONDS")
        self._expected: dict[_Block, str | None] = {}  # → worker that was told, None where it is not known which
        self._news: list[_Block] = []
        self._gone: list[tuple[str, _Block]] = []  # and the worker that still expects it
        self._telling_hints = False
        self._mailbox = Mailbox()
        self._suspects = asyncio.Lock()
        self._count = itertools.count()
        self._closed = False
        self._background: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"muses-{name}", daemon=True)
        self._thread.start()

    # The protocol

    @property
    def threads(self) -> int:
        return sum(self._workers.values()) or 2

    def prefetch(self, chain_hash: str, task: Any) -> None:
        self._loop.call_soon_threadsafe(self._expect, (chain_hash, task))

    def cancel_hint(self, chain_hash: str, task: Any) -> None:
        self._loop.call_soon_threadsafe(self._end_expecting, (chain_hash, task))

    def submit(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Future:
        return asyncio.run_coroutine_threadsafe(self._evaluate(chain_hash, payload, task, token), self._loop)

    def cancel(self, token: str) -> None:
        self._loop.call_soon_threadsafe(self._flag, token)

    def status(self) -> dict[str, Any]:
        threads = sum(self._workers.values())
        return {"backend": self.name, "workers": len(self._workers), "threads": threads, "state": self._state}

    def counters(self, timeout: float = 10) -> dict[str, int]:
        async def gather() -> dict[str, int]:
            client = await self._client()
            found = await client.run(tasks.counters, on_error="ignore")
            return dict(sum((Counter(counts) for counts in found.values()), Counter()))

        return asyncio.run_coroutine_threadsafe(wait_for(gather(), timeout), self._loop).result(timeout + 5)

    def keeps(self, names: Sequence[tuple[Any, ...]], timeout: float = 10) -> list[bool]:
        async def gather() -> list[bool]:
            client = await self._client()
            found = await client.run(tasks.keeps, list(names), on_error="ignore")
            return [any(of_workers) for of_workers in zip(*found.values(), strict=True)] or [False] * len(names)

        return asyncio.run_coroutine_threadsafe(wait_for(gather(), timeout), self._loop).result(timeout + 5)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # the cluster may be gone already; then there is nothing to say good-bye to
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._mailbox.close()

    # One block

    async def _evaluate(self, chain_hash: str, payload: Callable[[], bytes], task: Any, token: str) -> Any:
        self._under_way.add(token)
        try:
            deaths, lost = 0, 0
            while True:
                client = await self._client()
                try:
                    if deaths < 2:
                        return await self._send(client, chain_hash, payload, task, token)
                    async with self._suspects:  # one at a time, so that only the guilty one fails
                        return await self._send(client, chain_hash, payload, task, token)
                except (KilledWorker, _WorkersDied):
                    deaths += 1
                    if deaths == DEATHS:
                        text = "workers died again and again while they computed this, probably for lack of memory"
                        raise ComputeError(f"{text}; see the cluster's log", task=repr(task)) from None
                except _ClusterLost as loss:
                    lost += 1
                    await self._forget(client)
                    if lost == TRIES:
                        text = f"the {self.name} cluster was lost {TRIES} times while it computed this"
                        raise ComputeError(f"{text} ({loss.__cause__}); see its log", task=repr(task)) from None
        finally:
            self._end_expecting((chain_hash, task), None if token in self._cancelled else self._home.get(task))
            self._under_way.discard(token)
            self._cancelled.discard(token)

    async def _send(self, client: Client, chain_hash: str, payload: Any, task: Any, token: str) -> Any:
        self._look_at_workers(client)
        given: Counter[str] = Counter()
        while max(given.values(), default=0) < SENDS:
            if token in self._cancelled:
                raise Cancelled("nobody waits for this block any more", begun=False)
            begun = self._loop.time()
            answer = await self._ask(client, chain_hash, task, token)
            if answer is None:  # its worker is gone; another one, then
                continue
            if isinstance(answer, tasks.Done):
                self._remember(task, answer.worker)
                return answer.result
            if isinstance(answer, tasks.Left):  # and is not there: somebody cleaned up, so the ordinary way
                self._mailbox.close()
                continue
            if isinstance(answer, tasks.Failed):
                raise answer.unpacked()
            if isinstance(answer, tasks.Foreign):
                raise ComputeError(
                    f"the workers of the {self.name} cluster run {answer.release}, this process runs {self._release}; "
                    "use the same environment for both, or start a new cluster",
                    worker=answer.release,
                    here=self._release,
                )
            self._remember(task, answer.worker)
            given[answer.worker] += await self._give_document(client, answer.worker, chain_hash, payload, begun)
            if len(given) > 4:  # it goes back to whom it was given, unless that one died
                raise _WorkersDied
        raise ComputeError(f"the workers do not keep the document {chain_hash[:12]}; is their cache too small for it?")

    async def _ask(self, client: Client, chain_hash: str, task: Any, token: str) -> Any:
        home = self._home.get(task)
        if len(self._workers) < 2 or home not in self._workers:
            home = None
        where: dict[str, Any] = {"workers": [home], "allow_other_workers": True} if home else {}
        # Pickled here: the scheduler unpickles what tasks are given, and the engine takes it seconds to import.
        block = pickle.dumps((chain_hash, task, token))
        future = None
        try:
            key = f"muses-{token}-{next(self._count)}"
            future = client.submit(
                tasks.run_block, self._release, block, self._mailbox.place, key=key, pure=False, **where
            )
            return await self._answer(client, future, home, token)
        except (KilledWorker, MusesError):
            raise
        except BROKEN as error:
            raise _ClusterLost from error
        except Exception as error:  # our task answers with values: what is raised is the machinery's
            if client.status != "running":
                raise _ClusterLost from error
            hint = "; is the same release of MUSES Lab installed there?" if "serializ" in str(error).lower() else ""
            raise ComputeError(f"the {self.name} cluster could not compute {task!r}: {error}{hint}") from error
        finally:
            if future is not None:
                future.release()

    async def _answer(self, client: Client, future: Any, home: str | None, token: str) -> Any:
        """The answer; None when the worker that it was to come from is gone and none was there to take over.

        Dask would keep such a task for its dead worker for ever: when workers come, a preference counts as a condition.
        A connection may be dead without having ended: then it is the scheduler's silence that tells, or, where only the
        one that brings news of tasks is dead, what it answers through another: twice, since news take their time.
        """
        answer = asyncio.ensure_future(self._result(future, token))
        unheard = 0
        try:
            while not (await asyncio.wait({answer}, timeout=2 if home else LOOK))[0]:
                await self._look(client)
                if home and home not in self._workers:
                    return None
                unheard = unheard + 1 if await self._is_unheard(client, future) else 0
                if unheard == 2:
                    raise CommClosedError(f"no news of tasks come from the {self.name} cluster")
            return await answer
        finally:
            answer.cancel()

    async def _result(self, future: Any, token: str) -> Any:
        """The answer to a block: as the worker left it here, else from the worker."""
        await _wait([future])
        left = self._mailbox.take(token) if future.status == "finished" else None
        return await future if left is None else left

    async def _is_unheard(self, client: Client, future: Any) -> bool:
        """Whether the scheduler has never heard of a task, or finished it, and this process knows nothing of it."""
        scheduler: Any = client.scheduler
        states = await wait_for(scheduler.get_task_status(keys=[future.key]), PATIENCE)
        return states[future.key] in (None, "memory", "erred") and not future.done()

    def _remember(self, task: Any, worker: str) -> None:
        self._home[task] = worker
        self._home.move_to_end(task)
        if len(self._home) > 100_000:
            self._home.popitem(last=False)

    async def _give_document(self, client: Client, worker: str, chain_hash: str, payload: Any, begun: float) -> bool:
        """Whether the worker has it: sent now, on its way, or arrived after the task that missed it had been sent."""
        key = (worker, chain_hash)
        sent = self._sent.get(key)
        if isinstance(sent, float) and sent >= begun:
            return True
        if not isinstance(sent, asyncio.Task):
            if len(self._sent) > 10_000:
                self._sent = {k: v for k, v in self._sent.items() if isinstance(v, asyncio.Task)}
            sent = self._spawn(self._put(client, worker, chain_hash, payload))
            self._sent[key] = sent
        return await asyncio.shield(sent)

    async def _put(self, client: Client, worker: str, chain_hash: str, payload: Callable[[], bytes]) -> bool:
        key = (worker, chain_hash)
        try:
            if worker not in await self._refresh(client):  # a call to it would be tried for long
                self._sent.pop(key, None)
                await asyncio.sleep(0.1)
                return False
            body = await asyncio.to_thread(payload)
            expected = [b for b in self._expected if b[0] == chain_hash and self._worker_of(b[1]) == worker]
            answers = await wait_for(
                client.run(tasks.put_document, chain_hash, body, expected, workers=[worker]), PATIENCE
            )
            for block in expected:
                if block in self._expected:
                    self._expected[block] = worker
                else:  # it has ended meanwhile
                    self._tell_gone(worker, block)
        except (*BROKEN, ValueError):  # that worker is gone; try the next
            self._sent.pop(key, None)
            return False
        except BaseException:
            self._sent.pop(key, None)
            raise
        failed = answers.get(worker)
        if failed is not None:
            self._sent.pop(key, None)
            raise failed.unpacked()
        self._sent[key] = self._loop.time()
        return True

    # What will be submitted

    def _expect(self, block: _Block) -> None:
        self._expected[block] = None
        self._news.append(block)
        self._tell_hints()

    def _end_expecting(self, block: _Block, evaluated_by: str | None = None) -> None:
        worker = self._expected.pop(block, None)
        if worker is not None and worker != evaluated_by:
            self._tell_gone(worker, block)

    def _tell_gone(self, worker: str, block: _Block) -> None:
        self._gone.append((worker, block))
        self._tell_hints()

    def _worker_of(self, task: Any) -> str | None:
        """The worker that will evaluate a block; None where it may be one of several."""
        worker = next(iter(self._workers)) if len(self._workers) == 1 else self._home.get(task)
        return worker if worker in self._workers else None

    def _tell_hints(self) -> None:
        if not self._telling_hints:
            self._telling_hints = True
            self._spawn(self._tell_expected())

    async def _tell_expected(self) -> None:
        """Tells workers what to expect; what comes meanwhile goes together in the next message.

        Who does not have the document yet is told with it.
        """
        try:
            await asyncio.sleep(TOGETHER)
            client = await self._client()
            while self._news or self._gone:
                news, self._news = self._news, []
                gone, self._gone = self._gone, []
                messages: dict[str, tuple[list[_Block], list[_Block]]] = {}
                for block in news:
                    worker = self._worker_of(block[1])
                    if worker is not None and block in self._expected:
                        self._expected[block] = worker
                        messages.setdefault(worker, ([], []))[0].append(block)
                for worker, block in gone:
                    messages.setdefault(worker, ([], []))[1].append(block)
                for worker, blocks in messages.items():
                    with suppress(*BROKEN, ValueError):  # expectations die with their worker
                        await wait_for(client.run(tasks.prefetch, *blocks, workers=[worker]), PATIENCE)
        except ComputeError:  # there is no cluster
            self._news.clear()
            self._gone.clear()
        finally:
            self._telling_hints = False

    # Cancel flags

    def _flag(self, token: str) -> None:
        if token not in self._under_way:
            return
        self._cancelled.add(token)
        self._untold.add(token)
        self._loop.call_later(self._stuck_seconds, self._check, token)
        if not self._telling:
            self._telling = True
            self._spawn(self._tell())

    async def _tell(self) -> None:
        """Tells all workers; flags that come meanwhile go together in the next message."""
        try:
            while self._untold:
                tokens, self._untold = tuple(self._untold), set()
                client = await self._client()
                with suppress(*BROKEN, ValueError):  # flags die with their worker
                    await wait_for(client.run(tasks.cancel, tokens, on_error="ignore"), PATIENCE)
        except ComputeError:
            self._untold.clear()  # there is no cluster, so nothing runs there
        finally:
            self._telling = False

    def _check(self, token: str) -> None:
        if token in self._under_way and not self._closed:
            self._spawn(self._end_stuck_worker(token))

    async def _end_stuck_worker(self, token: str) -> None:
        """Work that does not hear its cancel flag holds a thread for good: the worker that runs it is started anew.

        Its other blocks are sent again, as after any death.
        """
        client = await self._client()
        with suppress(*BROKEN, ValueError):  # it answers no more
            await wait_for(client.run(tasks.end_if_running, token, on_error="ignore"), PATIENCE)

    # The connection

    async def _client(self) -> Client:
        if self._closed:
            raise Cancelled("the executor was closed")
        if self._connection is None:
            self._connection = self._spawn(self._connected())
        return await asyncio.shield(self._connection)

    async def _connected(self) -> Client:
        self._state = "connecting"
        try:
            client = await self._connect()
        except Exception as error:
            self._connection = None  # the next request tries again
            self._state = f"failed: {error}"
            if isinstance(error, MusesError):
                raise
            raise ComputeError(f"the {self.name} cluster cannot be reached: {error}") from error
        # Messages are sent in batches every 10 ms by default; a block's round trip is to be shorter than that.
        if client.scheduler_comm is not None:  # None once the connection is lost again
            client.scheduler_comm.interval = 0.001
        self._state = "ready"
        try:
            with suppress(*BROKEN):
                await self._refresh(client)
        except BaseException:  # nobody else has it
            await release_all(client)
            raise
        return client

    def _look_at_workers(self, client: Client) -> None:
        """Refreshes what is known of the workers, at most every two seconds and only while there is work."""

        if self._loop.time() - self._workers_seen > 2:
            self._workers_seen = self._loop.time()
            self._mailbox.sweep()
            self._spawn(self._refresh(client))

    async def _look(self, client: Client) -> None:
        """Refreshes what is known of the workers, once for all who ask meanwhile."""
        if self._looking is None or self._looking.done():
            self._looking = self._spawn(self._refresh(client))
        await asyncio.shield(self._looking)

    async def _refresh(self, client: Client) -> dict[str, int]:
        if client.status != "running":  # a closed client has no scheduler to ask
            raise CommClosedError(f"the connection to the {self.name} cluster is lost")
        self._workers = dict(await wait_for(client.nthreads(), PATIENCE))
        self._workers_seen = self._loop.time()
        return self._workers

    async def _forget(self, client: Client) -> None:
        """Lets go of a client whose cluster is lost; the first of its users to notice does it."""
        connection = self._connection
        if connection is None or not connection.done() or connection.exception() or connection.result() is not client:
            return
        self._connection = None
        self._state = "lost, looking for it again"
        self._workers = {}
        self._sent.clear()
        await release_all(client)

    async def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.done() and not connection.cancelled() and not connection.exception():
            await release_all(connection.result())
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=2)

    def _spawn(self, coroutine: Any) -> asyncio.Task:
        task = self._loop.create_task(coroutine)
        self._background.add(task)  # the loop itself keeps only weak references
        task.add_done_callback(self._background.discard)
        task.add_done_callback(lambda t: t.cancelled() or t.exception())  # every asker raises it; nothing left to log
        return task

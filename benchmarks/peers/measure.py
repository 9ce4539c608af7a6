"""Compare settings of contestants, interleaved: what the README's table was made with.

`python measure.py DATA WORKLOADS ZOOMS ROUNDS -- PYTHON PROGRAM [name=value ...] -- PYTHON PROGRAM ...`

Each contestant lives in a process of its own, and in every round each is asked once, so that a busy machine slows all.
Prints the median and the least of the rounds, and the least processor time of all threads together, which a busy
machine changes less. Against this engine and the limit: `make bench`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys


def main() -> None:
    (data, workloads, zooms, rounds), *commands = split(sys.argv[1:])
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands
    ]
    for process in processes:
        ask(process, do="open", data=data)
    for workload in workloads.split(","):
        for zoom in zooms.split(","):
            answers: list[list[dict]] = [[] for _ in processes]
            for lap in range(int(rounds) + 1):
                for process, kept in zip(processes, answers, strict=True):
                    ask(process, do="forget")
                    answer = ask(process, do="view", workload=workload, zoom=int(zoom), classes=[4, 5, 6])
                    if lap:  # the first warms up
                        kept.append(answer)
            for command, kept in zip(commands, answers, strict=True):
                print(f"{workload} z{zoom} {' '.join(command[1:]).rpartition('/')[2]:60} {summary(kept)}", flush=True)
    for process in processes:
        process.communicate(json.dumps({"do": "bye"}) + "\n")


def split(words: list[str]) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for word in words:
        groups.append([]) if word == "--" else groups[-1].append(word)
    return groups


def ask(process: subprocess.Popen[str], **request: object) -> dict:
    assert process.stdin and process.stdout
    print(json.dumps(request), file=process.stdin, flush=True)
    if not (line := process.stdout.readline()):
        raise SystemExit(f"{process.args!r} ended: see above")
    return json.loads(line)


def summary(answers: list[dict]) -> str:
    if "unsupported" in answers[-1]:
        return answers[-1]["unsupported"]
    seconds = [answer["seconds"] for answer in answers]
    processor = min(answer["counters"]["cpu_seconds"] for answer in answers)
    return (
        f"{statistics.median(seconds):6.2f} s, least {min(seconds):6.2f}, processor {processor:6.2f}; "
        f"mean {answers[-1]['mean']:.5f}, valid {answers[-1]['valid']:.4f}"
    )


if __name__ == "__main__":
    main()

"""Does anything that a server can send make the client fail in a way that is not ours?

Recorded bytes of a real server are changed at random, by their structure, and given to everything that parses them:
events, session descriptions, candidates, packets, pictures, answers, names. What must hold for each input: no exception
but the typed ones, bounded time (CPU, so that a busy machine tells the same), bounded memory. Each target runs in a
process of its own, so that one that dies is told, too. Deterministic by ``--seed``.

    python benchmarks/fuzz.py                            # 30,000 inputs for each target, less for the slow ones
    python benchmarks/fuzz.py --target events sdp -n 1000000 --seed 7
    python benchmarks/fuzz.py --target sdp --replay fuzz-failures/sdp-0.hex

The exit code is 1 when one failed; the input is in ``--failures`` then, as hex, shrunk.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import figures
from fuzzing.runner import Outcome, read_kept, run_target
from fuzzing.target import Target
from fuzzing.targets import TARGETS

INPUTS = 30_000
HANG = 30.0
"""Seconds beyond a target's expected time after which its process is taken to hang."""


def main() -> int:
    """Run what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--inputs", type=int, default=INPUTS, help="inputs for each target (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs (%(default)s)")
    parser.add_argument("--target", nargs="+", choices=sorted(TARGETS), metavar="NAME", help=", ".join(sorted(TARGETS)))
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side (%(default)s)")
    parser.add_argument("--timeout", type=float, default=540, help="seconds for one target (%(default)s)")
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"), help="where inputs go that failed")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="give this input, in hex, to the target")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    figures.add_json_option(parser)
    options = parser.parse_args()
    chosen = [TARGETS[name] for name in options.target or TARGETS]
    if options.replay is not None:
        for target in chosen:
            target.check()(bytes.fromhex(options.replay.read_text()))
        return 0
    if options.child is not None:
        return _child(chosen[0], options)
    # The slow ones first: the others fill the gaps behind them.
    order = sorted(chosen, key=lambda target: target.share)
    with ThreadPoolExecutor(options.jobs) as pool:
        done = dict(
            zip((target.name for target in order), pool.map(lambda each: _run(each, options), order), strict=True)
        )
    outcomes = [done[target.name] for target in chosen]
    failures = [f"{each.target} (seed {each.seed}): {each.failure}" for each in outcomes if each.failure]
    for outcome in outcomes:
        if outcome.hex is not None:
            options.failures.mkdir(exist_ok=True)
            (options.failures / f"{outcome.target}-{outcome.seed}.hex").write_text(outcome.hex + "\n")
    total = sum(outcome.inputs for outcome in outcomes)
    result = {
        "inputs": total,
        "seed": options.seed,
        "targets": [outcome.to_dict() for outcome in outcomes],
        **figures.environment(),
    }
    return figures.report(result, options.json, table=_table(outcomes, total), failures=failures)


def _number(target: Target, inputs: int) -> int:
    return max(1, round(inputs * target.share))


def _child(target: Target, options: argparse.Namespace) -> int:
    faulthandler.enable()
    faulthandler.dump_traceback_later(options.timeout, exit=True)  # in C, where no signal handler of Python runs
    outcome = run_target(target, _number(target, options.inputs), options.seed, options.child)
    print(json.dumps(outcome.to_dict()))
    return 0


def _run(target: Target, options: argparse.Namespace) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "input"
        command = [sys.executable, __file__, "--target", target.name, "--child", str(state), "--timeout"]
        command += [str(options.timeout), "--seed", str(options.seed), "-n", str(options.inputs)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout + HANG, check=False)
            told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
            died = f"its process ended with {done.returncode}: {done.stderr[-2000:]}"
        except subprocess.TimeoutExpired:
            told, died = {}, "its process hangs"
        if told:
            return Outcome(**told)
        kept = read_kept(state) if state.exists() else b""
        return Outcome(target.name, options.seed, 0, 0.0, 0, 0.0, 0, failure=died, hex=kept.hex())


def _table(outcomes: list[Outcome], total: int) -> str:
    lines = [f"{'target':<22}{'inputs':>10}{'a second':>10}{'MB':>8}{'slowest ms':>12}{'grew MiB':>10}  outcome"]
    for each in outcomes:
        rate = each.inputs / each.seconds if each.seconds else 0
        lines.append(
            f"{each.target:<22}{each.inputs:>10,}{rate:>10,.0f}{each.bytes / 1e6:>8.1f}{each.slowest_ms:>12.1f}"
            f"{each.growth / 2**20:>10.1f}  {'failed' if each.failure else 'ok'}"
        )
    return "\n".join((*lines, f"{'in all':<22}{total:>10,}"))


if __name__ == "__main__":
    sys.exit(main())

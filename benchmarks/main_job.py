"""The main job over several seeds: KTL beside local-only, paired by seed, as a markdown table.

Run: python benchmarks/main_job.py [--data fashion-mnist] [--shots 2] [--seeds 5] [--local-only] [--first-seed 0]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from seed_means import seed_mean

from ktl import DataConfig, EmbeddedCloud, RunConfig, load_generator, train_beside_local, train_edge


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--shots", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--local-only", action="store_true")
    args = parser.parse_args()

    print("| seed | KTL % | local only % | gain | KTL s | local s | bytes up | bytes down |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        config = RunConfig(data=DataConfig(source=args.data, shots=args.shots), seed=seed)
        with TemporaryDirectory() as folder:
            if args.local_only:
                result = train_edge(replace(config, transfer=None), Path(folder))
                accuracy, seconds = 100 * result.evaluation.accuracy, result.rows[0]["seconds"]
                print(f"| {seed} | | {accuracy:.2f} | | | {seconds:.0f} | | |", flush=True)
                rows.append({"local": accuracy})
                continue
            compared = train_beside_local(config, Path(folder), EmbeddedCloud(load_generator("builtin")))
        ktl, local = (100 * run.evaluation.accuracy for run in (compared.ktl, compared.local))
        total = {k: sum(r[k] for r in compared.ktl.rows) for k in ("seconds", "bytes_up", "bytes_down")}
        seconds = compared.local.rows[0]["seconds"]
        rows.append({"ktl": ktl, "local": local, "gain": ktl - local})
        print(
            f"| {seed} | {ktl:.2f} | {local:.2f} | {ktl - local:+.2f} | {total['seconds']:.0f} | {seconds:.0f} "
            f"| {total['bytes_up']:,} | {total['bytes_down']:,} |",
            flush=True,
        )
    signs = {"ktl": "", "local": "", "gain": "+"}
    means = [seed_mean([row[name] for row in rows], sign) if name in rows[0] else "" for name, sign in signs.items()]
    print(f"| mean | {' | '.join(means)} | | | | |")


if __name__ == "__main__":
    main()

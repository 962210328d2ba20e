"""The main job through the Python API: learn ten kinds of clothing from two pictures each, with a cloud's help.

Run: python examples/few_images.py [RUN_DIRECTORY]
"""

import sys
from pathlib import Path

from ktl import DataConfig, EmbeddedCloud, RunConfig, load_generator, train_beside_local


def main(out: Path) -> None:
    config = RunConfig(data=DataConfig(source="fashion-mnist", shots=2), seed=0)
    cloud = EmbeddedCloud(load_generator("builtin"))
    result = train_beside_local(config, out, cloud)
    for name, run in (("with the cloud's help", result.ktl), ("local only", result.local)):
        sent = sum(row["bytes_up"] for row in run.rows)
        received = sum(row["bytes_down"] for row in run.rows)
        print(f"{name}: {run.evaluation.accuracy:.1%} right, {sent} bytes up, {received} bytes down")
    print(f"the model: {out / 'model.onnx'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/example"))

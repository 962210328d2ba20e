"""From a finished run to what a device runs: ONNX, int8, a bundle, its speed."""

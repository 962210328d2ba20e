"""From a trained model to an ONNX file that takes pictures as they are."""

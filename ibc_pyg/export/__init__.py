"""Models as files of other programs: ONNX out, released checkpoints in."""

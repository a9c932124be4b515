"""Exchange of models with other programs: ONNX export, import of released checkpoints."""

"""Graph convolutions: `IntraBatchConv`, the layers of PyG, user classes, dense twins."""

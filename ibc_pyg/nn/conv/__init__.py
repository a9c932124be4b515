"""Graph convolutions: IntraBatchConv, any layer of PyG, user layers, dense counterparts."""

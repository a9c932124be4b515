"""Neural modules: backbones, message passing, heads."""

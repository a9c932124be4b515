"""The tables of the paper, trained again and set beside the published figures."""

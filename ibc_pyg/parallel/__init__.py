"""Processes of one training: launch, device, collectives, random states."""

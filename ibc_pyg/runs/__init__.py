"""Run folders: files of a run, checkpoints, the environment they were made in."""

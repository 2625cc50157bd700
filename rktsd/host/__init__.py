"""Doors to the machine: processes, system calls, files. Knows nothing of pods or images."""

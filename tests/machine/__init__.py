"""The limits of pods in an emulated machine with cgroup v2 alone; see ``__main__``."""

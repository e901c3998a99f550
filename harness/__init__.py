"""The controller: runtimes, targets, workloads, the run and its verdict, the command line."""

__version__ = "0.1.0"

"""Where a cluster runs: real containers, or the simulator; both behind the seam in `seam`."""

"""From a recorded failure: replay it, shrink it, tell what happened."""

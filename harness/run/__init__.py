"""One run: its configuration, its steps, the conductor, the clients, and the verdict."""

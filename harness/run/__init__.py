"""One run: its configuration, the engine, the conductor, the clients, and the verdict."""

"""`antipaxos serve`: the runs of a folder in a browser."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from harness.cli.options import command
from harness.cli.output import say
from harness.errors import UsageError

ADDRESS = "127.0.0.1"


@command(name="serve")
@click.argument("directory", type=click.Path(path_type=Path), default=Path("runs"))
@click.option("--port", type=click.IntRange(0, 65535), default=8321, show_default=True)
def serve_command(directory: Path, port: int) -> None:
    """Show the runs in DIRECTORY (runs/) in a browser, on 127.0.0.1 only.

    Shows a table of all runs that can be sorted, filtered, opened, compared and downloaded. The
    page of a run in progress is updated live. Port 0 means any free port. Ctrl-C ends the server.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder", remedy="name the folder of your runs")
    try:
        import uvicorn  # noqa: PLC0415  # an extra, see pyproject.toml

        from harness.report.server import application  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            f"this needs the extra 'serve' ({error})",
            remedy="pip install 'antipaxos[serve]'; or antipaxos index, which writes files",
        ) from None
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be had: {error.strerror}", remedy="choose another: --port"
            ) from None
        port = listener.getsockname()[1]
        say(f"http://{ADDRESS}:{port}/")
        config = uvicorn.Config(
            application(directory, port), log_level="warning", server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])

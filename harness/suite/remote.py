"""Jobs on other machines, which share no folder with the suite: folders are sent as bytes.

A job that runs a recorded failure again is sent with its folder. The worker sends back the result,
and the run's folder if the run failed, and keeps nothing. Simulations run in the worker's process,
container runs in a child process, as on the suite's machine.
"""

from __future__ import annotations

import dataclasses
import io
import tempfile
import zipfile
from pathlib import Path
from typing import Final, NamedTuple

from harness.suite.child_process import run_in_child
from harness.suite.jobs import Job, JobResult, failed
from harness.suite.run_job import run_job

FOLDER_BYTES_MAX: Final = 512_000_000
"""Folders larger than this, unpacked, are not sent."""


class RemoteJob(NamedTuple):
    """A job, with the recorded folder that it runs again, if there is one."""

    job: Job
    recorded: bytes | None = None


class RemoteResult(NamedTuple):
    """A result, with the run's folder if the run failed."""

    result: JobResult
    folder: bytes | None = None


def remote_job(job: Job) -> RemoteJob:
    """The job as it is sent to a worker."""
    return RemoteJob(job, None if job.recorded is None else packed(Path(job.recorded)))


def run_remotely(remote: RemoteJob) -> RemoteResult:
    """Run a job for a suite on another machine. Called on a worker."""
    job = remote.job
    with tempfile.TemporaryDirectory(prefix="antipaxos-") as name:
        place = Path(name)
        if remote.recorded is not None:
            unpack(remote.recorded, place / "recorded")
            job = dataclasses.replace(job, recorded=str(place / "recorded"))
        run = run_job if job.on == "sim" else run_in_child
        result = run(job, place / "runs")
        if result.folder is None or result.outcome == "valid":
            return RemoteResult(dataclasses.replace(result, folder=None))
        return RemoteResult(result, packed(Path(result.folder)))


def received(job: Job, remote: RemoteResult, store: Path) -> JobResult:
    """The result of a remote job, with its folder unpacked under `store`."""
    result = remote.result
    if remote.folder is None or result.folder is None:
        return dataclasses.replace(result, folder=None)
    folder = store / Path(result.folder).name
    try:
        unpack(remote.folder, folder)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        return failed(job, f"the folder of the run cannot be unpacked: {error}", result.seconds)
    return dataclasses.replace(result, folder=str(folder))


def packed(folder: Path) -> bytes | None:
    """A folder as a ZIP archive; None if it is empty, or too large to be sent."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files or sum(path.stat().st_size for path in files) > FOLDER_BYTES_MAX:
        return None
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder).as_posix())
    return data.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """The inverse of `packed`. `extractall` writes no file outside of `folder`. Raises ValueError
    for an archive that is too large."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > FOLDER_BYTES_MAX:
            raise ValueError(f"it has more than {FOLDER_BYTES_MAX} bytes")
        folder.mkdir(parents=True, exist_ok=True)
        archive.extractall(folder)

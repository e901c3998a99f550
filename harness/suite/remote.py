"""Jobs on other machines: what goes there and comes back is bytes, since no folder is shared.

A job that runs a recorded failure again takes its folder along. What comes back is the result, and
the run's folder only where the run failed; the worker keeps nothing. Simulations run in the
worker's own process, runs in containers in one of their own, as on the suite's machine.
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
from harness.suite.work import run_job

FOLDER_BYTES_MAX: Final = 512_000_000
"""A folder that is larger, unpacked, stays away."""


class RemoteJob(NamedTuple):
    """A job, with the recorded folder that it runs again, if any."""

    job: Job
    recorded: bytes | None = None


class RemoteResult(NamedTuple):
    """A result, with the run's folder where the run failed."""

    result: JobResult
    folder: bytes | None = None


def remote_job(job: Job) -> RemoteJob:
    """What is sent away for a job."""
    return RemoteJob(job, None if job.recorded is None else packed(Path(job.recorded)))


def run_remotely(remote: RemoteJob) -> RemoteResult:
    """Run a job on this machine for the suite on another. Runs on a worker."""
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
    """The result with its folder under `store`."""
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
    """A folder as a ZIP archive; None where it is empty, or too large to be sent."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files or sum(path.stat().st_size for path in files) > FOLDER_BYTES_MAX:
        return None
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for path in files:
            archive.write(path, path.relative_to(folder).as_posix())
    return data.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """The inverse of `packed`; `extractall` keeps every file inside. Raises ValueError for an
    archive that is too large."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(info.file_size for info in archive.infolist()) > FOLDER_BYTES_MAX:
            raise ValueError(f"it has more than {FOLDER_BYTES_MAX} bytes")
        folder.mkdir(parents=True, exist_ok=True)
        archive.extractall(folder)

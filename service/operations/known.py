"""Ids as callers send them: what cannot be one is simply not there, and never reaches the database."""

import re

from service.domain.errors import NotFound
from service.domain.ids import FileId, JobId

_JOB = re.compile(r"job_[0-9a-z]{26}")
_FILE = re.compile(r"file_[0-9a-z]{26}")


def known_form(job_id: JobId) -> JobId:
    if not _JOB.fullmatch(job_id):
        raise no_job(job_id)
    return job_id


def known_file_form(file_id: FileId) -> FileId:
    if not _FILE.fullmatch(file_id):
        raise no_file(file_id)
    return file_id


def no_job(job_id: JobId) -> NotFound:
    return NotFound(f"there is no job {job_id[:64]!r}")


def no_file(file_id: FileId) -> NotFound:
    return NotFound(f"there is no file {file_id[:64]!r}")

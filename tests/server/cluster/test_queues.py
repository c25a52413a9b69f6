"""Jobs of a batch system: the submitted script, and what can go wrong with it."""

import importlib.util
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from ptylive.schema import MetadataError, PtyliveError
from ptylive.server.cluster import queues
from ptylive.server.cluster.queues import described, submitted
from ptylive.server.cluster.where import Where, parse_where

DOCUMENT = Path(__file__).parents[3] / "docs" / "batch.md"
SCRIPT = """#!/usr/bin/env bash

#SBATCH -J dask-worker
#SBATCH -p gpu
#SBATCH -A microscopy
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=30G
#SBATCH -t 04:00:00
#SBATCH --gres=gpu:1
source ~/ptylive/bin/activate
PYTHON -m distributed.cli.dask_worker ADDRESS --name dummy-name --nthreads 8 --memory-limit 29.80GiB --nanny --death-timeout 60
"""  # noqa: E501


@pytest.fixture
def jobqueue(monkeypatch):
    return pytest.importorskip("dask_jobqueue", reason="needs the extra 'cluster'")


@pytest.fixture
def slurm(tmp_path):
    """The example of docs/batch.md."""
    text, *_ = re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "slurm.toml").write_text(text)
    return parse_where(str(tmp_path / "slurm.toml"))


@pytest.mark.slow
def test_the_script_of_a_job_is_what_the_options_say(jobqueue, slurm):
    with described(slurm) as cluster:
        text = cluster.job_script()
    text = text.replace(sys.executable, "PYTHON")
    assert re.sub(r"tcp://[\d.]+:\d+", "ADDRESS", text).splitlines() == SCRIPT.splitlines()


def test_a_machine_that_submits_no_jobs_is_a_line(jobqueue, slurm, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PtyliveError, match="slurm does not accept jobs on this machine: sbatch is missing"):
        with submitted(slurm, ""):
            pass


def test_what_the_batch_system_refuses_is_a_line(jobqueue, slurm, monkeypatch, tmp_path, caplog):
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpu' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(
        PtyliveError, match="slurm did not accept the job: sbatch: error: invalid partition specified: gpu"
    ):
        with submitted(slurm, ""):
            pass


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("echo 8", ()),
        ("exit 0", ("7", "8")),
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", ("7", "8")),
        ("echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1", ()),
    ],
)
def test_jobs_that_the_batch_system_knows_no_more_have_ended(monkeypatch, tmp_path, script, ended):
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ "$3" = --jobs=7,8 ] || exit 1\n{script}\n')
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    jobs = SimpleNamespace(workers={"a": SimpleNamespace(job_id="7"), "b": SimpleNamespace(job_id="8")})
    assert queues.ended_jobs(jobs, "slurm") == ended
    assert queues.ended_jobs(jobs, "pbs") == ()
    monkeypatch.setenv("PATH", "/nowhere")
    assert queues.ended_jobs(jobs, "slurm") == ()


@pytest.mark.parametrize(
    ("options", "said"),
    [({}, "cores and memory"), ({"cores": 1, "memory": "1GB", "walltimes": "1:00"}, "walltimes")],
)
def test_options_that_dask_jobqueue_refuses_are_a_line(jobqueue, options, said):
    with pytest.raises(MetadataError, match=said) as raised:
        described(Where("slurm", options=options))
    assert "does not accept these options for slurm" in raised.value.line()


def test_without_dask_jobqueue_there_is_a_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PtyliveError, match="needs dask-jobqueue, which is not installed"):
        queues.described(Where("slurm"), "install it")

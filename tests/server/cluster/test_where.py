"""What users write to say where refinements run."""

import pytest

from ptylive.schema import MetadataError
from ptylive.server.cluster.where import QUEUES, Where, parse_where


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("local", Where("local", workers=1)),
        ("local:4", Where("local", workers=4)),
        ("tcp://scheduler:8786", Where("scheduler", address="tcp://scheduler:8786")),
        ("tls://10.0.0.1:8786", Where("scheduler", address="tls://10.0.0.1:8786")),
        ("slurm", Where("slurm", workers=1)),
        ("pbs:12", Where("pbs", workers=12)),
    ],
)
def test_addresses_of_clusters_are_parsed(text, where):
    assert parse_where(text) == where


def test_options_of_a_file_have_the_names_of_dask_jobqueue(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('[cluster]\nkind = "slurm"\njobs = 3\nqueue = "gpu"\ncores = 8\n')
    assert parse_where(str(path)) == Where("slurm", "", 3, {"queue": "gpu", "cores": 8})
    path.write_text('[cluster]\naddress = "tcp://a:1"\n')
    assert parse_where(str(path)) == Where("scheduler", address="tcp://a:1")
    path.write_text('[cluster]\nkind = "local"\nworkers = 2\n')
    assert parse_where(str(path)) == Where("local", workers=2)


@pytest.mark.parametrize(
    "text", ["", "nowhere", "local:0", "local:x", "local:", "slurm:-1", "localhost:8786", "slurm:9999999"]
)
def test_what_is_no_place_is_refused_in_a_line(text):
    with pytest.raises(MetadataError) as raised:
        parse_where(text)
    assert "write local:4" in raised.value.line()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[cluster]\n", r"\[cluster\] kind '' is not valid"),
        ('[cluster]\nkind = "condor"\n', "kind 'condor' is not valid"),
        ('[cluster]\nkind = ["slurm"]\n', "is not valid"),
        ('[cluster]\nkind = "local"\nqueue = "gpu"\n', "queue has no meaning for kind 'local'"),
        ('[cluster]\nkind = "slurm"\njobs = 0\n', "'0' is not a number of workers"),
        ('[cluster]\nkind = "slurm"\naddress = "tcp://a:1"\n', "is not valid"),
        ('cluster = "slurm"\n', "cluster"),
        ("[cluster\n", r"c\.toml"),
    ],
)
def test_a_file_that_is_wrong_is_refused_in_a_line(tmp_path, text, said):
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(MetadataError, match=said):
        parse_where(str(tmp_path / "c.toml"))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(MetadataError, match="no such file"):
        parse_where(str(tmp_path / "gone.toml"))


def test_every_batch_system_is_one_of_dask_jobqueue():
    jobqueue = pytest.importorskip("dask_jobqueue", reason="needs the extra 'cluster'")
    assert all(hasattr(jobqueue, name) for name in QUEUES.values())

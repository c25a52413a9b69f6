"""Commands and Python lines of the documents, run as written, in a folder with the files that they name.

Each document starts in a folder of its own. Files that it does not make itself are small and made once (`files`).
Addresses are free ones: servers get `--data`, `--control` and `--dashboard` where the document uses the default.
"""

import doctest
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401
import numpy as np
import pytest
from document_blocks import DOCUMENTS, ROOT, blocks
from running import PTYLIVE

from ptylive.schema import ServerGoneError
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.server.wire.client import ControlClient

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

ELSEWHERE = {
    ("docs/notebook.md", "engine = ptylive.LiveEngine"): "tests/test_documents.py",
    ("docs/protocol.md", "import msgpack, uuid, zmq"): "tests/test_documents.py",
    ("docs/senders.md", "LiveScan"): "tests/test_documents.py",
    ("docs/senders.md", "ptylive.Sender"): "tests/test_documents.py",
    ("docs/advise.md", "close_loop"): "tests/docs/examples/test_focus_loop.py",
}
"""Lines of Python that need something around them, and the test that provides it."""
SMALL = {"scan_shape": "12,12", "detector_shape": "32,32", "reach": "1"}
"""Settings of the scan that the documents name."""
ELSEWHERE_SIMULATED = ("scan_shape=24,24", "scan_step_A=0.4", "detector_shape=64,64", "detector_pixel_mrad=1.2")
"""The scan of another program, as the document describes it."""
SHORT = ("--set", "scan_shape=8,8")
"""For simulations that a document runs: fewer points, to save time; their subject is unaffected."""
QUICK = ("--set", "num_slices=1", "--epochs", "2")
"""For refinements that set neither depth nor length; the search by trials that this avoids has its own tests."""
SAYS_ITSELF = ("num_slices", "total_thickness_A", "--stage", "--preset", "--epochs")
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
"""Compiled code stays in the usual cache; everything else in the home folder belongs to the test."""
LONGEST_S = 1800
"""Of one line, for what hangs: a busy machine takes minutes for what otherwise takes seconds."""
CLIENTS = {"status", "refine-now", "stop", "advise", "call"}


def runnable(path):
    """Shell and Python blocks that this module runs."""
    name = str(path.relative_to(ROOT))
    if name.startswith("docs/tutorials/"):  # test_tutorials.py runs them whole, with their requirements
        return
    for block in blocks(path):
        if block.not_run or block.language not in ("", "python"):
            continue
        if not any(name == where and begins in block.text for where, begins in ELSEWHERE):
            yield block


def run(line, folder):
    """Run a line of the shell, which must succeed."""
    environment = {**os.environ, "HOME": str(folder), "XDG_CACHE_HOME": CACHE}
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment, capture_output=True, text=True, timeout=LONGEST_S
    )  # fmt: skip
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def result_of_ptyrad(path):
    """A result written by PtyRAD itself, with a position for each point of the small scan."""
    shutil.copy(ROOT / "tests/fixtures/earlier/ptyrad.hdf5", path)
    points = [int(number) for number in SMALL["scan_shape"].split(",")]
    with h5py.File(path, "r+") as file:
        there = file["model_attributes/crop_pos"][()]
        ways = [
            np.linspace(low, high, count) for low, high, count in zip(there.min(0), there.max(0), points, strict=True)
        ]
        grid = np.stack(np.meshgrid(*ways, indexing="ij"), -1).reshape(-1, 2)
        replaced = {
            "indices": np.arange(len(grid)),
            "model_attributes/crop_pos": grid.round(),
            "optimizable_tensors/probe_pos_shifts": grid - grid.round(),
        }
        for name, values in replaced.items():
            kind = file[name].dtype
            del file[name]
            file[name] = values.astype(kind)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files that documents name and do not make themselves."""
    folder = tmp_path_factory.mktemp("documents")
    settings = " ".join(f"--set {name}={value}" for name, value in SMALL.items())
    run(f"{PTYLIVE} simulate scan.h5 {settings}", folder)
    run(f"{PTYLIVE} reconstruct scan.h5 -o results.h5", folder)
    run(f"{PTYLIVE} refine scan.h5 -o results.h5 --set num_slices=1 --epochs 3", folder)
    run(f"{PTYLIVE} convert scan.h5 quick_scan.h5 --basis zernike:15+1", folder)
    for name in ("refined.h5", "other.h5"):
        shutil.copy(folder / "results.h5", folder / name)
    shutil.copy(folder / "scan.h5", folder / "vacuum.h5")
    with h5py.File(folder / "vacuum.h5", "r+") as file:
        del file["metadata"].attrs["descan_px"]  # as in a microscope's file, whose descan is not known yet
    (folder / "params.yaml").write_text("init_params: {probe_kv: 80, obj_Nlayer: 1}\nrecon_params: {NITER: 3}\n")
    result_of_ptyrad(folder / "model_iter0200.hdf5")
    run(f"{PTYLIVE} simulate other_program.h5 {' '.join(f'--set {one}' for one in ELSEWHERE_SIMULATED)}", folder)
    with h5py.File(folder / "other_program.h5") as file:
        np.save(folder / "simulated.npy", file["data"][()])
    np.save(folder / "gain.npy", np.ones((32, 32)))
    np.save(folder / "mask.npy", np.ones((32, 32)))
    run(f"{PTYLIVE} convert scan.h5 dark.h5", folder)
    np.save(folder / "counts.npy", np.random.default_rng(1).poisson(5.0, (12, 12, 32, 32)).astype(np.uint16))
    (folder / "thin.toml").write_text("[refine]\nnum_slices = 1\nsweeps = 2\nepoch_max = 3\n")
    (folder / "thick.toml").write_text("[refine]\nnum_slices = 2\ntotal_thickness_A = 20\nsweeps = 2\nepoch_max = 3\n")
    (folder / "stages.toml").write_text("[refine]\nepoch_max = 3\n[[stage]]\nnum_slices = 1\n")
    (folder / "sim.toml").write_text('[specimen]\nspecimen = "monolayer"\n')
    (folder / "microscope.toml").write_text("[optics]\nenergy_eV = 80e3\nconvergence_semiangle_mrad = 25\n")
    (folder / "pypty.json").write_text('{"epoch_max": 2, "num_slices": 1}')
    shutil.copy(folder / "pypty.json", folder / "pypty_preset.json")
    shutil.copy(ROOT / "tests/fixtures/old/2026-11-20-13h14/pypty.py", folder / "pypty_preset.py")
    return folder


class Place:
    """The folder of one document, and the server with which its lines communicate."""

    def __init__(self, folder):
        self.folder = folder
        self.data, self.control = free_addresses()
        self.server = None

    def type(self, line):
        """Run one line as a user in this folder would."""
        variables = re.match(r"((?:[A-Z_]+=(?:\"[^\"]*\"|\S+) )*)", line)[1]
        name, *arguments = shlex.split(line[len(variables) :], comments=True) or ["."]
        if name != "ptylive":
            return  # checked by test_blocks.py: environments, make, tests
        command = arguments[0]
        if command == "serve":
            self.stop()
            self.serve(arguments, variables)
            return
        if command in CLIENTS or (command == "replay" and "--protocol" not in arguments):
            if self.server is None:
                self.serve(["serve", "--record", "scans"], "")
                run(self._of("replay scan.h5", ["--to", self.data, "--control", self.control]), self.folder)
                self.wait_until_idle()
            arguments = self.addressed(arguments)
        elif command == "replay" and self.server is not None:  # the server connects to the detector
            arguments[arguments.index("--to") + 1] = self.data
        if command == "simulate":
            (self.folder / arguments[1]).unlink(missing_ok=True)
            arguments += SHORT
        if command == "refine" and not any(word in one for one in arguments for word in SAYS_ITSELF):
            arguments += QUICK
        run(f"{variables}{PTYLIVE} {shlex.join(arguments)}", self.folder)
        if command == "stop":
            self.stop()

    def addressed(self, arguments):
        """Replace addresses by those of this test's server."""
        arguments = [self.control if one == "tcp://127.0.0.1:9998" else one for one in arguments]
        if arguments[0] == "replay":
            arguments += ["--to", self.data] if "--to" not in arguments else []
        elif "--control" not in arguments:
            arguments += ["--control", self.control]
        return arguments

    def serve(self, arguments, variables):
        self.data, self.control = free_addresses()
        pages = free_addresses()[0].removeprefix("tcp://")
        replaced = {"--data": self.data, "--control": self.control, "--dashboard": pages}
        for option, address in replaced.items():
            if option in arguments:
                host = arguments[arguments.index(option) + 1].rpartition(":")[0]
                arguments[arguments.index(option) + 1] = f"{host}:{address.rpartition(':')[2]}"
            else:
                arguments = [*arguments, option, address]
        environment = dict(os.environ, HOME=str(self.folder), XDG_CACHE_HOME=CACHE)
        for assignment in shlex.split(variables):
            environment.update([assignment.split("=", 1)])
        self.server = subprocess.Popen(
            [PTYLIVE, *arguments], cwd=self.folder, env=environment, stderr=subprocess.PIPE, text=True
        )
        self.ask(lambda status: True)

    def ask(self, condition):
        """Wait until the status fulfils a condition."""
        give_up = time.monotonic() + LONGEST_S
        while time.monotonic() < give_up:
            if self.server.poll() is not None:
                raise AssertionError(self.server.stderr.read())
            try:
                with ControlClient(self.control, timeout_s=10.0) as client:
                    if condition(client.call("status")):
                        return
            except ServerGoneError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server did not come to that")

    def wait_until_idle(self):
        self.ask(lambda status: status["state"] == "complete" and status["results"])

    def stop(self):
        if self.server is None:
            return
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
        self.server.wait(LONGEST_S)
        self.server.stderr.close()
        self.server = None

    def python(self, block):
        """Run lines of Python in this folder, in a separate process, since they may leave anything behind."""
        text = block.text
        if text.startswith(">>>"):
            examples = doctest.DocTestParser().get_doctest(text + "\n", {}, block.place, str(block.path), block.line)
            found = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
            assert found.failed == 0
            return
        if "connect(" in text or "ControlClient(" in text:
            self.type("ptylive status")  # makes sure that a server is running
            text = text.replace("connect()", f"connect({self.control!r})").replace("tcp://127.0.0.1:9998", self.control)
        (self.folder / "lines.py").write_text(text.replace("simulate(", "simulate(overwrite=True, path=", 1))
        run(f"{shlex.quote(os.sys.executable)} lines.py", self.folder)

    @staticmethod
    def _of(line, more):
        return f"{PTYLIVE} {line} {shlex.join(more)}"


@contextmanager
def place(folder, files):
    shutil.copytree(files, folder / "here")
    one = Place(folder / "here")
    try:
        yield one
    finally:
        one.stop()


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if any(runnable(path))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_the_blocks_of_a_document_run(path, files, tmp_path):
    with place(tmp_path, files) as here:
        for block in runnable(path):
            if block.language == "python":
                here.python(block)
            for line in block.commands:
                here.type(line)

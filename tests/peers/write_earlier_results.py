"""Let other programs refine a scan and save it in their own way, for tests of ours to read.

    python tests/peers/write_earlier_results.py PROGRAM DATA.npy DESCRIBED.json OUT

Needs a Python that has the program (py4DSTEM 0.14.18, PtyRAD 1.0.0, ptychodus 1.7.0 or phaserEM 0.3.1 wrote
tests/fixtures/earlier); DATA: patterns (rows, columns, Qy, Qx). torchvision, with which PtyRAD blurs, is not needed.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np


def py4dstem(data, told, out, transposed=False, kind="multi"):
    """Run a multislice (or mixed-state) reconstruction of py4DSTEM."""
    warnings.simplefilter("ignore")
    import matplotlib

    matplotlib.use("Agg")
    import py4DSTEM

    data = np.ascontiguousarray(data.transpose(0, 1, 3, 2)) if transposed else data
    cube = py4DSTEM.DataCube(data.astype(np.float32))
    cube.calibration.set_R_pixel_size(told.STEP_A)
    cube.calibration.set_R_pixel_units("A")
    cube.calibration.set_Q_pixel_size(told.PIXEL_MRAD)
    cube.calibration.set_Q_pixel_units("mrad")
    options = {
        "energy": told.ENERGY_EV, "semiangle_cutoff": told.SEMIANGLE_MRAD, "verbose": False, "datacube": cube,
        "polar_parameters": {"C10": -told.DEFOCUS_A},
    }  # fmt: skip
    phase = py4DSTEM.process.phase
    if kind == "multi":
        made = phase.MultislicePtychography(num_slices=2, slice_thicknesses=4, object_type="potential", **options)
    else:
        made = phase.MixedstatePtychography(num_probes=2, object_type="complex", **options)
    made.preprocess(
        plot_center_of_mass=False, plot_rotation=False, plot_probe_overlaps=False, vectorized_com_calculation=False,
        force_com_rotation=-told.ROTATION_DEG, force_com_transpose=transposed,
    ).reconstruct(num_iter=10, progress_bar=False, reset=True, max_batch_size=16, step_size=0.5)  # fmt: skip
    py4DSTEM.save(str(out), made, mode="o")


def ptyrad(data, told, out):
    """Run PtyRAD with two slices and two probe modes."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "zoo"))
    from run_ptyrad import ready

    ready()  # Python 3.11 and a missing torchvision
    from ptyrad.params import load_params
    from ptyrad.solver import PtyRADSolver

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        np.save(home / "meas.npy", data.reshape(-1, *data.shape[-2:]).astype(np.float32))
        rates = {"probe": 1e-3, "obja": 5e-4, "objp": 1e-2, "probe_pos_shifts": 5e-4}
        params = {
            "init_params": {
                "probe_kv": told.ENERGY_EV / 1e3, "probe_conv_angle": told.SEMIANGLE_MRAD,
                "probe_aberrations": {"C10": -told.DEFOCUS_A}, "meas_Npix": told.PIXELS, "pos_N_scan_slow": told.ROWS,
                "pos_N_scan_fast": told.COLUMNS, "pos_scan_step_size": told.STEP_A, "probe_pmode_max": 2,
                "obj_Nlayer": 2, "obj_slice_thickness": 4, "pos_scan_affine": [1, 0, told.ROTATION_DEG, 0],
                "meas_calibration": {"mode": "da", "value": told.PIXEL_MRAD},
                "meas_params": {"path": str(home / "meas.npy"), "key": None},
            },
            "constraint_params": {"obj_rblur": {"start_iter": None}},
            "model_params": {"update_params": {n: {"start_iter": 1, "lr": rate} for n, rate in rates.items()}},
            "recon_params": {
                "NITER": 15, "BATCH_SIZE": {"size": 16, "grad_accumulation": 1}, "SAVE_ITERS": 15,
                "output_dir": f"{home}/out/", "recon_dir_affixes": [], "prefix_time": False,
                "save_result": ["model"], "selected_figs": [],
            },
        }  # fmt: skip
        (home / "params.json").write_text(json.dumps(params))
        PtyRADSolver(load_params(str(home / "params.json"), validate=True), device="cpu").run()
        found = next((home / "out").rglob("model_iter*"))
        Path(out).write_bytes(found.read_bytes())


def ptychodus(data, told, out):
    """Save a product of ptychodus with an object whose phase rises along the rows; it has no engine of its own."""
    from ptychodus.api.geometry import PixelGeometry
    from ptychodus.api.io import save_product
    from ptychodus.api.object import Object, ObjectCenter
    from ptychodus.api.probe import ProbeSequence
    from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
    from ptychodus.api.product import Product, ProductMetadata

    pixel = PixelGeometry(width_m=0.3e-10, height_m=0.3e-10)
    rows = np.arange(40)[:, None] * np.ones(50)
    layers = np.exp(1j * np.stack([0.01 * rows, 0.02 * rows]))
    angle, step_m = np.radians(told.ROTATION_DEG), told.STEP_A * 1e-10
    points = []
    for number in range(told.ROWS * told.COLUMNS):
        row, col = divmod(number, told.COLUMNS)
        y, x = row * np.cos(angle) - col * np.sin(angle), col * np.cos(angle) + row * np.sin(angle)
        points.append(ProbePosition(number, x * step_m, y * step_m))
    probe = np.zeros((1, 2, 16, 16), complex)
    probe[:, :, 7:9, 7:9] = 1  # around the middle between pixels
    metadata = ProductMetadata(
        name="of ptychodus", comments="", detector_distance_m=1.0, photon_energy_eV=1e5, probe_photon_count=1e3,
        exposure_time_s=1e-3, mass_attenuation_m2_per_kg=0.0, tomography_angle_deg=0.0,
    )  # fmt: skip
    product = Product(
        metadata=metadata, probe_positions=ProbePositionSequence(points), losses=[],
        probes=ProbeSequence(array=probe, opr_weights=None, pixel_geometry=pixel),
        object_=Object(array=layers, pixel_geometry=pixel, center=ObjectCenter(x_m=2e-10, y_m=3e-10),
                       layer_spacing_m=[5e-10]),
    )  # fmt: skip
    save_product(Path(out), product)


def phaser(data, told, out):
    """Run phaser's ePIE with two probe modes."""
    from phaser.execute import execute_plan
    from phaser.plan import ReconsPlan

    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/meas.npy", data.astype(np.float32))
        plan = {
            "name": "made", "backend": "numpy", "post_init": [],
            "raw_data": {"type": "manual", "path": f"{folder}/meas.npy", "kv": told.ENERGY_EV / 1e3, "adu": 1.0,
                         "diff_step": told.PIXEL_MRAD},
            "init": {
                "probe": {"type": "focused", "conv_angle": told.SEMIANGLE_MRAD, "defocus": -told.DEFOCUS_A},
                "scan": {"type": "raster", "shape": [told.ROWS, told.COLUMNS], "step_size": told.STEP_A,
                         "rotation": told.ROTATION_DEG},
            },
            "engines": [{
                "type": "conventional", "probe_modes": 2, "niter": 15, "grouping": 8,
                "noise_model": {"type": "amplitude"},
                "solver": {"type": "epie", "beta_object": 0.5, "beta_probe": 0.1}, "group_constraints": [],
                "iter_constraints": [], "update_positions": False, "save": {"every": 15},
                "save_options": {"out_dir": f"{folder}/out", "hdf5_fmt": "end.h5"},
            }],
        }  # fmt: skip
        execute_plan(ReconsPlan.from_data(plan))
        Path(out).write_bytes(Path(f"{folder}/out/end.h5").read_bytes())


PROGRAMS = {
    "phaser": phaser,
    "py4dstem": py4dstem,
    "py4dstem_transposed": lambda *given: py4dstem(*given, transposed=True, kind="mixed"),
    "ptyrad": ptyrad,
    "ptychodus": ptychodus,
}


def main(program, data, described, out):
    """Write the file."""
    PROGRAMS[program](np.load(data), SimpleNamespace(**json.loads(Path(described).read_text())), out)


if __name__ == "__main__":
    main(*sys.argv[1:5])

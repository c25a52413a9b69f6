"""Write the results of PtyRAD's constraints for a random object, with which tests of ours compare.

    python tests/peers/write_ptyrad_constraints.py FOLDER OUT.npz

Needs a Python that has torch, scipy and numpy; FOLDER holds PtyRAD's package ``ptyrad`` (0.1.0b13.post3 wrote
tests/fixtures/ptyrad_constraints.npz). torchvision, which only blurs across the beam, is not needed.
"""

import importlib
import sys
from types import ModuleType, SimpleNamespace

import numpy as np

SHAPE, SEED = (2, 5, 10, 12), 20261123
ON = {"start_iter": 1, "step": 1, "end_iter": None}
CASES = {
    "obj_zblur": {"obj_type": "both", "kernel_size": 5, "std": 1.0},
    "kz_filter": {"obj_type": "both", "beta": 0.7, "alpha": 1.0},
    "complex_ratio": {"obj_type": "both", "alpha1": 0.8, "alpha2": 0.3},
    "mirrored_amp": {"relax": 0.1, "scale": 0.03, "power": 4.0},
    "obja_thresh": {"relax": 0.25, "thresh": [0.96, 1.04]},
    "objp_postiv": {"relax": 0.2, "mode": "clip_neg"},
}


def constraints(folder):
    """PtyRAD's module of constraints."""
    sys.path.insert(0, folder)
    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name] = ModuleType(name)
    sys.modules["torchvision.transforms.functional"].gaussian_blur = None
    for name in ("ptyrad", "ptyrad.core"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__path__ = [f"{folder}/{name.replace('.', '/')}"]
    return importlib.import_module("ptyrad.core.constraints")


def main(folder, out):
    """Write the file."""
    import torch

    module, rng = constraints(folder), np.random.default_rng(SEED)
    modulus, phase = rng.uniform(0.85, 1.1, SHAPE).astype("f4"), rng.normal(0.1, 0.3, SHAPE).astype("f4")
    found = {"modulus": modulus, "phase": phase}
    for name, values in CASES.items():
        model = SimpleNamespace(opt_obja=torch.tensor(modulus), opt_objp=torch.tensor(phase))
        combined = module.CombinedConstraint({name: {**ON, **values}}, device="cpu")
        getattr(combined, f"apply_{name}")(model, 1)
        found[f"{name}_modulus"], found[f"{name}_phase"] = model.opt_obja.numpy(), model.opt_objp.numpy()
    found["z_shift"] = module.get_obj_z_shift(torch.tensor(phase), threshold=80, scale=0.7, max_shift=10)
    np.savez_compressed(out, **found)


if __name__ == "__main__":
    main(*sys.argv[1:3])

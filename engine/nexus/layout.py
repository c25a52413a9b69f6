"""Version of the layout of results files, and its JSON schema (docs/files.md).

A change that only adds members keeps the version: readers ignore members they do not recognise. A change that moves or
renames something raises it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.schema import InputFileError

if TYPE_CHECKING:
    import h5py

LAYOUT, ATTRIBUTE = 1, "layout"
"""Layout that is written, in ``/settings``; files of earlier versions have the same layout but do not record it."""
RECORDED = ("data", "coefficients", "metadata")
"""Members of recordings; no results file has any of them."""
HELD = ("maps", "refinements", "settings")
"""Members of results files; each has at least one of them."""
_SCHEMA = "results.schema.json"


def mark(root: h5py.Group) -> None:
    """Mark the root as a NeXus file, and record the version in the existing ``/settings``."""
    root.attrs.update(NX_class="NXroot", creator="ptylive")
    root["settings"].attrs[ATTRIBUTE] = np.int32(LAYOUT)


def admit(members: Collection[str], settings: Mapping[str, Any], name: str) -> None:
    """Raise InputFileError for a file that cannot hold results: of another kind, or of a later layout.

    members: those of the root; settings: attributes of ``/settings``. A file without members can hold results.
    """
    found = np.asarray(settings.get(ATTRIBUTE, LAYOUT))
    if found.shape == () and found.dtype.kind in "iu" and found > LAYOUT:
        raise InputFileError(f"{name} has layout {found}, of a later version of ptylive", "update ptylive")
    if not set(RECORDED).isdisjoint(members):
        raise InputFileError(f"{name} is a recording and cannot hold results", "choose another name")
    if members and set(HELD).isdisjoint(members):
        raise InputFileError(f"{name} exists and is not a results file of ptylive", "choose another name")


def schema() -> dict[str, Any]:
    """The JSON schema that the :func:`outline` of a results file satisfies."""
    text = resources.files(__package__).joinpath(_SCHEMA).read_text(encoding="utf-8")
    return dict(json.loads(text))


def outline(group: h5py.Group) -> dict[str, Any]:
    """Contents of a file as JSON: no data, but names, shapes, types and attributes.

    A group is ``{"attributes": {…}, "members": {…}}``, a data set ``{"attributes", "shape", "dtype"}``, a soft link
    ``{"link": path}``.
    """
    import h5py

    members: dict[str, Any] = {}
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.SoftLink):
            members[name] = {"link": link.path}
        elif isinstance(item := group[name], h5py.Group):
            members[name] = outline(item)
        else:
            described = {"shape": [int(n) for n in item.shape], "dtype": _type(item.dtype)}
            members[name] = {"attributes": _attributes(item), **described}
    return {"attributes": _attributes(group), "members": members}


def _type(dtype: Any) -> str:
    return "text" if dtype.kind in "OSU" else str(dtype)


def _attributes(item: Any) -> dict[str, Any]:
    return {name: _plain(value) for name, value in item.attrs.items()}


def _plain(value: Any) -> Any:
    """Numbers, text and lists of them; values that JSON cannot represent (NaN, infinity) as text."""
    value = np.asarray(value).tolist()
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value

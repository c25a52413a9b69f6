"""One slice for a specimen whose thickness is given, if several would not predict held-out patterns better.

A thickness says how deep a specimen is, not how it is best refined. An example is a particle as thick as a depth of
focus with few electrons: several slices have more parameters for the same electrons, and giving the thickness led to a
worse result than giving nothing. Several slices therefore have to be worth it here too
(:mod:`~ptylive.engine.refine.tuning.depth.worth_of_slices`). Only if the trial leaves the question open does the given
thickness decide: within about a depth of focus one slice represents all, beyond it there are several. A given number of
slices is kept, and so are given distances between them.
"""

from __future__ import annotations

from dataclasses import replace

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.absorption import with_absorption
from ptylive.engine.refine.tuning.depth.like_one_slice import likeliest_like_one
from ptylive.engine.refine.tuning.depth.worth_of_slices import are_worth_it, compared
from ptylive.engine.refine.tuning.form_choice import within_a_focus
from ptylive.engine.refine.tuning.held_out import TrialContext
from ptylive.engine.refine.tuning.mode_choice import may_be_tried
from ptylive.engine.refine.tuning.optics.plane_of_one_slice import in_its_own_plane
from ptylive.engine.refine.tuning.parameter_search import tune
from ptylive.engine.refine.tuning.start.columns import with_columns
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.advice.words import significant
from ptylive.schema.preset import Preset
from ptylive.schema.preset.propagation import THICKNESS


def with_slices_worth_it(tuned: Tuned, before: Tuned, requested: Preset, context: TrialContext) -> Tuned:
    """Use the slices of a given thickness, or ``before`` in one slice, and say why in words.

    ``before``: state before values were scanned in several slices; ``requested``: the preset that leaves slices open.
    """
    if not _is_open(tuned, requested):
        return tuned
    preset = before.preset.model_copy(update={"num_slices": 1})
    thin = with_absorption(in_its_own_plane(tune(replace(before, preset=preset), context), context), context)
    gain, tuned = _compared(thin, tuned, context)
    if gain is None:
        return tuned
    form = tuned.preset.object
    several = f"{form.slices} slices, {significant(sum(form.slice_thickness_A), 3)} Å in total"
    if are_worth_it(gain):
        words = f"{several}, as the given thickness requires: they predict held-out patterns better than one, by {gain}"
        return replace(tuned, words=(*tuned.words, words))
    if _is_undecided(gain) and not within_a_focus(tuned):
        words = (
            f"{several}, as the given thickness requires: neither they nor one slice predict held-out patterns better"
        )
        return replace(tuned, words=(*tuned.words, f"{words} beyond doubt (gain {gain})"))
    words = f"one slice: {several}, would not predict held-out patterns much better than one (gain {gain})"
    words += "; give num_slices to use them nevertheless"
    return replace(thin, words=(*thin.words, words))


def _compared(thin: Tuned, thick: Tuned, context: TrialContext) -> tuple[Gain | None, Tuned]:
    """Compare several slices with one; if that is not worth it also from columns, and then in the form of one."""
    gain, several = compared(thin, thick, context)
    if gain is None or are_worth_it(gain):
        return gain, several
    columns = with_columns(thick, context, sooner=True)
    if columns.warm_start is not None:
        gain, several = compared(thin, columns, context)
    alike = None if gain is None or are_worth_it(gain) else likeliest_like_one(thin, [thick], context)
    return alike or (gain, several)


def _is_undecided(gain: Gain) -> bool:
    """Whether neither several slices nor one predict better beyond doubt."""
    return not gain.certain and not gain.opposite.certain


def _is_open(tuned: Tuned, requested: Preset) -> bool:
    """Whether several slices follow from a thickness alone, and no other setting needs them."""
    form = requested.object
    return (
        tuned.preset.object.slices > 1
        and form.num_slices == "auto"
        and form.slice_distances_A is None
        and not _needs_slices(requested)
        and may_be_tried(tuned.dataset, requested)
    )


def _needs_slices(requested: Preset) -> bool:
    """Whether tilts inside the specimen or a varying thickness are requested: one slice has neither."""
    varies = requested.instrument.field_order > 0 and THICKNESS in requested.instrument.field_terms
    stated = requested.propagation.tilts_mrad, requested.scans.scan_tilts_mrad
    return varies or requested.refined.update_tilts or any(tilts is not None for tilts in stated)

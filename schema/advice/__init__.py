"""What a calibration says of the microscope: which corrections to apply; a package, for `schema` is full."""

from ptylive.schema.advice.advice import Advice, Item, Verdict, advise

__all__ = ["Advice", "Item", "Verdict", "advise"]

"""What a calibration says about the microscope: which corrections to apply; a package, because `schema` is full."""

from ptylive.schema.advice.advice import Advice, Item, Verdict, advise

__all__ = ["Advice", "Item", "Verdict", "advise"]

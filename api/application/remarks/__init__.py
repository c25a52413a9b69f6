"""Remarks on a scan, on its values and on its calibration: accepted although implausible, or contradicted."""

"""Amsterdam Scientific Instruments Timepix3: sparse frames over TCP, as the detector's software (Accos) sends them.

Facts: LiberTEM-rs ``libertem_asi_tpx3`` (headers, order, arrays) and its reader and simulator in LiberTEM-live.
"""

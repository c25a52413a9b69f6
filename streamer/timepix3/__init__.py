"""Raw packets of Timepix3 detectors: pixels that were hit, when, and for how long; and when lines of the scan began.

Facts: the raw format as the manual of Serval (Amsterdam Scientific Instruments) describes it and as that company's
``tpx3-to-root`` reads it. Times are integers in units of :data:`ptylive.streamer.timepix3.packets.TICK_NS`.
"""

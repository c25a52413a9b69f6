"""Raw packets of Timepix3 detectors over TCP, as Serval (Amsterdam Scientific Instruments) sends them."""

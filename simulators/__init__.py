"""Stand-ins for a microscope: replaying recorded scans, and faults to replay them with."""

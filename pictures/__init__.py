"""Colour maps, PNG pictures and scale bars used by the dashboard, the Python interface and exports."""

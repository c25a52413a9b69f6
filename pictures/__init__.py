"""Colour maps, pictures as PNG, scale bars: what dashboard, front door and exports draw with."""

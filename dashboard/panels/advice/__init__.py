"""Suggestions of the page, each accepted by a click: values, orientation, thickness."""

"""Other programs beside ours: their direct methods (accuracy.py) and the speed of their refinement."""

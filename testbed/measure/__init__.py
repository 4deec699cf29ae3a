"""Acts, never judges: raises the federation of each phase, lets every pair talk, and writes Observations."""

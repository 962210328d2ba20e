"""Training of a small encoder: what a large one makes of unlabelled images, learnt with little compute."""

"""The one K-step sampling loop, and the feedback rules that decide what it does with the 3D model."""

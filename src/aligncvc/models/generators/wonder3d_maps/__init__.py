"""Wonder3D's class, shown renderings of its own 3D model in the manner of Ouroboros3D."""

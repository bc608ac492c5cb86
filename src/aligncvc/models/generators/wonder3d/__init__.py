"""Wonder3D as a generator, the demo's small one included."""

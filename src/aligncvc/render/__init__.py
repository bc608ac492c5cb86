"""Objects -> posed views, with BlenderProc. Nothing is imported here: Blender's process is free of torch."""

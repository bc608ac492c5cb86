"""Objects -> posed views, with BlenderProc.

`run.render_set` drives; `blender_scene` is the only module that imports Blender and runs in a process of
its own. Nothing is imported here: that process must stay free of torch.
"""

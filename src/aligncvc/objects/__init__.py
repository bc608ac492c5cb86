"""Objects: fetch, verify and list 3D objects from several sources."""

"""Metrics as functions of images, cameras, features and surfaces; they read and write no file."""

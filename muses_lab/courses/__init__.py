"""Courses: a folder with notebooks, exercises and pinned scenes, for one laptop or for a class on the hub."""

"""Exercises of courses: answers looked at in the notebook, what their participant is told, and what is kept of them."""

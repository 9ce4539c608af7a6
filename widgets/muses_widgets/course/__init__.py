"""Courses in the notebook: the card with one's progress, and quizzes."""

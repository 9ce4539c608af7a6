"""What a trainer does with a course: begin it, pin its scenes, check it, publish or bundle it, collect its results."""

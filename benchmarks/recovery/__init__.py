"""What each way of running a pipeline does after kill -9, after an edit of a helper, and when nothing changed."""

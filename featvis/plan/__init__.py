"""What will be made: every mistake in a request is found here, before any compute."""

"""Extensions of ptylive, one file for each."""

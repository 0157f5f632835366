"""What a recording gave, for people: verdicts, and pages of HTML."""
